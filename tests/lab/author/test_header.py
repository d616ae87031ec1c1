# SPDX-License-Identifier: GPL-2.0-or-later
"""What authors can do with the header, in KVM: both kinds alike, timers, works, reset, log."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable

import pytest

from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.libbpf import BpfObject, carry_over
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.backends import kernel
from kvmbpf.model.objfile import read_device
from tests.header_examples import Example, examples
from tests.lab.header_devices import Attached, attached, called
from tests.lab.objects import device_object, example_object
from tests.lab.pace import PACE
from tests.lab.step_guest import Step
from tests.ring import log_records

SEED = 0x6B766D62
ACCESSES = 10_000
MMIO_BYTES, PORTS = 0x2000, 64
TIMER, CANCEL, WORK, WRITE_GUEST, READ_GUEST, KICK, UCLAMP, FREQ, LOG, LOG_LONG, NO_BYTES = range(
    0, 88, 8
)
LEVEL, REPEAT, CANCEL_REPEAT, WORK_BY_TIMER = range(88, 120, 8)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60 * PACE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


def operate(device: Attached, operation: int, value: int = 0) -> int:
    """Have the able device call something; return what that returned."""
    device.globals["result"] = 1
    device.write(operation, value)
    return device.get("result")


def random_step(dice: random.Random) -> Step:
    """Return an access of any kind, in places that matter more often than by chance."""
    pio = dice.random() < 0.25
    width = dice.choice((1, 2, 4) if pio else (1, 2, 4, 8))
    if pio:
        offset = dice.randrange(PORTS + 2)
    elif dice.random() < 0.3:
        offset = dice.choice((PAGE_END, MMIO_BYTES)) + dice.randrange(-8, 2)
    else:
        offset = dice.randrange(MMIO_BYTES + 16)
    value = dice.getrandbits(8 * width) if dice.random() < 0.5 else None
    return Step(offset, width, value, pio)


PAGE_END = 0x1000


def test_both_kinds_answer_random_accesses_alike() -> None:
    print(f"seed {SEED:#x}")
    dice = random.Random(SEED)  # noqa: S311 (to be repeated)
    path = device_object("twin")
    declined = faults = edges = 0
    with attached(path) as one, called(path) as other:
        for number in range(ACCESSES):
            step = random_step(dice)
            mine, theirs = one.step(step), other.step(step)
            results = one.get("last_result"), other.last_result
            irqs = one.irqs(), other.irqs()
            assert (mine, results[0], irqs[0]) == (theirs, results[1], irqs[1]), (number, step)
            declined += bool(mine.exits)
            faults += results[0] not in (0, -errno.EOPNOTSUPP)
            edges += irqs[0][0]
        assert one.globals.as_dict() == other.globals.as_dict()
        assert one.get("reads") + one.get("writes") > ACCESSES * 9 // 10
    assert min(declined, faults, edges) > ACCESSES // 100, "there was some of everything"


def test_example_of_the_design_answers_in_kvm() -> None:
    with attached(example_object("design")) as device:
        assert device.step(Step(0, 4, 40)).exits == ()
        assert device.step(Step(0, 4, 2)).exits == ()
        assert device.step(Step(0, 4)).value == 42
        assert device.irqs()[0], "the edge came"
        assert device.step(Step(4, 4)).exits == ((4, None),), "declined"


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_every_example_of_the_header_loads_for_kvm(example: Example) -> None:
    with kernel.open_object(example_object(example.name)) as loaded:
        loaded.load()
        assert loaded.loaded


def test_calls_load_on_this_kernel_too() -> None:
    with called(device_object("able")) as device:
        assert device.step(Step(WRITE_GUEST, 8, 0)).exits == ()
        assert device.globals["result"] == -errno.EOPNOTSUPP


def test_both_kinds_load_at_once() -> None:
    with BpfObject.open(device_object("able")) as loaded:
        loaded.load()
        assert all(program.fd >= 0 for program in loaded.programs.values())


@pytest.mark.debug_kernel
def test_timer_raises_an_irq() -> None:
    with attached(device_object("able")) as device:
        for count in (1, 2):
            assert operate(device, TIMER, 1000) == 0
            wait_for(lambda count=count: device.get("ticks") == count)  # type: ignore[misc]
            assert device.get("later_result") == 0
            wait_for(lambda: device.irqs()[0])


def test_cancelled_timer_raises_none() -> None:
    with attached(device_object("able")) as device:
        assert operate(device, CANCEL) == 0
        assert operate(device, TIMER, 3600 * 10**9) == 0
        assert operate(device, CANCEL) == 1
        assert operate(device, CANCEL) == 0
        assert device.get("ticks") == 0
        assert not device.irqs()[0]


def test_timer_that_starts_itself_goes_on() -> None:
    with attached(device_object("able")) as device:
        assert operate(device, REPEAT, 1000) == 0
        wait_for(lambda: device.get("repeats") == 5)
        assert device.get("later_result") == 0
        assert operate(device, CANCEL_REPEAT) == 0


@pytest.mark.debug_kernel
def test_work_writes_guest_memory_and_raises_an_irq() -> None:
    with attached(device_object("able")) as device:
        device.globals["word"] = 0x1122334455667788
        device.globals["gpa"] = 0x900
        assert operate(device, WORK) == 0
        wait_for(lambda: device.get("works") == 1)
        assert device.get("later_result") == 0
        assert device.guest.memory[0x900:0x908] == (0x1122334455667788).to_bytes(8, "little")
        wait_for(lambda: device.irqs()[1])


def test_work_past_the_memory_is_told() -> None:
    with attached(device_object("able")) as device:
        device.globals["gpa"] = 0x1000
        assert operate(device, WORK) == 0
        wait_for(lambda: device.get("works") == 1)
        assert device.get("later_result") == -errno.EFAULT
        assert not device.irqs()[1]


def test_timer_starts_a_work_that_an_access_started_before() -> None:
    with attached(device_object("able")) as device:
        device.globals["gpa"] = 0x900
        assert operate(device, WORK_BY_TIMER) == 0
        wait_for(lambda: device.get("later_result") == -errno.ENODEV)
        assert operate(device, WORK) == 0
        wait_for(lambda: device.get("works") == 1)
        assert operate(device, WORK_BY_TIMER) == 0
        wait_for(lambda: device.get("works") == 2)


@pytest.mark.debug_kernel
def test_timer_that_comes_after_the_detach_is_told() -> None:
    with attached(device_object("able")) as device:
        assert operate(device, TIMER, 20_000_000) == 0
        device.link.detach()
        wait_for(lambda: device.get("ticks") == 1)
        assert device.get("later_result") == -errno.ENODEV


@pytest.mark.debug_kernel
def test_timer_outlives_a_hot_update() -> None:
    path = device_object("able")
    with attached(path) as device, kernel.open_object(path) as new:
        assert operate(device, TIMER, 20_000_000) == 0
        carried = carry_over(new, device.loaded.maps)
        assert {"kvmbpf_timer_tick", "kvmbpf_kept_tick", ".bss"} <= set(carried.carried)
        new.load()
        device.link.update(kernel.prepare_replacement(read_device(path), new).map)
        device.loaded.close()
        wait_for(lambda: new.globals["ticks"] == 1)
        wait_for(lambda: device.irqs()[0])
        device.write(TIMER, 1000)
        wait_for(lambda: new.globals["ticks"] == 2)


def test_access_reads_and_writes_guest_memory() -> None:
    with attached(device_object("able")) as device:
        device.globals["word"] = 0xABCDEF
        assert operate(device, WRITE_GUEST, 0x910) == 0
        assert device.guest.memory[0x910:0x918] == (0xABCDEF).to_bytes(8, "little")
        device.guest.memory[0x920:0x928] = bytes(range(8))
        assert operate(device, READ_GUEST, 0x920) == 0
        assert device.get("word") == int.from_bytes(bytes(range(8)), "little")
        assert operate(device, READ_GUEST, 0x10000) == -errno.EFAULT
        assert operate(device, NO_BYTES) == -errno.EINVAL


def test_hints_to_the_scheduler() -> None:
    with attached(device_object("able")) as device:
        assert operate(device, KICK, 0) == 0
        assert operate(device, KICK, 7) == -errno.ENOENT
        assert operate(device, UCLAMP, 1025) == -errno.EINVAL
        assert operate(device, UCLAMP, 1024) in (0, -errno.EOPNOTSUPP), "by the configuration"
        assert operate(device, FREQ) == 0


@pytest.mark.debug_kernel
def test_reset_runs_and_may_do_what_resets_do() -> None:
    with attached(device_object("able")) as device:
        assert operate(device, LEVEL, 1) == 0
        assert device.irqs()[1]
        device.globals["gpa"] = 0x900
        device.device.reset()
        assert device.get("resets") == 1
        assert device.guest.memory[0x900:0x904] == (1).to_bytes(4, "little")
        assert device.get("reset_timer_result") == -errno.ENODEV, "no access has started it"
        wait_for(lambda: device.irqs()[0])
        assert not device.irqs()[1], "a reset deasserts"
        assert operate(device, TIMER, 1000) == 0
        wait_for(lambda: device.get("ticks") == 1)
        device.device.reset()
        assert device.get("reset_timer_result") == 0
        wait_for(lambda: device.get("ticks") == 2)


def test_resets_error_goes_to_who_asked() -> None:
    with attached(device_object("able")) as device:
        device.globals["reset_result"] = -errno.EIO
        with pytest.raises(KernelCallError) as caught:
            device.device.reset()
        assert caught.value.errno == errno.EIO


def test_device_without_a_reset_says_so() -> None:
    with attached(device_object("twin")) as device:
        with pytest.raises(KernelCallError) as caught:
            device.device.reset()
        assert caught.value.errno == errno.EOPNOTSUPP


def test_concurrent_flag_reaches_the_kernel() -> None:
    path = device_object("twin")
    with attached(path) as device, kernel.open_object(example_object("concurrent")) as other:
        other.load()
        ops = kernel.prepare_replacement(read_device(example_object("concurrent")), other)
        with pytest.raises(KernelCallError) as caught:
            device.link.update(ops.map)  # an update must not change the flags
        assert caught.value.errno == errno.EINVAL
    with attached(example_object("concurrent")) as device:
        assert device.step(Step(0, 4)).exits == ((0, None),)
        assert device.device.info().state == uapi.KVM_BPF_STATE_ATTACHED


def test_log_records_arrive_while_somebody_listens() -> None:
    with attached(device_object("able")) as device:
        assert operate(device, LOG, 0xABC) == 0
        assert log_records(device.loaded) == []
        device.globals["kvmbpf_log_listeners"] = 1
        assert operate(device, LOG, 0xABC) == 0
        texts = [record.text for record in log_records(device.loaded)]
        assert texts == [b"plain", b"8 -1 0xabc text c"]
        device.globals["kvmbpf_log_listeners"] = 0
        assert operate(device, LOG, 0xABC) == 0
        assert len(log_records(device.loaded)) == 2
