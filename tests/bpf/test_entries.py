# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices on a stock kernel: the SEC("syscall") half of an object, loaded and called.

What the running kernel's own BPF can do is tested here; the half that KVM calls is
tested in tests/lab.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.errors import BadFileError, KernelCallError, StateError, UnsupportedError
from kvmbpf.kernel.libbpf.carry import carry_over
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.uapi.kvmbpf import CALL_READ, CALL_RESET, CALL_WRITE, KVMBPF_DECLINE, kvmbpf_call
from tests.header_examples import DESIGN_EXAMPLE, Example, examples
from tests.ring import RING, log_records

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

PROGS = Path(__file__).resolve().parents[1] / "lab" / "progs"
FLAGS = ".data.kvmbpf_log"
NOT_HERE = -errno.EOPNOTSUPP
TIMER, CANCEL, WORK, WRITE_GUEST, READ_GUEST, KICK, UCLAMP, FREQ, LOG, LOG_LONG, NO_BYTES = range(
    0, 88, 8
)
LEVEL, REPEAT, CANCEL_REPEAT, WORK_BY_TIMER = range(88, 120, 8)


@pytest.fixture(scope="module")
def able(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the device that can do all, compiled."""
    folder = tmp_path_factory.mktemp("able")
    return compile_device(PROGS / "able.bpf.c", folder / "able.bpf.o")


def compiled(source: str, folder: Path, name: str = "device") -> Path:
    path = folder / f"{name}.bpf.c"
    path.write_text(source)
    return compile_device(path, folder / f"{name}.bpf.o")


@contextmanager
def called(path: Path) -> Iterator[BpfObject]:
    """Give an object, loaded to be called."""
    with BpfObject.open(path) as loaded:
        loaded.use_call_entries()
        loaded.load()
        yield loaded


def read(loaded: BpfObject, offset: int = 0, length: int = 8) -> kvmbpf_call:
    return loaded.program(CALL_READ).call(kvmbpf_call(offset=offset, len=length))


def write(loaded: BpfObject, offset: int, value: int, length: int = 8) -> kvmbpf_call:
    return loaded.program(CALL_WRITE).call(kvmbpf_call(offset=offset, value=value, len=length))


def operate(loaded: BpfObject, operation: int, value: int = 0) -> int:
    """Have the able device call something; return what that returned."""
    assert write(loaded, operation, value).result == 0
    result = loaded.globals["result"]
    assert isinstance(result, int)
    return result


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


# the object of the design


def test_example_answers_as_a_call(tmp_path: Path) -> None:
    with called(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded:
        assert write(loaded, 0, 40, 4).result == 0
        done = write(loaded, 0, 2, 4)
        assert (done.result, done.irqs, done.levels) == (0, 1, 1)
        done = read(loaded, 0, 4)
        assert (done.result, done.value, done.irqs) == (0, 42, 0)
        assert read(loaded, 4, 4).result == KVMBPF_DECLINE
        assert loaded.globals["count"] == 42


def test_answer_is_not_given_unless_it_answers(tmp_path: Path) -> None:
    with called(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded:
        done = loaded.program(CALL_READ).call(kvmbpf_call(offset=8, len=4, value=77))
        assert (done.result, done.value) == (KVMBPF_DECLINE, 77)


def test_short_context_is_refused(tmp_path: Path) -> None:
    with called(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded:
        with pytest.raises(KernelCallError) as caught:
            loaded.program(CALL_READ).test_run(bytes(16))
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_every_example_of_the_header_loads(example: Example, tmp_path: Path) -> None:
    with called(compiled(example.source(), tmp_path)) as loaded:
        # an example may read guest memory, which cannot be done here
        assert read(loaded).result in (0, KVMBPF_DECLINE, -errno.EIO)


# which half


def test_call_entries_leave_out_the_kernels_half(able: Path) -> None:
    with BpfObject.open(able) as loaded:
        loaded.use_call_entries()
        assert {item.name for item in loaded.programs.values() if item.autoload} == {
            CALL_READ,
            CALL_WRITE,
            CALL_RESET,
        }
        assert "kvmbpf_ops" not in loaded.maps
        assert {name for name in loaded.maps if name.startswith("kvmbpf_kept_")} == set()
        assert {"kvmbpf_timer_tick", "kvmbpf_work_fill", RING} <= set(loaded.maps)


def test_kernel_entries_leave_out_the_calls(able: Path) -> None:
    with BpfObject.open(able) as loaded:
        loaded.use_kernel_entries()
        assert {item.name for item in loaded.programs.values() if item.autoload} == {
            "kvmbpf_read",
            "kvmbpf_write",
            "kvmbpf_reset",
        }
        assert {"kvmbpf_ops", "kvmbpf_kept_tick", "kvmbpf_kept_fill", RING} <= set(loaded.maps)


@pytest.mark.parametrize("choose", [BpfObject.use_call_entries, BpfObject.use_kernel_entries])
def test_log_is_left_out_where_nothing_is_logged(
    choose: Callable[[BpfObject], None], tmp_path: Path
) -> None:
    with BpfObject.open(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded:
        assert {RING, FLAGS} <= set(loaded.maps)
        choose(loaded)
        assert {RING, FLAGS} & set(loaded.maps) == set()


def test_programs_and_maps_of_the_authors_own_stay(tmp_path: Path) -> None:
    own = """
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mine SEC(".maps");

SEC("syscall") int tell(void *ctx) { return 7; }
"""
    path = compiled(f"{DESIGN_EXAMPLE}{own}", tmp_path)
    for choose in (BpfObject.use_call_entries, BpfObject.use_kernel_entries):
        with BpfObject.open(path) as loaded:
            choose(loaded)
            assert loaded.program("tell").autoload
            assert "mine" in loaded.maps
    with called(path) as loaded:
        assert loaded.program("tell").test_run().result == 7


def test_stock_kernel_refuses_the_other_half_by_name(tmp_path: Path) -> None:
    with BpfObject.open(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded:
        loaded.use_kernel_entries()
        with pytest.raises(UnsupportedError, match="struct kvm_bpf_ops"):
            loaded.load()


def test_program_left_out_has_no_descriptor(tmp_path: Path) -> None:
    with (
        called(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded,
        pytest.raises(StateError, match="kvmbpf_read is not loaded"),
    ):
        _ = loaded.program("kvmbpf_read").fd


@pytest.mark.parametrize("choose", [BpfObject.use_call_entries, BpfObject.use_kernel_entries])
def test_choice_after_the_load_is_refused(
    choose: Callable[[BpfObject], None], tmp_path: Path
) -> None:
    with called(compiled(DESIGN_EXAMPLE, tmp_path)) as loaded, pytest.raises(StateError):
        choose(loaded)


@pytest.mark.parametrize("choose", [BpfObject.use_call_entries, BpfObject.use_kernel_entries])
def test_choice_twice_is_the_same(choose: Callable[[BpfObject], None], able: Path) -> None:
    with BpfObject.open(able) as loaded:
        choose(loaded)
        first = set(loaded.maps)
        choose(loaded)
        assert set(loaded.maps) == first


def test_choice_after_close_is_refused(tmp_path: Path) -> None:
    loaded = BpfObject.open(compiled(DESIGN_EXAMPLE, tmp_path))
    loaded.close()
    with pytest.raises(StateError, match="closed"):
        loaded.use_call_entries()


def test_file_that_was_damaged_meanwhile_is_a_bad_file(able: Path, tmp_path: Path) -> None:
    path = tmp_path / "able.bpf.o"
    path.write_bytes(able.read_bytes())
    with BpfObject.open(path) as loaded:
        path.write_bytes(able.read_bytes()[:100])
        with pytest.raises(BadFileError):
            loaded.use_call_entries()


# what may be called


def test_irq_that_is_not_there_is_refused_as_by_the_kernel(able: Path, tmp_path: Path) -> None:
    source = """
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) }, .irqs = 2, .level_irqs = 2);
KVMBPF_READ(struct kvmbpf_access *acc) { return 0; }
KVMBPF_WRITE(struct kvmbpf_access *acc) { return kvmbpf_irq(acc, acc->value, acc->offset); }
"""
    with called(compiled(source, tmp_path)) as loaded:
        for index, result in ((2, -errno.ENOENT), (31, -errno.ENOENT), (32, -errno.EINVAL)):
            done = write(loaded, 1, index)
            assert (done.result, done.irqs, done.levels) == (result, 0, 0)
        done = write(loaded, 1, 0)
        assert (done.irqs, done.levels) == (1, 1), "an edge"
        done = write(loaded, 0, 0)
        assert (done.irqs, done.levels) == (0, 0), "no edge"
        done = write(loaded, 1, 1)
        assert (done.irqs, done.levels) == (2, 2), "a line that goes up"
        done = write(loaded, 0, 1)
        assert (done.irqs, done.levels) == (2, 0), "and down"


@pytest.mark.parametrize(
    ("operation", "value"), [(WRITE_GUEST, 0), (READ_GUEST, 0), (KICK, 0), (UCLAMP, 1024)]
)
def test_what_a_stock_kernel_cannot_do_says_so(able: Path, operation: int, value: int) -> None:
    with called(able) as loaded:
        assert operate(loaded, operation, value) == NOT_HERE


def test_frequencies_are_not_known(able: Path) -> None:
    with called(able) as loaded:
        loaded.globals["word"] = 1
        assert operate(loaded, FREQ) == 0
        assert loaded.globals["word"] == 0


def test_timer_runs_once_for_each_start(able: Path) -> None:
    with called(able) as loaded:
        for count in (1, 2):
            assert operate(loaded, TIMER, 1000) == 0
            wait_for(lambda count=count: loaded.globals["ticks"] == count)  # type: ignore[misc]
        assert loaded.globals["later_result"] == NOT_HERE, "no irq from a timer"


def test_cancelled_timer_does_not_run(able: Path) -> None:
    with called(able) as loaded:
        assert operate(loaded, CANCEL) == 0, "it was never started"
        assert operate(loaded, TIMER, 3600 * 10**9) == 0
        assert operate(loaded, CANCEL) == 1
        assert operate(loaded, CANCEL) == 0
        assert loaded.globals["ticks"] == 0


def test_timer_that_starts_itself_goes_on(able: Path) -> None:
    with called(able) as loaded:
        assert operate(loaded, REPEAT, 1000) == 0
        wait_for(lambda: loaded.globals["repeats"] == 5)
        assert loaded.globals["later_result"] == 0
        assert operate(loaded, CANCEL_REPEAT) == 0


def test_work_runs(able: Path) -> None:
    with called(able) as loaded:
        if operate(loaded, WORK) == NOT_HERE:
            pytest.skip("this kernel has no bpf_wq: 6.10 and newer do")
        wait_for(lambda: loaded.globals["works"] == 1)
        assert loaded.globals["later_result"] == NOT_HERE, "no guest memory"


def test_timer_starts_a_work_that_an_access_started_before(able: Path) -> None:
    with called(able) as loaded:
        assert operate(loaded, WORK_BY_TIMER) == 0
        wait_for(lambda: loaded.globals["later_result"] != 1)
        if loaded.globals["later_result"] == NOT_HERE:
            pytest.skip("this kernel has no bpf_wq: 6.10 and newer do")
        assert loaded.globals["later_result"] == -errno.ENODEV
        assert operate(loaded, WORK) == 0
        wait_for(lambda: loaded.globals["works"] == 1)
        assert operate(loaded, WORK_BY_TIMER) == 0
        wait_for(lambda: loaded.globals["works"] == 2)


def test_reset_runs(able: Path) -> None:
    with called(able) as loaded:
        done = loaded.program(CALL_RESET).call(kvmbpf_call())
        assert (done.result, done.irqs) == (0, 1)
        assert loaded.globals["resets"] == 1
        assert loaded.globals["reset_timer_result"] == -errno.ENODEV, "no access has started it"
        assert operate(loaded, TIMER, 3600 * 10**9) == 0
        assert loaded.program(CALL_RESET).call(kvmbpf_call()).result == 0
        assert loaded.globals["reset_timer_result"] == 0
        wait_for(lambda: loaded.globals["ticks"] == 1)
        loaded.globals["reset_result"] = -errno.EIO
        assert loaded.program(CALL_RESET).call(kvmbpf_call()).result == -errno.EIO


def test_timer_outlives_its_object_in_a_successor(able: Path) -> None:
    with BpfObject.open(able) as old:
        old.use_call_entries()
        old.load()
        assert operate(old, TIMER, 50 * 10**6) == 0
        with BpfObject.open(able) as new:
            new.use_call_entries()
            carried = carry_over(new, old.maps)
            assert {"kvmbpf_timer_tick", "kvmbpf_work_fill", ".bss", ".data"} <= set(
                carried.carried
            )
            new.load()
            old.close()
            wait_for(lambda: new.globals["ticks"] == 1)
            assert operate(new, TIMER, 1000) == 0
            wait_for(lambda: new.globals["ticks"] == 2)


# the log


def test_nothing_is_logged_while_nobody_listens(able: Path) -> None:
    with called(able) as loaded:
        assert operate(loaded, LOG) == 0
        assert log_records(loaded) == []


def test_records_are_what_was_said(able: Path) -> None:
    with called(able) as loaded:
        loaded.globals["kvmbpf_log_listeners"] = 1
        before = time.monotonic_ns()
        write(loaded, LOG, 0xABC, 4)
        after = time.monotonic_ns()
        records = log_records(loaded)
        assert [record.text for record in records] == [b"plain", b"4 -1 0xabc text c"]
        assert [record.length for record in records] == [5, 17]
        assert before < records[0].time_ns <= records[1].time_ns < after
        assert [record.reserved for record in records] == [0, 0]
        loaded.globals["kvmbpf_log_listeners"] = 0
        write(loaded, LOG, 0, 4)
        assert len(log_records(loaded)) == 2


def test_long_text_is_cut(able: Path) -> None:
    with called(able) as loaded:
        loaded.globals["kvmbpf_log_listeners"] = 1
        write(loaded, LOG_LONG, 0)
        (record,) = log_records(loaded)
        assert record.length == 111
        assert record.text == b"0" * 99 + b"1" + b"0" * 11


def test_records_that_find_no_room_are_counted(able: Path) -> None:
    with called(able) as loaded:
        loaded.globals["kvmbpf_log_listeners"] = 1
        room = 65536 // 136
        for _ in range(room):
            write(loaded, LOG_LONG, 0)
        lost = loaded.globals["kvmbpf_log_lost"]
        assert isinstance(lost, int)
        assert len(log_records(loaded)) == room - lost
        write(loaded, LOG, 0)
        assert loaded.globals["kvmbpf_log_lost"] == lost + 2
