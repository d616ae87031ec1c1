# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands on attached devices, in processes other than the one that attached."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from kvmbpf.kernel.libbpf import BpfMap
from kvmbpf.kernel.tracefs import find_tracefs
from kvmbpf.manager import Limits, Store, attach, detach, device_state, list_devices, update
from kvmbpf.manager.counters import Counter
from kvmbpf.manager.info import device_info
from kvmbpf.manager.log import RING, SECTION, Listener
from kvmbpf.manager.trace import Tracer
from tests.lab.bare_vmm import BareVmm
from tests.lab.managed import VM, Command, attach_object, kvmbpf
from tests.lab.objects import device_object
from tests.lab.steered import GPA, placed_steered

DECLINED, FAULTY = 0x800, 0x800  # a read there is declined, a write is a fault
NOBODY = 65534


@pytest.fixture
def mapped(store: Store, vmm: BareVmm) -> BareVmm:
    attach_object(store, vmm, "mapped_v1")
    return vmm


@pytest.fixture
def able(store: Store, vmm: BareVmm) -> BareVmm:
    attach_object(store, vmm, "able", gsis=(5, 6))
    return vmm


@pytest.fixture
def talking(store: Store, vmm: BareVmm) -> BareVmm:
    attach_object(store, vmm, "talking_v1")
    return vmm


