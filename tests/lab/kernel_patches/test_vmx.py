# SPDX-License-Identifier: GPL-2.0-or-later
"""The series' selftests pass on Intel's VMX too: the quick ones; `make vmx` runs all."""

from __future__ import annotations

import pytest

from kvmbpf.errors import UnsupportedError
from kvmbpf.lab import ensure_kernel
from kvmbpf.lab.bochs import Bochs, find_bochs
from kvmbpf.lab.selftests import PROGRAM_TIMEOUT_S, build_selftests, choose
from kvmbpf.lab.vmx import run_on_vmx

pytestmark = pytest.mark.on_host
# About two minutes of one CPU's time.
QUICK = ("kvm_bpf_access_test", "kvm_bpf_device_test")


@pytest.fixture
def bochs() -> Bochs:
    try:
        return find_bochs()
    except UnsupportedError as error:
        pytest.skip(str(error))


def test_the_series_quick_selftests_pass_on_vmx(bochs: Bochs) -> None:
    kernel = ensure_kernel()
    programs = choose(kernel, build_selftests(kernel), QUICK)
    done = run_on_vmx(kernel, programs, timeout_s=PROGRAM_TIMEOUT_S, bochs=bochs)
    (machine,) = done.machines
    print(f"VMX: {machine}")
    failed = [one for one in done.report.programs if one.problems]
    for one in failed:
        print(f"{one.name} said:\n{one.errors}")
    assert {one.name: one.problems for one in failed} == {}
    assert done.report.complaints == ()
    assert machine.kvm_intel["ept"] == "Y"
