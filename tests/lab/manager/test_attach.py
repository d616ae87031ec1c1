# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf attach` to VMMs of all kinds, with all kinds of rights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bare_vmm import BareVmm
from tests.lab.commands import Commands, commands
from tests.lab.objects import device_object

STRANGER = 4711
# What a user's kvmbpf needs; the third only because the interpreter is root's here.
ABLE = "+bpf,+perfmon,+dac_read_search"


@pytest.fixture
def kvmbpf(tmp_path: Path) -> Iterator[Commands]:
    with commands(tmp_path) as found:
        yield found


def without(*capabilities: str) -> list[str]:
    """Return what runs a command as root, less some capabilities."""
    return ["setpriv", "--bounding-set", ",".join(f"-{name}" for name in capabilities)]


def as_user(user: int) -> list[str]:
    """Return what runs a command as another user, who may use BPF."""
    ids = ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
    return ["setpriv", *ids, "--inh-caps", ABLE, "--ambient-caps", ABLE]


def test_a_vmm_that_is_no_qemu(kvmbpf: Commands) -> None:
    with BareVmm() as vmm:
        assert vmm.reads() is None
        said = kvmbpf.ok("attach", device_object("steered_v1"), "--pid", str(vmm.pid))
        assert said.splitlines() == [
            f"attached to VM pid{vmm.pid} (pid {vmm.pid}): device steered (kvmbpf,steered); "
            "region 0 at 0xfef00000, 0x1000 bytes; irq 0 on gsi 5, edge; irq 1 on gsi 6, level",
            "backend kernel: KVM answers its accesses from now on",
            f"place not checked against the VMM's own devices: process {vmm.pid} is no QEMU",
        ]
        assert vmm.reads() == 0
        # By the name that it has in the store.
        twice = kvmbpf.refused(
            "attach", device_object("steered_v1"), "--vm", f"pid{vmm.pid}", code=13
        )
        assert "has a device steered already" in twice
        kvmbpf.ok("detach", "steered")
        assert vmm.reads() is None


def test_a_device_at_a_place_of_its_users_choice(kvmbpf: Commands) -> None:
    with BareVmm() as vmm:
        target = ("--pid", str(vmm.pid))
        where = ("--at", "0xd0000000", "--gsi", "10", "--gsi", "11")
        said = kvmbpf.ok("attach", device_object("steered_v1"), *target, *where)
        assert "region 0 at 0xd0000000, 0x1000 bytes; irq 0 on gsi 10, edge" in said
        assert vmm.reads() is None
        kvmbpf.ok("detach", "steered")


def test_vms_of_one_process_are_told_apart(kvmbpf: Commands) -> None:
    with BareVmm(vms=2) as vmm:
        target = ("attach", device_object("steered_v1"), "--pid", str(vmm.pid))
        said = kvmbpf.refused(*target, code=13)
        head, _, tail = said.partition("descriptors ")
        assert head == f"process {vmm.pid} has 2 virtual machines, "
        first, second = tail.removesuffix(": say which with --vm-fd").split(", ")
        assert kvmbpf.refused(*target, "--vm-fd", "0", code=13) == (
            f"process {vmm.pid}: descriptor 0 is no VM; its VMs are {first}, {second}"
        )
        kvmbpf.ok(*target, "--vm-fd", second)
        assert vmm.reads() is None, "the other VM has the device"
        kvmbpf.ok("detach", "steered")
        kvmbpf.ok(*target, "--vm-fd", first)
        assert vmm.reads() == 0
        kvmbpf.ok("detach", "steered")


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        (
            ("bpf", "sys_admin"),
            "kvmbpf attach: found no CAP_BPF, needed CAP_BPF and CAP_PERFMON; "
            "run it as root, or give the process what is missing",
        ),
        (
            ("perfmon", "sys_admin"),
            "kvmbpf attach: found no CAP_PERFMON, needed CAP_BPF and CAP_PERFMON; "
            "run it as root, or give the process what is missing",
        ),
        (
            ("bpf", "perfmon", "sys_admin"),
            "kvmbpf attach: found no CAP_BPF and no CAP_PERFMON, needed CAP_BPF and CAP_PERFMON; "
            "run it as root, or give the process what is missing",
        ),
    ],
    ids=["CAP_BPF", "CAP_PERFMON", "both"],
)
def test_a_missing_capability_is_named(
    kvmbpf: Commands, lacking: tuple[str, ...], sentence: str
) -> None:
    with BareVmm() as vmm:
        said = kvmbpf.refused(
            *("attach", device_object("steered_v1"), "--pid", str(vmm.pid)),
            code=12,
            before=without(*lacking),
        )
        assert said == sentence
        assert vmm.reads() is None


def test_another_users_vmm_takes_cap_sys_ptrace(kvmbpf: Commands) -> None:
    with BareVmm(user=STRANGER) as vmm:
        target = ("attach", device_object("steered_v1"), "--pid", str(vmm.pid))
        said = kvmbpf.refused(*target, code=10, before=without("sys_ptrace"))
        assert said == (
            f"list the descriptors of process {vmm.pid}: EACCES (Permission denied); "
            "you lack CAP_SYS_PTRACE: run it as root, or as the process's own user"
        )
        kvmbpf.ok(*target)
        assert vmm.reads() == 0
        kvmbpf.ok("detach", "steered")


def test_cap_sys_admin_is_not_needed(kvmbpf: Commands) -> None:
    with BareVmm() as vmm:
        target = ("attach", device_object("steered_v1"), "--pid", str(vmm.pid))
        kvmbpf.ok(*target, before=without("sys_admin"))
        assert vmm.reads() == 0
        kvmbpf.ok("detach", "steered", before=without("sys_admin"))
        assert vmm.reads() is None


def test_a_user_attaches_to_a_vmm_of_its_own(tmp_path: Path, kvmbpf: Commands) -> None:
    """Two capabilities are enough where VMM, pins and records are one's own."""
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o777)
    steered = shutil.copy(device_object("steered_v1"), tmp_path)
    with BareVmm(user=STRANGER) as vmm:
        target = ("attach", steered, "--pid", str(vmm.pid))
        said = kvmbpf.refused(*target, code=10, before=as_user(STRANGER))
        assert said.startswith(f"mkdir({kvmbpf.bpffs}/kvmbpf): EACCES (Permission denied); ")
        kvmbpf.bpffs.chmod(0o777)
        kvmbpf.ok(*target, before=as_user(STRANGER))
        assert vmm.reads() == 0
        kvmbpf.ok("detach", "steered", before=as_user(STRANGER))
        assert vmm.reads() is None
