# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab tests' own devices: compiled on the host, used in the lab.

Compiling is slow inside the lab and is not what its tests are about.
"""

from __future__ import annotations

import os
from pathlib import Path

from kvmbpf.author.compile import compile_device
from tests.header_examples import CONCURRENT_EXAMPLE, DESIGN_EXAMPLE, examples

OBJECTS_VARIABLE = "KVMBPF_TEST_OBJECTS"
# What needs the header's examples compiled.
HEADER_TESTS = "test_header.py"
SOURCES = Path(__file__).parent / "progs"


def compile_objects(folder: Path) -> None:
    """Compile every program in tests/lab/progs into a folder."""
    for source in sorted(SOURCES.glob("*.bpf.c")):
        compile_device(source, folder / f"{source.stem}.o", warnings_are_errors=True)


def compile_examples(folder: Path) -> None:
    """Compile the header's examples into a folder, and the design's."""
    sources = {example.name: example.source() for example in examples()}
    sources |= {"design": DESIGN_EXAMPLE, "concurrent": CONCURRENT_EXAMPLE}
    for name, text in sources.items():
        source = folder / f"example-{name}.bpf.c"
        source.write_text(text)
        compile_device(source, folder / f"{source.stem}.o", warnings_are_errors=True)


def example_object(name: str) -> Path:
    """Return one of the compiled examples."""
    return device_object(f"example-{name}")


def device_object(name: str) -> Path:
    """Return one of them, as ``steered_v1``."""
    return Path(os.environ[OBJECTS_VARIABLE]) / f"{name}.bpf.o"
