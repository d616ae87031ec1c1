# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of the kernel and of its modules, and types that no compiler here makes.

No module is loaded on every machine that runs this, and a struct_ops type in one needs
a modular KVM. So a module's types are made by hand, where the kernel
would show them; that the kernel numbers them so is its documentation's word.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.libbpf.btf import kernel_struct_home, module_btf, module_names, vmlinux_btf
from kvmbpf.kernel.libbpf.layout import type_differences
from kvmbpf.kernel.libbpf.struct_ops import struct_value
from kvmbpf.kernel.libbpf.values import codec
from kvmbpf.kernel.uapi import bpf as uapi

from .raw_btf import RawBtf

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Give a folder as /sys/kernel/btf is, with two modules; `kvm` has a struct_ops type."""
    number = vmlinux_btf().find("int", uapi.BTF_KIND_INT)
    assert number is not None
    (tmp_path / "vmlinux").write_bytes(b"")
    (tmp_path / "first").write_bytes(_module(number, "kvmbpf_test_first"))
    (tmp_path / "kvm").write_bytes(_module(number, "kvmbpf_test_ops"))
    return tmp_path


def _module(number: int, name: str) -> bytes:
    raw = RawBtf.of_module()
    pointer = raw.add(uapi.BTF_KIND_PTR, "", number)
    data = raw.struct(name, 16, ("read", pointer, 0), ("device_fd", number, 64))
    raw.struct(f"bpf_struct_ops_{name}", 80, ("common", number, 0), ("data", data, 64 * 8))
    return raw.bytes()


def test_a_struct_is_found_in_the_kernel_or_a_module(modules: Path) -> None:
    assert kernel_struct_home("task_struct", modules) == "vmlinux"
    assert kernel_struct_home("bpf_struct_ops_kvmbpf_test_ops", modules) == "kvm"
    assert kernel_struct_home("kvmbpf_test_first", modules) == "first"
    assert kernel_struct_home("kvmbpf_test_absent", modules) is None
    assert module_names(modules) == ["first", "kvm"]


def test_this_machine_s_own_modules_are_read() -> None:
    assert kernel_struct_home("kvmbpf_test_absent") is None
    for name in module_names():
        with module_btf(name) as btf:
            assert len(btf) > len(vmlinux_btf())


def test_a_module_that_goes_or_is_no_module_is_passed_over(modules: Path) -> None:
    (modules / "aa_gone").symlink_to(modules / "nothing")
    (modules / "ab_wrong").write_bytes(b"no types at all")
    assert kernel_struct_home("kvmbpf_test_ops", modules) == "kvm"
    with pytest.raises(BadFileError, match="ab_wrong: no types of a loaded module"):
        module_btf("ab_wrong", modules)


def test_without_a_folder_there_are_no_modules(tmp_path: Path) -> None:
    assert module_names(tmp_path / "none") == []
    assert kernel_struct_home("task_struct", tmp_path / "none") == "vmlinux"


def test_a_module_s_struct_ops_is_filled(modules: Path) -> None:
    with module_btf("kvm", modules) as btf:
        value = btf.find("bpf_struct_ops_kvmbpf_test_ops", uapi.BTF_KIND_STRUCT)
        assert value is not None
        assert value >= len(vmlinux_btf())
        raw = struct_value(btf, value, {}, {"device_fd": 7})
        assert raw == bytes(64 + 8) + struct.pack("=i", 7) + bytes(4)
        with pytest.raises(StateError, match=r"has no member `flags`; it has: read, device_fd"):
            struct_value(btf, value, {}, {"flags": 1})
        with pytest.raises(StateError, match="`read` is not a plain member"):
            struct_value(btf, value, {}, {"read": 1})
    btf.close()
    with pytest.raises(StateError, match="BTF is closed"):
        len(btf)


def test_an_enum_of_64_bits_has_its_names() -> None:
    raw = RawBtf()
    wide = raw.enum64("wide", False, NONE=0, ALL=(1 << 64) - 1)
    changed = raw.enum64("changed", False, NONE=0, ALL=1, MORE=2)
    signed = raw.enum64("signed", True, LOW=-(1 << 40))
    with raw.open() as btf:
        assert btf.enumerators(wide) == {"NONE": 0, "ALL": (1 << 64) - 1}
        assert btf.enumerators(signed) == {"LOW": -(1 << 40)}
        found = codec(btf, signed).decode(codec(btf, signed).encode("x", "LOW"))
        assert (found, found.name) == (-(1 << 40), "LOW")
        assert codec(btf, wide).encode("x", "ALL") == b"\xff" * 8
        (difference,) = type_differences("map", btf, wide, btf, changed, "value")
        assert difference.text == f"value has ALL = 1, had {(1 << 64) - 1}"


def test_types_that_contain_themselves_end() -> None:
    raw = RawBtf()
    chain = raw.add(uapi.BTF_KIND_CONST, "", 2)
    raw.add(uapi.BTF_KIND_VOLATILE, "", 1)
    own = raw.struct("own", 8, ("again", 3, 0))
    deep = raw.struct("deep", 8, ("", 4, 0))
    with raw.open() as btf:
        for type_id in (chain, own):
            with pytest.raises(BadFileError, match="BTF: "):
                codec(btf, type_id)
        assert codec(btf, deep).decode(bytes(8)) == {}
        assert type_differences("map", btf, own, btf, own, "value") == []
        assert type_differences("map", btf, deep, btf, deep, "value") == []