def as_json(store: Store, *arguments: str) -> dict[str, Any]:
    done = kvmbpf(store, *arguments, "--json")
    assert (done.status, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    assert found["schema"] == 1
    return found


def bpftool(kind: str, number: int) -> dict[str, Any]:
    command = ["bpftool", "-j", kind, "show", "id", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# list


def test_the_list_as_json_has_a_schema(store: Store, mapped: BareVmm) -> None:
    assert mapped.reads(3) == 0
    (found,) = as_json(store, "list")["devices"]
    assert (found["vm"], found["device"], found["pid"]) == (VM, "mapped", mapped.pid)
    assert found["attached"] is True
    assert found["object"]["path"] == str(device_object("mapped_v1"))
    assert found["regions"] == [{"gpa": GPA, "size": 0x1000, "bus": "mmio"}]
    assert found["state"]["calls"] == 3
    assert found["state"]["numbers"] == [0, 0, 0]
    assert found["state"]["shape"][1] == {"half": 0, "text": "00" * 6}
    detach(store, "mapped")
    assert as_json(store, "list")["devices"] == []


def test_a_device_whose_record_is_lost_can_be_detached(store: Store, mapped: BareVmm) -> None:
    store.record_path(VM, "mapped").unlink()
    done = kvmbpf(store, "list")
    assert done.status == 0
    (row,) = done.out.splitlines()[1:]
    assert row.split()[:6] == [VM, "-", "mapped", "-", "-", "unreadable:"]
    assert done.err.startswith("kvmbpf: device mapped of VM bare can only be detached: ")
    assert kvmbpf(store, "info", "mapped").status == 15
    assert kvmbpf(store, "update", str(device_object("mapped_v2"))).status == 15
    assert mapped.reads() == 0
    done = kvmbpf(store, "detach", "mapped")
    assert (done.status, done.out) == (0, "detached mapped from VM bare\n")
    assert mapped.reads() is None


def test_what_others_put_beside_the_pins_is_left_alone(store: Store, mapped: BareVmm) -> None:
    strange = store.pin_dir / VM / "mapped" / "strange"
    strange.mkdir()
    detach(store, "mapped")
    assert list_devices(store) == []
    assert strange.is_dir()
    strange.rmdir()
    assert list_devices(store) == []
    assert not (store.pin_dir / VM).exists()


# info


def test_info_tells_what_the_kernel_and_the_record_know(store: Store, mapped: BareVmm) -> None:
    mapped.reads(2)
    found = as_json(store, "info", "mapped")
    assert found["vmm"] == {"pid": mapped.pid, "name": "python3", "user": "root"} | {
        "name": Path(f"/proc/{mapped.pid}/comm").read_text().strip()
    }
    assert found["compatible"] == ["kvmbpf,mapped"]
    assert found["backend"] == "kernel"
    assert "KVM_DEV_TYPE_BPF" in found["reason"]
    assert found["manager"] == os.getpid()
    own = device_object("mapped_v1").read_bytes()
    assert found["object"]["sha256"] == hashlib.sha256(own).hexdigest()
    assert found["object"]["now"] == "same"
    assert [program["callback"] for program in found["programs"]] == ["read", "write"]
    for program in found["programs"]:
        other = bpftool("prog", program["id"])
        assert program["tag"] == other["tag"]
        assert program["jited_bytes"] == other["bytes_jited"]
        assert program["instructions"] * 8 == other["bytes_xlated"]
    assert [one["name"] for one in found["maps"]] == [".bss", "first", "kept"]
    for one in found["maps"]:
        other = bpftool("map", one["id"])
        assert (one["type"], one["memory_bytes"]) == (other["type"], other["bytes_memlock"])
    values = {value["name"]: (value["type"], value["value"]) for value in found["state"]}
    assert values["calls"] == ("__u64", 2)
    assert values["numbers"] == ("int[3]", [0, 0, 0])


def test_a_later_process_is_told_of_faults_and_ejection(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "mapped_v1", limits=Limits(max_faults=1))
    assert device_info(store, "mapped").condition is not None
    vmm.reads(2, DECLINED)
    assert vmm.writes(1, FAULTY)
    condition = as_json(store, "info", "mapped")["condition"]
    assert (condition["ejected"], condition["faults"]) == (False, 1)
    assert condition["limits"] == {"max_faults": 1, "max_run_ns": None}
    assert condition["regions"][0]["declines"] == 2
    vmm.writes(1, FAULTY)
    found = as_json(store, "info", "mapped")["condition"]
    assert found["ejected"] is True
    assert found["last_fault"] | {"time_ns": 0} == {
        "reason": "error",
        "time_ns": 0,
        "error": -5,
        "run_ns": 0,
        "region": 0,
        "offset": FAULTY,
        "bytes": 4,
        "write": True,
        "vcpu": 0,
    }
    assert "EJECTED" in kvmbpf(store, "info", "mapped").out
    update(store, device_object("mapped_v2"))
    condition = as_json(store, "info", "mapped")["condition"]
    assert (condition["ejected"], condition["replaced"]) == (False, 1)
    assert condition["limits"]["max_faults"] == 1, "limits are the device's, not the programs'"


def test_the_limits_on_time_are_set_too(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "mapped_v1", limits=Limits(max_run_ns=10**9))
    condition = device_info(store, "mapped").condition
    assert condition is not None
    assert condition.limits == Limits(None, 10**9)
    assert "1000000000 ns an access" in kvmbpf(store, "info", "mapped").out


def test_info_sees_what_became_of_the_file(store: Store, vmm: BareVmm, tmp_path: Path) -> None:
    attach_object(store, vmm, "mapped_v1")
    copy = tmp_path / "copy.bpf.o"
    shutil.copy(device_object("mapped_v2"), copy)
    update(store, copy)
    assert as_json(store, "info", "mapped")["object"]["now"] == "same"
    with copy.open("ab") as file:
        file.write(b"more")
    assert as_json(store, "info", "mapped")["object"]["now"] == "changed"
    copy.unlink()
    assert as_json(store, "info", "mapped")["object"]["now"] == "gone"
    assert "the file is GONE" in kvmbpf(store, "info", "mapped").out


# reset


def test_a_reset_runs_the_devices_own_program(store: Store, able: BareVmm) -> None:
    assert device_state(store, VM, "able")["resets"] == 0
    done = kvmbpf(store, "reset", "able")
    assert (done.status, done.out, done.err) == (0, "reset able of VM bare\n", "")
    assert device_state(store, VM, "able")["resets"] == 1
    assert kvmbpf(store, "reset", "able", "--vm", VM).status == 0
    assert device_state(store, VM, "able")["resets"] == 2
    detach(store, "able")
    done = kvmbpf(store, "reset", "able")
    assert (done.status, done.out) == (13, "")
    assert done.err == "kvmbpf: no device able is attached to any VM; see `kvmbpf list`\n"


def test_what_a_reset_program_returns_is_told(store: Store, able: BareVmm) -> None:
    with pins_map(store, ".bss", "able") as state:
        state.globals["reset_result"] = -errno.EIO
    done = kvmbpf(store, "reset", "able")
    assert (done.status, done.out) == (10, "")
    assert "EIO" in done.err
    assert "that is what the reset program of device able of VM bare returned" in done.err
    assert len(done.err.splitlines()) == 1
    assert device_state(store, VM, "able")["resets"] == 1


def test_a_device_without_a_reset_program_is_refused(store: Store, mapped: BareVmm) -> None:
    done = kvmbpf(store, "reset", "mapped")
    assert (done.status, done.out) == (13, "")
    assert done.err.startswith("kvmbpf: device mapped of VM bare has no reset program")
    assert len(done.err.splitlines()) == 1
    assert mapped.reads() == 0


# limits


def test_limits_are_shown_and_set_each_by_itself(store: Store, mapped: BareVmm) -> None:
    def limits(*arguments: str) -> tuple[int | None, int | None]:
        found = as_json(store, "limits", "mapped", *arguments)
        assert (found["vm"], found["device"]) == (VM, "mapped")
        assert (found["faults"], found["ejected"]) == (0, False)
        return found["limits"]["max_faults"], found["limits"]["max_run_ns"]

    assert limits() == (None, None)
    assert limits("--max-faults", "3") == (3, None)
    for _ in range(2):
        assert limits("--max-run", "10s") == (3, 10**10)
    assert limits() == (3, 10**10)
    assert as_json(store, "info", "mapped")["condition"]["limits"]["max_faults"] == 3
    assert store.read(VM, "mapped").limits == Limits(3, 10**10)
    done = kvmbpf(store, "limits", "mapped")
    said = "mapped of VM bare: 3 faults, 10000000000 ns an access; faults so far: 0\n"
    assert (done.status, done.out, done.err) == (0, said, "")
    update(store, device_object("mapped_v2"))
    assert limits("--max-faults", "none") == (None, 10**10)
    assert limits("--max-faults", "0", "--max-run", "none") == (0, None)
    assert mapped.reads() == 0
    detach(store, "mapped")
    for arguments in ((), ("--max-faults", "1")):
        done = kvmbpf(store, "limits", "mapped", *arguments)
        assert (done.status, done.out) == (13, "")
        assert "no device mapped is attached to any VM" in done.err


def test_limits_of_a_later_process_eject_and_do_not_bring_back(
    store: Store, mapped: BareVmm
) -> None:
    assert mapped.writes(5, FAULTY), "there is no limit yet"
    update(store, device_object("mapped_v2"))
    assert kvmbpf(store, "limits", "mapped", "--max-faults", "1").status == 0
    assert mapped.writes(2, FAULTY)
    assert mapped.reads() is None
    found = as_json(store, "limits", "mapped")
    assert (found["faults"], found["ejected"]) == (2, True)
    said = kvmbpf(store, "limits", "mapped", "--max-faults", "none").out
    assert said.endswith("; faults so far: 2; EJECTED: all accesses are declined\n")
    assert mapped.reads() is None
    done = kvmbpf(store, "reset", "mapped")
    assert done.status == 13
    assert "its programs were ejected: update the device first" in done.err
    update(store, device_object("mapped_v1"))
    assert mapped.reads() == 0
    assert as_json(store, "limits", "mapped")["limits"]["max_faults"] is None


def test_limits_are_set_by_one_manager_at_a_time(store: Store, mapped: BareVmm) -> None:
    with store.lock(VM):
        done = kvmbpf(store, "limits", "mapped", "--max-faults", "1")
        assert (done.status, done.out) == (13, "")
        assert "is changing it just now" in done.err
        assert as_json(store, "limits", "mapped")["limits"]["max_faults"] is None


# update --dry-run


def test_a_dry_run_changes_nothing(store: Store, mapped: BareVmm) -> None:
    mapped.reads(4)
    before = list_devices(store)
    found = as_json(store, "update", str(device_object("mapped_v2")), "--dry-run")
    assert found["applied"] is False
    assert found["state"] == {"carried": ["kept", ".bss"], "new": ["second"], "dropped": ["first"]}
    done = kvmbpf(store, "update", str(device_object("mapped_v2")), "--dry-run")
    assert done.out.splitlines()[0].startswith("would update mapped of VM bare to ")
    assert list_devices(store) == before
    mapped.reads(1)
    state = device_state(store, VM, "mapped")
    assert (state["calls"], state["version"]) == (5, 1)
    applied = as_json(store, "update", str(device_object("mapped_v2")))
    assert (applied["applied"], applied["state"]) == (True, found["state"])


def test_a_dry_run_tells_every_difference(store: Store, vmm: BareVmm) -> None:
    attach(store, device_object("steered_v1"), placed_steered(), pid=vmm.pid, vm=VM)
    path = str(device_object("other_layout"))
    done = kvmbpf(store, "update", path, "--dry-run", "--json")
    assert done.status == 14
    found = json.loads(done.out)
    assert found["applied"] is False
    assert len(found["differences"]) > 1
    said = kvmbpf(store, "update", path, "--dry-run")
    assert len(said.out.splitlines()) == len(found["differences"])
    assert said.err.startswith("kvmbpf: ")
    assert len(said.err.splitlines()) == 1
    assert vmm.reads() == 0


# stat


def test_accesses_are_counted_to_the_last_one(store: Store, mapped: BareVmm) -> None:
    mapped.reads(1000)
    with Counter(store, "mapped") as counter:
        mapped.reads(100)
        mapped.writes(50)
        (found,) = counter.sample()
        assert (found.reads, found.writes) == (100, 50)
        assert found.ns > 0
        assert (found.declines, found.faults, found.ejected) == (0, 0, False)
        mapped.reads(7, DECLINED)
        mapped.writes(3, FAULTY)
        (found,) = counter.sample()
        assert (found.reads, found.writes, found.declines, found.faults) == (7, 3, 7, 3)
        mapped.reads(10)
        update(store, device_object("mapped_v2"))
        mapped.reads(20)
        (found,) = counter.sample()
        assert found.reads == 30, "those of both versions"
        (found,) = counter.sample()
        assert (found.reads, found.ns_per_access) == (0, None)
    mapped.reads(10)
    with Counter(store) as counter:
        (found,) = counter.sample()
        assert found.reads == 0
        detach(store, "mapped")
        assert counter.sample() == []


def test_stat_prints_a_line_a_time_and_ends_by_a_signal(store: Store, mapped: BareVmm) -> None:
    running = Command(store, ["stat", "--interval", "0.2"])
    assert running.line().split()[:4] == ["VM", "DEVICE", "READS/S", "WRITES/S"]
    assert running.line().split()[:2] == [VM, "mapped"]
    done = running.finish(signal.SIGINT)
    assert (done.status, done.err) == (0, "")
    once = kvmbpf(store, "stat", "mapped", "--interval", "0.2", "--count", "2", "--json")
    lines = [json.loads(line) for line in once.out.splitlines()]
    assert [line["device"] for line in lines] == ["mapped", "mapped"]
    assert {line["schema"] for line in lines} == {1}


# trace


def instances() -> list[str]:
    folder = find_tracefs() / "instances"
    return [path.name for path in folder.iterdir() if path.name.startswith("kvmbpf-")]


def await_tracing() -> None:
    """Wait until the instance of a command records."""
    while True:
        for name in instances():
            enabled = find_tracefs() / "instances" / name / "events/kvm/kvm_bpf_access/enable"
            if enabled.exists() and enabled.read_text().strip() == "1":
                return


def test_each_access_is_traced_in_order(store: Store, mapped: BareVmm) -> None:
    with Tracer(store, "mapped") as tracer:
        assert len(instances()) == 1
        mapped.reads(20, 8)
        mapped.writes(1, FAULTY)
        mapped.reads(1, DECLINED)
        found = list(tracer.follow(0.3))
        assert tracer.lost == 0
    assert instances() == []
    assert [(one.write, one.offset, one.result) for one in found] == [
        *[(False, 8, 0)] * 20,
        (True, FAULTY, -5),
        (False, DECLINED, -95),
    ]
    assert {(one.vm, one.device, one.region, one.len) for one in found} == {(VM, "mapped", 0, 4)}
    assert [one.time_ns for one in found] == sorted(one.time_ns for one in found)
    assert {one.thread for one in found} == {mapped.pid}
    assert all(one.ns > 0 for one in found)


def test_another_device_is_not_traced(store: Store, mapped: BareVmm) -> None:
    with BareVmm() as other:
        attach_object(store, other, "mapped_v2", vm="other")
        with Tracer(store, "mapped", vm=VM) as tracer:
            other.reads(10)
            mapped.reads(1)
            assert [one.vm for one in tracer.follow(0.3)] == [VM]


def test_trace_prints_as_many_as_were_asked_for(store: Store, mapped: BareVmm) -> None:
    running = Command(store, ["trace", "mapped", "--count", "3"])
    await_tracing()
    mapped.reads(10)
    done = running.finish()
    assert (done.status, done.err) == (0, "")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["device"] for line in lines] == ["mapped"] * 3
    assert set(lines[0]) >= {
        *("device", "region", "offset", "len", "value", "result", "ns", "vcpu", "time")
    }
    assert instances() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_a_trace_leaves_however_it_ends(
    store: Store, mapped: BareVmm, number: signal.Signals
) -> None:
    running = Command(store, ["trace", "mapped"])
    await_tracing()
    mapped.reads(1)
    assert json.loads(running.line())["device"] == "mapped"
    done = running.finish(number)
    if number is signal.SIGKILL:
        assert len(instances()) == 1
        with Tracer(store, "mapped"):
            assert len(instances()) == 1, "its own, in place of the one that was left"
    else:
        assert done.status == (0 if number is signal.SIGINT else 128 + number)
        assert done.err == ""
    assert instances() == []


# log


def flag(store: Store) -> int:
    found = store.pins(VM, "talking").open_map(SECTION)
    assert found is not None
    with found:
        return int(found.globals["kvmbpf_log_listeners"])


def read_once_listened_to(store: Store, vmm: BareVmm) -> None:
    while not flag(store):
        pass
    vmm.reads(3, 0x10)


def test_it_speaks_while_somebody_listens(store: Store, talking: BareVmm) -> None:
    talking.reads(5)
    assert flag(store) == 0
    with Listener(store, "talking") as listener:
        messages = listener.follow()
        reader = threading.Thread(target=read_once_listened_to, args=(store, talking))
        reader.start()
        texts = [next(messages).text for _ in range(3)]
        reader.join()
        assert flag(store) == 1
    assert texts == [f"version 1, read {number} at 0x10" for number in (6, 7, 8)]
    assert flag(store) == 0
    assert "kvmbpf_log_listeners" not in device_state(store, VM, "talking")


def test_log_follows_an_update_and_ends_with_the_device(store: Store, talking: BareVmm) -> None:
    running = Command(store, ["log", "talking", "--follow", "--json"])
    while not flag(store):
        pass
    talking.reads(1)
    assert json.loads(running.line())["text"] == "version 1, read 1 at 0x0"
    update(store, device_object("talking_v2"))
    talking.reads(1)
    assert json.loads(running.line())["text"] == "version 2, read 2 at 0x0"
    detach(store, "talking")
    done = running.finish()
    assert (done.status, done.out, done.err) == (0, "", "")


def test_log_ends_where_an_update_says_nothing(store: Store, talking: BareVmm) -> None:
    running = Command(store, ["log", "talking", "--follow"])
    while not flag(store):
        pass
    update(store, device_object("talking_not"))
    done = running.finish()
    assert done.status == 13
    assert "says nothing: its object calls no kvmbpf_log()" in done.err
    assert kvmbpf(store, "log", "talking").status == 13
    assert store.pins(VM, "talking").open_map(RING) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_the_flag_is_cleared_however_it_ends(
    store: Store, talking: BareVmm, number: signal.Signals
) -> None:
    running = Command(store, ["log", "talking", "--follow"])
    while not flag(store):
        pass
    done = running.finish(number)
    assert done.status == (0 if number is signal.SIGINT else 128 + number)
    if number is signal.SIGKILL:
        assert flag(store) == 1
        assert kvmbpf(store, "log", "talking").status == 0
    assert flag(store) == 0


def test_a_second_listener_is_told_of_the_first(store: Store, talking: BareVmm) -> None:
    running = Command(store, ["log", "talking", "--follow"])
    while not flag(store):
        pass
    second = kvmbpf(store, "log", "talking")
    assert second.status == 13
    assert f"another kvmbpf, process {running.pid}, listens to it already" in second.err
    assert flag(store) == 1, "the first goes on"
    assert running.finish(signal.SIGTERM).err == ""
    assert flag(store) == 0


# rights


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "mapped"],
        ["stat", "mapped"],
        ["log", "mapped"],
        ["update", "@mapped_v2"],
        ["update", "@mapped_v2", "--dry-run"],
    ],
)
def test_the_capability_that_is_missing_is_named(
    store: Store, mapped: BareVmm, arguments: list[str]
) -> None:
    given = [str(device_object(a[1:])) if a[0] == "@" else a for a in arguments]
    done = kvmbpf(store, *given, without=["CAP_SYS_ADMIN"])
    assert done.status == 12
    assert f"kvmbpf {arguments[0]}: found no CAP_SYS_ADMIN, needed CAP_SYS_ADMIN" in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""
    assert mapped.reads() == 0


