# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps: elements, pins, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.link import BpfLink
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

KEY = struct.pack("=I", 5)


def test_elements_are_shared_with_the_program(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        entries = obj.map("entries")
        assert (entries.key_size, entries.value_size, entries.spec.max_entries) == (4, 8, 16)
        assert entries.lookup(KEY) is None
        assert obj.program("remember").test_run(struct.pack("=QQ", 5, 6)).result == 0
        assert entries.lookup(KEY) == struct.pack("=II", 5, 6)
        entries.update(KEY, struct.pack("=II", 7, 8))
        assert entries.lookup(KEY) == struct.pack("=II", 7, 8)
        with pytest.raises(KernelCallError, match="EEXIST"):
            entries.update(KEY, bytes(8), flags=1)


def test_a_per_cpu_map_gives_a_value_for_each_cpu(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        for _ in range(3):
            obj.program("remember").test_run(struct.pack("=QQ", 5, 6))
        raw = obj.map("per_cpu").lookup(bytes(4))
        assert raw is not None
        assert len(raw) % 8 == 0
        assert sum(struct.unpack(f"={len(raw) // 8}Q", raw)) == 3


def test_wrong_sizes_are_refused(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        with pytest.raises(StateError, match="a key is 4 bytes, not 3"):
            obj.map("entries").lookup(b"abc")
        with pytest.raises(StateError, match="a value is 8 bytes, not 1"):
            obj.map("entries").update(KEY, b"a")


def test_a_pin_outlives_the_object(build: Compile, bpffs: Path) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        obj.map("entries").pin(bpffs / "entries")
        obj.map("entries").update(KEY, bytes(8))
        number = obj.map("entries").id
    with BpfMap.open_pinned(bpffs / "entries") as entries:
        assert (entries.name, entries.id) == ("entries", number)
        assert entries.section is None
        assert entries.lookup(KEY) == bytes(8)
    entries.close()
    with pytest.raises(StateError, match="map entries is closed"):
        entries.lookup(KEY)


def test_pins_that_cannot_be_made_say_why(build: Compile, bpffs: Path, tmp_path: Path) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        entries = obj.map("entries")
        entries.pin(bpffs / "entries")
        with pytest.raises(StateError, match="exists already"):
            entries.pin(bpffs / "entries")
        with pytest.raises(KernelCallError, match=r"EPERM .* must be on a bpffs"):
            entries.pin(tmp_path / "entries")
        with pytest.raises(KernelCallError, match=r"ENOENT .* make its directory first"):
            entries.pin(bpffs / "none" / "entries")


def test_pins_that_cannot_be_opened_say_why(build: Compile, bpffs: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such pin"):
        BpfMap.open_pinned(bpffs / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadFileError, match="not a pin"):
        BpfMap.open_pinned(tmp_path / "file")
    with BpfObject.open(build("state")) as obj:
        obj.load()
        obj.map("entries").pin(bpffs / "entries")
    with pytest.raises(BadFileError, match="it holds: map; expected: link"):
        BpfLink.open_pinned(bpffs / "entries")


def test_a_descriptor_of_something_else_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        fd = OwnedFd(file.fileno())
        with pytest.raises(KernelCallError, match="bpf_obj_get_info_by_fd"):
            BpfMap(fd)
        fd.release()


def test_a_map_of_an_object_is_closed_with_it_only(build: Compile) -> None:
    with (
        BpfObject.open(build("state")) as obj,
        pytest.raises(StateError, match="belongs to its object"),
    ):
        obj.map("entries").close()
