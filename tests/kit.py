# SPDX-License-Identifier: GPL-2.0-or-later
"""The kit: a device that calls whatever a device may call, for tests of the tests.

Its source is unit/devices/kit.bpf.c; `Op` repeats its offsets.
"""

from __future__ import annotations

import enum
from pathlib import Path

SOURCES = Path(__file__).parent / "unit" / "devices"
KIT = SOURCES / "kit.bpf.c"


class Op(enum.IntEnum):
    """Offsets in region 0: ``enum op``."""

    ANSWER = 0x000
    DECLINE = 0x008
    FAULT = 0x010
    IRQ = 0x018
    TIMER = 0x020
    TIMER_CANCEL = 0x028
    WORK = 0x030
    GUEST = 0x038
    KICK = 0x040
    UCLAMP = 0x048
    FREQ = 0x050
    LOG = 0x058
    RANDOM = 0x060
    CLOCK = 0x068
    TAI = 0x070
    ARRAY = 0x078
    HASH_SET = 0x080
    HASH_GET = 0x088
    HASH_DELETE = 0x090
    LRU_SET = 0x098
    PUSH = 0x0A0
    POP = 0x0A8
    PUSH_STACK = 0x0B0
    POP_STACK = 0x0B8
    RING = 0x0C0
    LOOP = 0x0C8
    EACH = 0x0D0
    LOCKED = 0x0D8
    OTHER_TIMER = 0x0E0
    SEEN = 0x0E8
    KEPT_VALUE = 0x0F0