def test_some_commands_need_no_capability_but_the_files(store: Store, mapped: BareVmm) -> None:
    none = ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"]
    assert "mapped" in kvmbpf(store, "list", without=none).out
    (found,) = json.loads(kvmbpf(store, "list", "--json", without=none).out)["devices"]
    assert found["state"] is None
    done = kvmbpf(store, "trace", "mapped", "--duration", "0.1", without=none)
    assert (done.status, done.err) == (0, "")
    assert kvmbpf(store, "detach", "mapped", without=none).status == 0
    assert mapped.reads() is None


def test_what_takes_the_right_to_ptrace_is_left_out_and_said(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "mapped_v1")
    done = kvmbpf(store, "info", "mapped", "--json", without=["CAP_SYS_PTRACE"])
    assert (done.status, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["condition"] is None
    assert "you lack CAP_SYS_PTRACE" in found["no_condition"]
    assert found["programs"] != []
    done = kvmbpf(
        store, "stat", "--interval", "0.1", "--count", "1", "--json", without=["CAP_SYS_PTRACE"]
    )
    assert json.loads(done.out)["declines"] is None


@pytest.mark.parametrize(
    "arguments",
    [["reset", "mapped"], ["limits", "mapped"], ["limits", "mapped", "--max-run", "1s"]],
)
def test_without_the_right_to_ptrace_nothing_is_done_to_a_device(
    store: Store, mapped: BareVmm, arguments: list[str]
) -> None:
    done = kvmbpf(store, *arguments, without=["CAP_SYS_PTRACE"])
    assert (done.status, done.out) == (10, "")
    assert "you lack CAP_SYS_PTRACE" in done.err
    assert len(done.err.splitlines()) == 1
    assert store.read(VM, "mapped").limits == Limits()


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["info", "mapped"],
        ["reset", "mapped"],
        ["limits", "mapped"],
        ["limits", "mapped", "--max-faults", "1"],
        ["detach", "mapped"],
        ["stat"],
        ["trace", "mapped"],
    ],
)
def test_another_user_is_told_whose_the_files_are(
    store: Store, mapped: BareVmm, arguments: list[str]
) -> None:
    done = kvmbpf(store, *arguments, uid=NOBODY)
    assert done.status == 10
    assert "EACCES" in done.err
    assert "root's, mode 700" in done.err
    assert len(done.err.splitlines()) == 1


