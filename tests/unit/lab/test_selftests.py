# SPDX-License-Identifier: GPL-2.0-or-later
"""What the selftests print is read as they mean it, and nothing hides a missing test."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.errors import LabError
from kvmbpf.lab.kernel import LabKernel
from kvmbpf.lab.report import Report, read_report
from kvmbpf.lab.selftests import choose
from kvmbpf.lab.tap import Case, Program, read_cases

GOOD = """TAP version 13
1..2
# Starting 2 tests from 1 test cases.
#  RUN           device.create ...
#            OK  device.create
ok 1 device.create
ok 2 fine is loaded
# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0
"""


def problems(output: str, status: int | None = 0, took_s: float = 1.0) -> list[str]:
    return Program("kvm_bpf_device_test", status, output, took_s=took_s).problems


def test_results_are_read_with_their_names() -> None:
    assert read_cases(GOOD) == [Case("device.create", True), Case("fine is loaded", True)]


def test_all_ok_is_no_problem() -> None:
    assert problems(GOOD) == []


def test_not_ok_is_named_and_explains_the_exit_status() -> None:
    output = GOOD.replace("ok 2", "not ok 2")
    assert problems(output, 1) == ["not ok: fine is loaded"]


def test_a_failure_comes_with_the_expectations_that_failed() -> None:
    output = """1..2
# x86_64/a_test.c:12:fine:Expected 0 (0) == left (2)
#  RUN           global.fine ...
not ok 1 fine
ok 2 also fine
"""
    said = "x86_64/a_test.c:12:fine:Expected 0 (0) == left (2)"
    assert problems(output, 1) == [f"not ok: fine; {said}"]


@pytest.mark.parametrize("directive", ["SKIP", "skip", "XFAIL", "TODO"])
def test_what_was_not_tested_is_a_problem(directive: str) -> None:
    output = GOOD.replace("device.create\nok", f"device.create # {directive} no PIT\nok")
    assert problems(output) == [f"{directive.lower()} no PIT: device.create"]


def test_a_program_skipped_as_a_whole_is_a_problem() -> None:
    output = "TAP version 13\n1..0 # SKIP - Requirement not met: KVM_CAP_BPF_DEVICE\n"
    assert problems(output, 4) == [
        "skipped as a whole: - Requirement not met: KVM_CAP_BPF_DEVICE",
        "skipped as a whole",
    ]


def test_fewer_results_than_planned_are_a_problem() -> None:
    assert problems(GOOD.replace("1..2", "1..3")) == ["planned 3 results, printed 2"]


@pytest.mark.parametrize("output", ["", "ok 1 a\n", "1..1\n1..1\nok 1 a\n"])
def test_a_program_says_once_what_it_plans(output: str) -> None:
    assert len(problems(output)) == 1
    assert "plan" in problems(output)[0]


def test_planning_nothing_is_a_problem() -> None:
    assert problems("1..0\n") == ["planned nothing"]


def test_bailing_out_is_a_problem() -> None:
    assert problems("1..1\nok 1 a\nBail out! no memory\n", 1) == ["bailed out: no memory"]


def test_a_program_that_dies_is_told_from_one_that_hangs() -> None:
    output = "1..2\nok 1 a\n"
    planned = "planned 2 results, printed 1"
    assert problems(output, 139) == [planned, "died of signal 11"]
    assert problems(output, 254) == [planned, "exit status 254"]
    assert problems(output, 124, 60.0) == [planned, "hung: it was ended after 60 s"]
    assert problems(output, 137, 65.0) == [planned, "hung: it was ended after 65 s"]
    assert problems(output, None) == [planned, "did not end: the lab went down"]


def test_dying_after_the_last_result_is_a_problem() -> None:
    assert problems(GOOD, 1) == ["exit status 1"]
    assert problems(GOOD, 134) == ["died of signal 6"]


REPORT = f"""@kvmbpf-selftest-begin kvm_bpf_a_test
{GOOD}
@kvmbpf-selftest-errors
Random seed: 1

@kvmbpf-selftest-end 0 10.50 12.75
@kvmbpf-selftest-begin kvm_bpf_b_test
1..2
ok 1 a
"""


def test_the_labs_output_is_taken_apart() -> None:
    first, second = read_report(REPORT)
    assert (first.name, first.status, first.errors) == ("kvm_bpf_a_test", 0, "Random seed: 1")
    assert first.took_s == pytest.approx(2.25)
    assert first.problems == []
    assert (second.name, second.status) == ("kvm_bpf_b_test", None)
    assert second.problems


def test_an_empty_output_has_no_runs() -> None:
    assert list(read_report("the lab said something\n")) == []


def test_a_report_passes_when_there_is_nothing_to_say_against_it() -> None:
    good = Program("a", 0, GOOD)
    assert Report((good,), ()).passed
    assert not Report((), ()).passed
    assert not Report((good,), ("WARNING: CPU: 0",)).passed
    assert not Report((good, Program("b", 1, GOOD)), ()).passed


def kernel_of(tmp_path: Path, *, debug: bool) -> LabKernel:
    return LabKernel(tmp_path, "key", "base", "6.12", (), 1.0, debug)


def test_programs_are_chosen_by_name(tmp_path: Path) -> None:
    kernel = kernel_of(tmp_path, debug=False)
    programs = [Path("/out/kvm_bpf_a_test"), Path("/out/kvm_bpf_b_test")]
    assert choose(kernel, programs) == programs
    assert choose(kernel, programs, ["kvm_bpf_b_test"]) == programs[1:]
    with pytest.raises(LabError, match=r"no selftest c; there are kvm_bpf_a_test, kvm_bpf_b_test"):
        choose(kernel, programs, ["c"])


def test_what_needs_fault_injection_is_for_the_debug_kernel(tmp_path: Path) -> None:
    programs = [Path("/out/kvm_bpf_a_test"), Path("/out/kvm_bpf_failnth_test")]
    assert choose(kernel_of(tmp_path, debug=True), programs) == programs
    plain = kernel_of(tmp_path, debug=False)
    assert choose(plain, programs) == programs[:1]
    with pytest.raises(LabError, match="no selftest kvm_bpf_failnth_test"):
        choose(plain, programs, ["kvm_bpf_failnth_test"])
