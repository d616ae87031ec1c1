# SPDX-License-Identifier: GPL-2.0-or-later
"""Data sections that the kernel does not map: libbpf makes them so if all is static."""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf import BpfMap, BpfObject, carry_over, compare_state
from kvmbpf.kernel.libbpf.lib import SONAME
from kvmbpf.kernel.libbpf.map_info import map_info
from kvmbpf.kernel.uapi import bpf as uapi

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

STEP = struct.pack("=QQ", 3, 0)
BEFORE = {
    "count": 0,
    "last": 0,
    "begun": 7,
    "apart": 5,
    "cleared": 0,
    "limit": 9,
    "fixed": 4,
    "guarded": {"value": 0},
}
AFTER = BEFORE | {
    "count": 3,
    "last": 3,
    "begun": 16,
    "apart": 9,
    "cleared": 1,
    "guarded": {"value": 1},
}
STATE = {".bss", ".data", ".data.apart", ".bss.apart", ".data.guarded"}
# A version's variables are all static, or none is.
KINDS = {"mapped": (), "copied": ("STATIC",)}


class CreateOptions(ctypes.Structure):
    """``struct bpf_map_create_opts``, up to the flags."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    )


@contextlib.contextmanager
def by_another_loader(obj: BpfObject, section: str) -> Iterator[BpfMap]:
    """Give a section's map as a loader makes it that has all sections mappable."""
    lib = ctypes.CDLL(SONAME)
    like = next(found for found in obj.maps.values() if found.section == section)
    with OwnedFd(lib.bpf_btf_get_fd_by_id(map_info(like.fd).btf_id), "types") as types:
        options = CreateOptions(
            sz=ctypes.sizeof(CreateOptions),
            btf_fd=types.fileno(),
            btf_value_type_id=like.spec.value_type_id,
            map_flags=like.spec.flags | uapi.BPF_F_MMAPABLE,
        )
        made = lib.bpf_map_create(like.type, b"other", 4, like.value_size, 1, ctypes.byref(options))
    assert made >= 0
    with BpfMap(OwnedFd(made, "map")) as found:
        assert mappable(found)
        yield found


def mappable(found: BpfMap) -> bool:
    return bool(map_info(found.fd).map_flags & uapi.BPF_F_MMAPABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_is_read(build: Compile, kind: str) -> None:
    with BpfObject.open(build("sections", *KINDS[kind])) as obj:
        assert obj.globals.as_dict() == BEFORE
        obj.load()
        sections = {found.section: mappable(found) for found in obj.maps.values()}
        assert sections.pop(".data.guarded") is False
        assert set(sections.values()) == {kind == "mapped"}
        assert obj.globals.as_dict() == BEFORE
        obj.program("step").test_run(STEP)
        assert obj.globals.as_dict() == AFTER


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_the_program_sees(build: Compile, kind: str) -> None:
    with BpfObject.open(build("sections", *KINDS[kind])) as obj:
        obj.load()
        obj.globals["count"] = 40
        obj.globals["last"] = 8
        assert obj.globals.as_dict() == BEFORE | {"count": 40, "last": 8}
        run = obj.program("step").test_run(STEP)
        assert struct.unpack("=QQ", run.context)[1] == 43
        for constant in ("limit", "fixed"):
            with pytest.raises(StateError, match="constant since it was loaded"):
                obj.globals[constant] = 1


def test_a_section_with_a_lock_is_read_and_not_written(build: Compile) -> None:
    """To write it would be to write all of it, timers and references included."""
    with BpfObject.open(build("sections")) as obj:
        obj.load()
        with pytest.raises(StateError, match="`guarded` has a lock, timer or reference"):
            obj.globals["guarded"] = {"value": 3}
        obj.program("step").test_run(STEP)
        assert obj.globals["guarded"] == {"value": 1}


def test_what_the_kernel_does_not_map_although_it_is_mappable_is_copied(build: Compile) -> None:
    """By its flags it is, and the lock in it makes mmap() fail with ENOTSUPP."""
    with BpfObject.open(build("sections")) as obj:
        obj.load()
        with by_another_loader(obj, ".data.guarded") as found:
            assert found.globals.as_dict() == {"guarded": {"value": 0}}
            found.update(bytes(4), struct.pack("=II", 0, 8))
            assert found.globals["guarded"] == {"value": 8}


@pytest.mark.parametrize("kind", KINDS)
def test_through_a_pin_they_are_read_too(build: Compile, bpffs: Path, kind: str) -> None:
    with BpfObject.open(build("sections", *KINDS[kind])) as obj:
        obj.load()
        obj.program("step").test_run(STEP)
        for found in obj.maps.values():
            found.pin(bpffs / (found.section or "").replace(".", "@"))
    values: dict[str, object] = {}
    for pin in bpffs.glob("@*"):
        with BpfMap.open_pinned(pin) as pinned:
            values |= pinned.globals.as_dict()
    assert values == AFTER


@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_state_is_kept_whether_either_version_is_mapped(
    build: Compile, before: str, after: str
) -> None:
    with (
        BpfObject.open(build("sections", *KINDS[before])) as v1,
        BpfObject.open(build("sections", *KINDS[after])) as v2,
    ):
        v1.load()
        v1.program("step").test_run(STEP)
        assert compare_state(v2, v1.maps).differences == ()
        assert set(carry_over(v2, v1.maps).carried) == STATE
        assert v2.globals.as_dict() == AFTER  # already: the maps are v1's
        v2.load()
        v2.program("step").test_run(STEP)
        v1.program("step").test_run(STEP)
        assert v1.globals.as_dict() == v2.globals.as_dict()
        assert v2.globals["count"] == 9
        v2.globals["count"] = 1
        assert v1.globals["count"] == 1


def test_a_frozen_section_is_read(build: Compile) -> None:
    """Whoever freezes it forbids writing from here, not reading."""
    with BpfObject.open(build("sections")) as obj:
        obj.load()
        with by_another_loader(obj, ".bss") as found:
            found.globals["count"] = 3
        with by_another_loader(obj, ".bss") as found:
            assert ctypes.CDLL(SONAME).bpf_map_freeze(found.fd) == 0
            assert found.globals.as_dict() == {"count": 0, "last": 0}
            with pytest.raises(KernelCallError, match="EPERM"):
                found.globals["count"] = 1
