# SPDX-License-Identifier: GPL-2.0-or-later
"""Selftests on VMX, by a Bochs that is a script: whatever goes wrong is said in time."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kvmbpf.errors import LabError, UnsupportedError
from kvmbpf.lab.vmx import VMX_FACTOR, VmxReport, run_on_vmx
from kvmbpf.lab.vmx_boot import Ended
from kvmbpf.lab.vmx_log import vmx_complaints
from tests.unit.lab.fake_bochs import END, LOG, MACHINE, POWER_OFF, TESTS, FakeBochs, run_of
from tests.unit.lab.fake_lab import alive, eventually, finish

HANGS = "exec sleep 600"
LEGACY = "WARNING: CPU: 0 PID: 0 at arch/x86/kernel/cpu/topology_common.c:57 parse_legacy+0xaf/0xc0"
XSTATE = (
    "WARNING: CPU: 0 PID: 0 at arch/x86/kernel/fpu/xstate.c:605 fpu__init_system_xstate+0xa6c/0xc20"
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBochs:
    made = FakeBochs(tmp_path)
    for name in ("PATH", "TMPDIR"):
        monkeypatch.setenv(name, made.environment()[name])
    monkeypatch.setattr("tempfile.tempdir", str(made.temporary))
    return made


def run(
    world: FakeBochs, *tests: str, timeout_s: float = 60.0, boot_timeout_s: float = 60.0
) -> VmxReport:
    chosen = [path for path in world.programs if path.name in (tests or TESTS[:1])]
    return run_on_vmx(
        world.kernel,
        chosen,
        timeout_s=timeout_s,
        boot_timeout_s=boot_timeout_s,
        end_timeout_s=timeout_s * VMX_FACTOR,
        bochs=world.find(),
    )


def fails(world: FakeBochs, **limits: float) -> str:
    with pytest.raises(LabError) as caught:
        run(world, **limits)
    assert not alive(world.pid()), "no Bochs is left"
    assert not list(world.temporary.iterdir()), "no file is left"
    return str(caught.value)


def test_what_passes_is_reported_with_the_machine(world: FakeBochs) -> None:
    report = run(world)
    assert report.report.passed
    (machine,) = report.machines
    assert str(machine) == (
        "GenuineIntel, Imaginary, 1 CPU, emulated by Bochs 9.9; "
        "kvm_intel with ept; off: enable_apicv"
    )
    assert not list(world.temporary.iterdir())


def test_bochs_has_a_terminal_and_a_private_folder_of_its_own(world: FakeBochs) -> None:
    run(world)
    folder, mode, terminal, size, cpus = world.seen().splitlines()
    assert Path(folder).is_relative_to(world.temporary)
    assert mode == "700"
    assert terminal.startswith("/dev/pts/")
    assert size == "50 132"
    assert "count=1" in cpus


def test_what_needs_two_cpus_has_a_boot_with_two_of_its_own(world: FakeBochs) -> None:
    world.guest("", then="case $(pwd) in *2) t=contain;; *) t=access;; esac; cat $F/$t >results")
    for name in ("access", "contain"):
        text = MACHINE + run_of(f"kvm_bpf_{name}_test") + LOG + END
        (world.folder / name).write_text(text)
    (world.folder / "said-console").write_text(POWER_OFF)
    report = run(world, *TESTS[:2])
    assert [one.name for one in report.report.programs] == list(TESTS[:2])
    assert report.report.passed
    counts = sorted(
        line.partition("count=")[2][0] for line in world.seen().splitlines() if "count=" in line
    )
    assert counts == ["1", "2"]
    assert len(report.machines) == 2


def test_each_program_is_told_when_it_ends_whatever_comes_then(world: FakeBochs) -> None:
    world.guest(MACHINE + run_of(TESTS[0]) + run_of(TESTS[2])[:60], then="kill -SEGV $$")
    told: list[Ended] = []
    with pytest.raises(LabError, match="in kvm_bpf_device_test, 0 results; Bochs said: died of"):
        run_on_vmx(
            world.kernel,
            [world.programs[0], world.programs[2]],
            timeout_s=60,
            bochs=world.find(),
            ended=told.append,
        )
    assert [(one.program.name, one.program.problems) for one in told] == [(TESTS[0], [])]


def test_all_that_is_missing_is_named_with_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    world = FakeBochs(tmp_path)
    (tmp_path / "usr/share/vgabios/vgabios.bin").unlink()
    with pytest.raises(UnsupportedError) as caught:
        world.find()
    said = str(caught.value)
    assert said.startswith("bochs, grub-mkrescue, xorriso, busybox, gcc, setpriv, timeout, ")
    assert "vgabios.bin: found nothing, needed them to boot" in said
    assert said.endswith(
        "; apt-get install bochs bochs-term grub-common xorriso busybox-static gcc "
        "util-linux coreutils vgabios"
    )
    assert "\n" not in said


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("tools/xorriso", "xorriso"),
        ("usr/share/bochs/BIOS-bochs-latest", "bochsbios"),
        ("usr/lib/grub/i386-pc/cdboot.img", "grub-pc-bin"),
    ],
)
def test_one_thing_that_is_missing_is_a_line_and_the_documented_code(
    world: FakeBochs, path: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / path).unlink()
    for tool in ("bochs", "busybox", "gcc", "grub-mkrescue", "setpriv", "timeout"):
        if not (world.tools / tool).exists():
            world.write_tool(tool, "exit 0")
    monkeypatch.setenv("PATH", str(world.tools))
    done = finish(world.start())
    assert done.returncode == 12
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"; apt-get install {package}\n")


def test_a_bochs_without_its_display_says_which_package_has_it(world: FakeBochs) -> None:
    world.guest("", then="echo \">>PANIC<< display library 'term' not available\"; exit 1")
    with pytest.raises(UnsupportedError, match="apt-get install bochs-term"):
        run(world)


def test_a_boot_that_hangs_ends_with_the_console(world: FakeBochs) -> None:
    world.guest("", "first line\nlast line\n", then=HANGS)
    said = fails(world, boot_timeout_s=0.5)
    assert said.startswith("the guest did not boot within 0.5 s; its console ended with:\n")
    assert said.endswith("first line\nlast line")


def test_a_bochs_that_catches_sigterm_is_ended_too(world: FakeBochs) -> None:
    world.guest("", then="trap '' TERM; while :; do sleep 600; done")
    assert "did not boot" in fails(world, boot_timeout_s=0.5)


def test_a_program_that_hangs_is_named(world: FakeBochs) -> None:
    begun = run_of(TESTS[0]).partition("@kvmbpf-selftest-errors")[0]
    world.guest(MACHINE + begun, then=HANGS)
    said = fails(world, timeout_s=0.2)
    assert said == "kvm_bpf_access_test, 1 results: it did not end within 0.6 s"


def test_a_guest_that_does_not_power_off_is_an_error(world: FakeBochs) -> None:
    world.guest(MACHINE + run_of(TESTS[0]) + LOG + END, then=HANGS)
    assert fails(world, timeout_s=0.2) == "the guest did not end within 0.6 s"


def test_a_bochs_that_crashes_is_told_with_its_signal(world: FakeBochs) -> None:
    world.guest(MACHINE, "was here\n", then="kill -SEGV $$")
    said = fails(world)
    assert said == (
        "the guest went down while it booted; Bochs said: died of signal 11; "
        "its console ended with:\nwas here"
    )


def test_what_bochs_says_at_its_end_is_told(world: FakeBochs) -> None:
    words = "Bochs is exiting with the following message:\\n[CPU0  ] 3rd exception"
    world.guest(MACHINE, "Kernel panic - not syncing: no\n", then=f"printf '{words}\\n'; exit 1")
    said = fails(world)
    assert "Bochs said: [CPU0  ] 3rd exception; its kernel said: Kernel panic - not" in said


def test_an_end_without_a_power_off_is_an_error(world: FakeBochs) -> None:
    world.guest(MACHINE + run_of(TESTS[0]) + LOG + END, "BUG: at its end\n")
    assert "the guest went down at its end; Bochs said: exit status 1" in fails(world)


def test_a_program_without_tap_has_not_passed(world: FakeBochs) -> None:
    world.guest(MACHINE + run_of(TESTS[0], tap="hello") + LOG + END, POWER_OFF)
    assert run(world).report.programs[0].problems == ["printed 0 plans, not one"]


def test_a_program_that_was_not_run_has_not_passed(world: FakeBochs) -> None:
    world.guest(MACHINE + LOG + END, POWER_OFF)
    report = run(world).report
    assert not report.passed
    assert "did not end: the lab went down" in report.programs[0].problems
    done = finish(world.start(TESTS[0]))
    assert done.returncode == 18
    assert f"{TESTS[0]:28} FAILED" in done.stdout


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("GenuineIntel", "AuthenticAMD", "its CPU is of AuthenticAMD, not GenuineIntel"),
        ("vmx", "svm", "its CPU shows no VMX"),
        ("kvm: /dev/kvm\n", "", "it has no /dev/kvm"),
        ("kvm_intel.", "kvm_amd.", "its kernel has no kvm_intel"),
    ],
)
def test_a_guest_without_vmx_is_a_failure_before_any_test(
    world: FakeBochs, line: str, instead: str, said: str
) -> None:
    world.guest(
        MACHINE.replace("@kvmbpf-vmx", "@").replace(line, instead).replace("@", "@kvmbpf-vmx")
        + run_of(TESTS[0]),
        then=HANGS,
    )
    assert fails(world) == f"the guest has no VMX: {said}"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_bochs(world: FakeBochs, signum: signal.Signals) -> None:
    world.guest(MACHINE, then=HANGS)
    process = world.start(TESTS[0])
    eventually((world.folder / "pid").exists)
    assert alive(world.pid())
    process.send_signal(signum)
    done = finish(process)
    assert "Traceback" not in done.stderr
    eventually(lambda: not alive(world.pid()))
    if signum != signal.SIGKILL:
        assert done.returncode == (130 if signum == signal.SIGINT else 128 + signum)
        assert not list(world.temporary.iterdir())


def test_an_interrupt_while_the_disk_is_made_leaves_nothing(world: FakeBochs) -> None:
    world.write_tool(
        "grub-mkrescue", "echo $$ >$F/pid.partial; mv $F/pid.partial $F/pid; sleep 600"
    )
    process = world.start(TESTS[0])
    eventually((world.folder / "pid").exists)
    process.send_signal(signal.SIGTERM)
    assert finish(process).returncode == 128 + signal.SIGTERM
    assert not alive(world.pid())
    assert not list(world.temporary.iterdir())


def test_the_command_shows_the_machine_and_each_program(world: FakeBochs) -> None:
    done = finish(world.start(TESTS[0]))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("VMX: GenuineIntel, Imaginary, 1 CPU")
    assert second.split()[:4] == [TESTS[0], "ok", "1", "results"]


def test_the_command_fails_for_a_complaint_of_the_kernel(world: FakeBochs) -> None:
    log = f"{LEGACY}\nselftest {TESTS[0]}\nWARNING: CPU: 0 PID: 9 at virt/kvm/kvm_bpf_io.c:1\n"
    world.guest(MACHINE + run_of(TESTS[0]) + LOG + log + END, POWER_OFF)
    done = finish(world.start(TESTS[0]))
    assert done.returncode == 18
    assert "kernel complained: WARNING: CPU: 0 PID: 9 at virt/kvm/kvm_bpf_io.c:1" in done.stderr


def test_a_complaint_after_the_tests_is_seen_on_the_console(world: FakeBochs) -> None:
    world.guest(MACHINE + run_of(TESTS[0]) + LOG + END, f"BUG: in VMXOFF\n{POWER_OFF}")
    assert run(world).report.complaints == ("BUG: in VMXOFF",)


def test_vmx_is_for_the_plain_kernel(world: FakeBochs) -> None:
    done = finish(world.start("--debug"))
    assert done.returncode == 2
    assert "--vmx is for the plain kernel: leave --debug out" in done.stderr


def test_the_two_warnings_that_bochs_causes_are_no_complaints() -> None:
    assert vmx_complaints(f"a\n{LEGACY}\nb\n{XSTATE}\nselftest kvm_bpf_a_test\nfine\n") == []


@pytest.mark.parametrize(
    ("log", "left"),
    [
        (f"{LEGACY}\n{LEGACY}\n", [LEGACY]),
        (f"selftest kvm_bpf_a_test\n{XSTATE}\n", [XSTATE]),
        (f"{XSTATE}\n<4>selftest kvm_bpf_a_test\n{LEGACY}\n", [LEGACY]),
        (LEGACY.replace("CPU: 0", "CPU: 1"), [LEGACY.replace("CPU: 0", "CPU: 1")]),
        (LEGACY.replace("parse_legacy", "parse_topology"), None),
        (XSTATE.replace("xstate.c", "core.c"), None),
        (XSTATE.replace("PID: 0", "PID: 1"), None),
    ],
)
def test_any_other_warning_is_one(log: str, left: list[str] | None) -> None:
    assert vmx_complaints(log) == (log.splitlines() if left is None else left)
