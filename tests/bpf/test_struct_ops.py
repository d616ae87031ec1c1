# SPDX-License-Identifier: GPL-2.0-or-later
"""struct_ops and links, end to end, on a type that ordinary kernels have.

A congestion control's init() runs when a socket chooses it, so a test can tell
which program is attached by which object's counter moves.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kvmbpf
from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.kernel.libbpf.link import BpfLink
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.struct_ops import StructOps
from kvmbpf.kernel.uapi import bpf as uapi

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

NAME = b"kvmbpf_test"
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


@contextmanager
def loaded(path: Path) -> Iterator[tuple[BpfObject, StructOps]]:
    with BpfObject.open(path) as obj:
        obj.load()
        yield obj, StructOps(obj, "congestion")


def call_init() -> None:
    """Make the kernel call init() of the attached program once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME)
        with socket.create_server(("127.0.0.1", 0)) as server:
            one.connect(server.getsockname())  # init() runs when a connection is made


def registered() -> bool:
    return NAME.decode() in AVAILABLE.read_text().split()


def test_attach_runs_the_programs_and_close_detaches(build: Compile) -> None:
    with loaded(build("congestion")) as (obj, ops):
        ops.prepare()
        assert ops.prepared
        assert not registered()
        with ops.attach() as link:
            assert registered()
            info = link.info()
            assert (info.type, info.map_id) == (uapi.BPF_LINK_TYPE_STRUCT_OPS, ops.map.id)
            assert not info.defunct
            call_init()
            assert (obj.globals["inits"], obj.globals["others"]) == (1, 0)
        assert not registered()
        with pytest.raises(StateError, match="is closed"):
            link.info()


def test_programs_and_fields_of_the_caller_win(build: Compile) -> None:
    with loaded(build("congestion", 'NAME="kvmbpf_other"')) as (obj, ops):
        with pytest.raises(KernelCallError, match="EINVAL"):
            # given programs stand alone, and this type needs more than init
            ops.prepare(programs={"init": obj.program("cc_other_init")})
        assert not ops.prepared
        ops.prepare(
            programs={
                "init": obj.program("cc_other_init"),
                "ssthresh": obj.program("cc_ssthresh"),
                "undo_cwnd": obj.program("cc_undo_cwnd"),
                "cong_avoid": obj.program("cc_cong_avoid"),
            },
            name=NAME,
        )
        with ops.attach():
            assert registered()
            call_init()
            assert (obj.globals["inits"], obj.globals["others"]) == (0, 1)


def test_update_swaps_and_the_old_object_may_go(build: Compile) -> None:
    path = build("congestion")
    with loaded(path) as (old, ops), loaded(path) as (new, new_ops):
        ops.prepare()
        new_ops.prepare()
        with ops.attach() as link:
            call_init()
            link.update(new_ops.map, expected=ops.map)
            assert link.info().map_id == new_ops.map.id
            old.close()
            call_init()
            call_init()
            assert new.globals["inits"] == 2


def test_update_with_another_expected_map_is_refused(build: Compile) -> None:
    path = build("congestion")
    with loaded(path) as (_, ops), loaded(path) as (_, new_ops):
        ops.prepare()
        new_ops.prepare()
        with ops.attach() as link:
            with pytest.raises(StateError, match="another program was attached meanwhile"):
                link.update(new_ops.map, expected=new_ops.map)
            assert link.info().map_id == ops.map.id


def test_update_with_an_unprepared_map_is_refused(build: Compile) -> None:
    path = build("congestion")
    with loaded(path) as (_, ops), loaded(path) as (_, new_ops):
        ops.prepare()
        with ops.attach() as link:
            with pytest.raises(KernelCallError, match="must be prepared"):
                link.update(new_ops.map)
            assert link.info().map_id == ops.map.id