def test_the_folders_are_entered_by_their_owner_only(store: Store, mapped: BareVmm) -> None:
    folders = [store.pin_dir, store.pin_dir / VM, store.pin_dir / VM / "mapped", store.run_dir]
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {oct(0o700)}


# many


def test_many_updates_lose_no_field(store: Store, mapped: BareVmm) -> None:
    """Each variable and map is what it was, or one access more; KVMBPF_UPDATES says how many."""
    rounds = int(os.environ.get("KVMBPF_UPDATES", "200"))
    kept = [index + 1 for index in range(8)]
    pins = store.pins(VM, "mapped")
    with pins_map(store, ".bss") as state:
        state.globals["shown"] = kept
        state.globals["shape"] = [{"half": 7, "text": b"field\0"}, {"half": 8, "text": b"other\0"}]
    for turn in range(rounds):
        update(store, device_object(("mapped_v2", "mapped_v1")[turn % 2]))
        mapped.reads(1, 8)
    found = device_state(store, VM, "mapped")
    assert found["calls"] == rounds
    assert found["shown"] == kept
    assert found["shape"] == [{"half": 7, "text": b"field\0"}, {"half": 8, "text": b"other\0"}]
    with pins_map(store, "kept") as slots:
        assert slots.lookup((0).to_bytes(4, "little")) == rounds.to_bytes(8, "little")
    assert sorted(pins.map_names()) == [".bss", "first" if rounds % 2 == 0 else "second", "kept"]


def pins_map(store: Store, state: str, device: str = "mapped") -> BpfMap:
    found = store.pins(VM, device).open_map(state)
    assert found is not None
    return found
