# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab tests' own devices: compiled on the host, used in the lab.

Compiling is slow inside the lab and is not what its tests are about.
"""

from __future__ import annotations

import os
from pathlib import Path

from kvmbpf.compile import compile_device

OBJECTS_VARIABLE = "KVMBPF_TEST_OBJECTS"
SOURCES = Path(__file__).parent / "progs"


def compile_objects(folder: Path) -> None:
    """Compile every program in tests/lab/progs into a folder."""
    for source in sorted(SOURCES.glob("*.bpf.c")):
        compile_device(source, folder / f"{source.stem}.o", warnings_are_errors=True)


def device_object(name: str) -> Path:
    """Return one of them, as ``steered_v1``."""
    return Path(os.environ[OBJECTS_VARIABLE]) / f"{name}.bpf.o"