def test_detach_leaves_a_defunct_link(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        ops.prepare()
        with ops.attach() as link:
            assert not link.wait_detached(0)
            link.detach()
            assert not registered()
            assert link.info().defunct
            assert link.wait_detached(0)
            link.detach()
            with pytest.raises(StateError, match="the link is defunct"):
                link.update(ops.map)


def test_a_waiting_thread_is_woken_by_detach(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        ops.prepare()
        with ops.attach() as link:
            seen: list[bool] = []
            waiter = threading.Thread(target=lambda: seen.append(link.wait_detached(60)))
            waiter.start()
            link.detach()
            waiter.join()
            assert seen == [True]


UPDATE_FROM_PIN = """
import sys
from kvmbpf.kernel.libbpf.link import BpfLink
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.struct_ops import StructOps

pin, path, bss = sys.argv[1:]
with BpfObject.open(path) as new, BpfLink.open_pinned(pin) as link:
    new.load()
    ops = StructOps(new, "congestion")
    ops.prepare()
    link.update(ops.map)
    new.map("prog.bss").pin(bss)
"""


def test_another_process_updates_and_detaches_through_the_pin(build: Compile, bpffs: Path) -> None:
    path = build("congestion")
    with loaded(path) as (_, ops):
        ops.prepare()
        first = ops.map.id
        with ops.attach() as link:
            link.pin(bpffs / "link")
    assert registered()
    arguments = [str(each) for each in (bpffs / "link", path, bpffs / "bss")]
    command = [sys.executable, "-c", UPDATE_FROM_PIN, *arguments]
    subprocess.run(command, check=True, cwd=Path(kvmbpf.__file__).parents[1])
    with BpfLink.open_pinned(bpffs / "link") as link, BpfMap.open_pinned(bpffs / "bss") as bss:
        assert link.info().map_id not in (0, first)
        call_init()
        assert bss.globals["inits"] == 1
    BpfLink.unpin(bpffs / "link")
    BpfLink.unpin(bpffs / "link")
    # bpffs lets go of a link after a grace period, in the background.
    deadline = time.monotonic() + 10
    while registered() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not registered()


def test_wrong_order_is_refused(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        with pytest.raises(StateError, match="is not prepared"):
            ops.attach()
        ops.prepare()
        with pytest.raises(StateError, match="is prepared already"):
            ops.prepare()
    with (
        BpfObject.open(build("congestion")) as obj,
        pytest.raises(StateError, match="is not loaded"),
    ):
        StructOps(obj, "congestion").prepare()


def test_wrong_members_are_refused(build: Compile) -> None:
    with loaded(build("congestion")) as (obj, ops):
        program = obj.program("cc_init")
        with pytest.raises(StateError, match=r"has no member `color`; it has: .*ssthresh"):
            ops.prepare(color=1)
        with pytest.raises(StateError, match="`flags` is no callback"):
            ops.prepare(programs={"flags": program})
        with pytest.raises(StateError, match="`init` is not a plain member"):
            ops.prepare(init=1)
        with pytest.raises(StateError, match="`flags` is 32 bits: 4294967296 does not fit"):
            ops.prepare(flags=1 << 32)
        with pytest.raises(StateError, match="`name` takes 16 bytes, not 17"):
            ops.prepare(name=b"x" * 17)
        assert not ops.prepared


def test_a_member_that_the_object_sets_reaches_the_kernel(build: Compile) -> None:
    with loaded(build("congestion", "FLAGS=0x80000000")) as (_, ops):
        with pytest.raises(KernelCallError) as caught:  # no such flag
            ops.prepare()
        assert "bpf_map_update_elem(congestion)" in str(caught.value)


def test_maps_that_make_no_link_are_refused(build: Compile) -> None:
    with BpfObject.open(build("congestion", "UNLINKED")) as obj:
        with pytest.raises(BadFileError, match=r"section \.struct_ops: .* put it in"):
            StructOps(obj, "congestion")
        with pytest.raises(BadFileError, match="is no struct_ops map"):
            StructOps(obj, "prog.bss")
