# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a lab test may wait: the debug kernel takes several times as long."""

from __future__ import annotations

import os

from kvmbpf.lab.kernel import LAB_DEBUG_VARIABLE

ON_DEBUG_KERNEL = os.environ.get(LAB_DEBUG_VARIABLE) == "1"
# What a test's own longest waits are multiplied by.
PACE = 4 if ON_DEBUG_KERNEL else 1
