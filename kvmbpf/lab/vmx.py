# SPDX-License-Identifier: GPL-2.0-or-later
"""The series' selftests on Intel's VMX, which Bochs emulates.

Bochs runs on one of this machine's CPUs, at some 50 million instructions a second, and
slower for each CPU that the guest has. So the guest has one, and only the tests that
need two get two, in a boot of their own, beside the other where this machine has a CPU
for it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.lab.bochs import Bochs, find_bochs
from kvmbpf.lab.bochs_run import BochsRun
from kvmbpf.lab.cache import in_use
from kvmbpf.lab.kernel import LabKernel
from kvmbpf.lab.progress import Progress
from kvmbpf.lab.report import Report
from kvmbpf.lab.tap import Program
from kvmbpf.lab.vmx_boot import Boot, Ended
from kvmbpf.lab.vmx_image import make_image
from kvmbpf.lab.vmx_machine import Machine

# The longest that the boot and the end may take, in seconds: 20 s of CPU, and 5 s.
BOOT_TIMEOUT_S = 900.0
END_TIMEOUT_S = 120.0
# As much more time has a program here, where all else that runs on this machine slows it down.
VMX_FACTOR = 3
# A vCPU that runs, and a thread that has to catch it at that.
_NEED_TWO_CPUS = ("kvm_bpf_contain_test",)
_POLL_S = 0.2


@dataclass(frozen=True)
class VmxReport:
    """What a run on VMX gave.

    :param machines: what each boot's guest said of its machine.
    :param report: of the tests, as in the lab.
    """

    machines: tuple[Machine, ...]
    report: Report


def run_on_vmx(
    kernel: LabKernel,
    programs: Sequence[Path],
    *,
    timeout_s: float,
    boot_timeout_s: float = BOOT_TIMEOUT_S,
    end_timeout_s: float = END_TIMEOUT_S,
    bochs: Bochs | None = None,
    progress: Progress | None = None,
    booted: Callable[[Machine], None] = lambda machine: None,
    ended: Callable[[Ended], None] = lambda program: None,
) -> VmxReport:
    """Run selftests where Bochs emulates VMX.

    :param timeout_s: the longest that each program may run, in the guest's seconds, of which
        each may be many here; VMX_FACTOR times that in seconds here.
    :param boot_timeout_s: the longest that the boot may take, in seconds.
    :param end_timeout_s: the longest that the end may take, in seconds.
    :param bochs: what to boot; this machine's by default.
    :param booted: told of each boot's machine, which has VMX.
    :param ended: told of each program that ends.
    :raise UnsupportedError: when Bochs, or what it boots with, is missing.
    :raise LabError: when the guest has no VMX, does not boot, goes down, or takes too long;
        ends with what its console showed last.
    """
    found = bochs if bochs is not None else find_bochs()
    told = progress if progress is not None else Progress()
    with ExitStack() as stack:
        stack.enter_context(in_use(kernel.folder))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvmbpf-vmx-")))
        waiting = []
        for cpus, group in _groups(programs):
            told.step("making the disk with the tests")
            place = folder / f"cpus-{cpus}"
            place.mkdir()
            make_image(found, kernel.bzimage, group, place, timeout_s=timeout_s)
            run = stack.enter_context(BochsRun(found, place, cpus=cpus))
            waiting.append(Boot(run, timeout_s * VMX_FACTOR, boot_timeout_s, end_timeout_s))
        boots = tuple(waiting)
        at_once = max(1, len(os.sched_getaffinity(0)))
        going: list[Boot] = []
        while waiting or going:
            while waiting and len(going) < at_once:
                going.append(waiting.pop(0))
                going[-1].start()
            for boot in going:
                before = boot.machine
                new = boot.step()
                if new or boot.machine is not before:
                    told.clear()
                if boot.machine is not None and before is None:
                    booted(boot.machine)
                for one in new:
                    ended(one)
                if boot.failure is not None:
                    raise boot.failure
            told.at("VMX: " + "; ".join(boot.doing for boot in going))
            going = [boot for boot in going if not boot.over]
            time.sleep(_POLL_S)
    told.clear()
    ran = {one.name: one for boot in boots for one in boot.programs}
    return VmxReport(
        tuple(boot.machine for boot in boots if boot.machine is not None),
        Report(
            tuple(ran.get(path.name, Program(path.name, None, "")) for path in programs),
            tuple(line for boot in boots for line in boot.complaints()),
        ),
    )


def _groups(programs: Sequence[Path]) -> list[tuple[int, list[Path]]]:
    """Return how many CPUs which programs get."""
    two = [path for path in programs if path.name in _NEED_TWO_CPUS]
    one = [path for path in programs if path.name not in _NEED_TWO_CPUS]
    return [(cpus, group) for cpus, group in ((1, one), (2, two)) if group]
