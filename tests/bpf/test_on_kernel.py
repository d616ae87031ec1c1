# SPDX-License-Identifier: GPL-2.0-or-later
"""`Device.on_kernel` with state that cannot be mapped, and with what libbpf does by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.errors import BadFileError, StateError
from kvmbpf.testing import Device
from tests.places import ROOT

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

PROGS = ROOT / "tests" / "lab" / "progs"


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_variables_are_read_and_written_whether_they_are_static(kind: str) -> None:
    with Device.on_kernel(PROGS / f"sections_{kind}.bpf.c") as dev:
        assert dict(dev.globals) == {"count": 0, "begun": 7, "apart": 5, "step": 1}
        dev.poke(0, 3)
        dev.globals["begun"] = 40
        assert dev.peek(0) == 0
        assert dict(dev.globals) == {"count": 4, "begun": 41, "apart": 6, "step": 1}
        with pytest.raises(StateError, match="constant since it was loaded"):
            dev.globals["step"] = 2


def test_a_pin_has_no_meaning_here_nor_natively() -> None:
    source = PROGS / "pinned.bpf.c"
    for make in (Device, Device.on_kernel):
        with make(source) as one, make(source) as other:
            assert [one.peek(0), one.peek(0), other.peek(0)] == [0, 1, 0]


def test_the_kernels_version_is_there_on_a_kernel_only(tmp_path: Path) -> None:
    source = PROGS / "kernel_version.bpf.c"
    with pytest.raises(BadFileError, match=r"line 12 .*a native build has no kernel's config"):
        Device(source)
    made = compile_device(source, tmp_path / "made.bpf.o")
    major, minor = os.uname().release.split(".")[:2]
    with Device.on_kernel(made) as dev:
        assert dev.peek(0) >> 8 == int(major) << 8 | int(minor)
        assert dict(dev.globals) == {}


def test_programs_that_nothing_enters_are_not_loaded() -> None:
    with Device.on_kernel(PROGS / "more_programs.bpf.c") as dev:
        assert [dev.peek(0), dev.peek(0)] == [0, 1]
