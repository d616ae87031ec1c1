# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf/kernel/uapi/kvm.py says what the patched kernel's headers say."""

from __future__ import annotations

import ctypes
import inspect
import subprocess
from pathlib import Path

import pytest

from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.lab import require_kernel

pytestmark = pytest.mark.on_host

# The part of the structure that kvmbpf reads; the kernel's goes on behind it.
PARTIAL = {"kvm_run"}
# C has no names for them: they are anonymous inside another structure.
ANONYMOUS = {"kvm_run_exit", "kvm_run_io", "kvm_run_mmio", "kvm_irqchip_state"}
OURS_ONLY = {"KVMIO"}


def constants() -> dict[str, int]:
    found = {name: value for name, value in vars(uapi).items() if name.startswith("KVM")}
    return {name: value for name, value in found.items() if name not in OURS_ONLY}


def structures() -> dict[str, type[ctypes.Structure]]:
    return {
        name: cls
        for name, cls in vars(uapi).items()
        if inspect.isclass(cls) and issubclass(cls, ctypes.Structure) and name not in ANONYMOUS
    }


def expected() -> dict[str, int]:
    """Return every number that C should agree with, by C expression."""
    numbers = dict(constants())
    for name, cls in structures().items():
        if name not in PARTIAL:
            numbers[f"sizeof(struct {name})"] = ctypes.sizeof(cls)
        for field, *_ in cls._fields_:
            if field not in ("exit", "padding", "padding1"):
                numbers[f"offsetof(struct {name}, {field})"] = getattr(cls, field).offset
    for member, part in (("io", uapi.kvm_run_io), ("mmio", uapi.kvm_run_mmio)):
        for field, *_ in part._fields_:
            offset = uapi.kvm_run.exit.offset + getattr(part, field).offset
            numbers[f"offsetof(struct kvm_run, {member}.{field})"] = offset
    return numbers


def test_numbers_and_layouts_are_the_kernels(tmp_path: Path) -> None:
    tree = require_kernel().build_tree
    headers = tmp_path / "usr"
    subprocess.run(
        ["make", "-s", "-C", tree, f"INSTALL_HDR_PATH={headers}", "headers_install"],
        check=True,
        capture_output=True,
    )
    source = tmp_path / "numbers.c"
    numbers = expected()
    lines = [f'\tprintf("%lld\\n", (long long)({expression}));' for expression in numbers]
    source.write_text(
        "#include <linux/kvm.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n"
        + "\n".join(lines)
        + "\n\treturn 0;\n}\n"
    )
    program = tmp_path / "numbers"
    subprocess.run(["gcc", f"-I{headers}/include", "-o", program, source], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    found = dict(zip(numbers, map(int, printed.split()), strict=True))
    assert found == numbers
    assert len(found) > 100
