# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong input to `kvmbpf run`, `attach` and `watch`: one line, its exit code, nothing left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kvmbpf.manager.store import Store
from qemu_glue.launch import QemuProcess
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir
from tests.unit.cli.commands import KVMBPF, assert_refused

pytestmark = pytest.mark.unit
QEMU = "qemu-system-x86_64"
# Another checkout's tests may run beside these, and VMs are looked up on the whole machine.
NAME = f"bench{os.getpid()}"


class Bench:
    """A stopped QEMU without KVM, with two QMP sockets, and a folder for the command."""

    def __init__(self, folder: Path, runtime: RuntimeDir, demo: Path, qemu: QemuProcess) -> None:
        self.folder = folder
        self.runtime = runtime
        self.qemu = qemu
        self.words = {
            "@object": str(demo),
            "@pid": str(qemu.pid),
            "@own": str(os.getpid()),
            "@name": NAME,
            "@qmp": str(runtime.socket("second")),
            "@busy": str(runtime.socket("busy")),
            "@file": str(folder / "file"),
        }
        (folder / "file").write_text("no socket\n")

    @property
    def environment(self) -> dict[str, str]:
        store = {"KVMBPF_RUN_DIR": str(self.folder / "run"), "KVMBPF_BPFFS": str(self.folder)}
        return os.environ | store | {"XDG_RUNTIME_DIR": str(self.folder / "xdg")}

    def run(self, words: str) -> subprocess.CompletedProcess[str]:
        for name, value in self.words.items():
            words = words.replace(name, value)
        (self.folder / "xdg").mkdir(exist_ok=True)
        return subprocess.run(
            [*KVMBPF, *words.split()],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def left(self) -> list[str]:
        """Return what the command left in its folders, locks apart."""
        found = [*(self.folder / "xdg").rglob("*"), *(self.folder / "run").rglob("*")]
        return [str(path) for path in found if path.suffix != ".lock"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, demo_v1: Path) -> Iterator[Bench]:
    sockets = ["second", "busy"]
    with RuntimeDir() as runtime, contextlib.ExitStack() as stack:
        arguments = ["-M", "q35", "-accel", "tcg", "-nodefaults", "-display", "none"]
        arguments += ["-name", f"guest={NAME},debug-threads=on"]
        for name in sockets:
            arguments += ["-qmp", f"unix:{runtime.socket(name)},server=on,wait=off"]
        qemu = stack.enter_context(QemuProcess(arguments, runtime))
        qemu.connect().close()
        stack.enter_context(QmpSession.connect(runtime.socket("busy")))
        yield Bench(tmp_path_factory.mktemp("bench"), runtime, demo_v1, qemu)


Row = tuple[str, str, int, str]
ATTACH: list[Row] = [
    ("no VM", "attach @object", 2, "by one of --pid, --qmp and --vm"),
    ("pid and socket", "attach @object --pid 1 --qmp x", 2, "by one of --pid, --qmp and --vm"),
    ("pid that is no number", "attach @object --pid qemu", 2, "'qemu' is not a valid integer"),
    ("pid 0", "attach @object --pid 0", 2, "--pid"),
    ("pid of nobody", "attach @object --pid 4194304", 10, "pidfd_open(4194304): ESRCH"),
    ("process without a VM", "attach @object --pid @own", 13, "has no KVM virtual machine"),
    ("descriptor without a VM", "attach @object --pid @own --vm-fd 0", 13, "no KVM virtual"),
    ("descriptor below 0", "attach @object --pid @own --vm-fd -1", 2, "--vm-fd"),
    ("VM of no such name", "attach @object --vm absent", 13, "no QEMU runs with `-name absent`"),
    ("name that is a path", "attach @object --vm ../x", 13, "no QEMU runs with `-name ../x`"),
    ("name that is empty", "attach @object --pid 1 --vm=", 13, "VM name ''"),
    ("no socket there", "attach @object --qmp /absent", 16, "QMP socket /absent: No such file"),
    ("file for a socket", "attach @object --qmp @file", 16, "Connection refused"),
    ("busy socket", "attach @object --qmp @busy", 16, "is in use by another client: QEMU did"),
    ("busy socket's mend", "attach @object --qmp @busy", 16, "or give QEMU one more socket (-qmp"),
    ("QEMU without KVM", "attach @object --qmp @qmp", 16, "runs without KVM"),
    ("the same by its name", "attach @object --vm @name", 16, "runs without KVM"),
    ("the same by its pid", "attach @object --pid @pid", 16, "runs without KVM"),
    ("unknown machine", "attach @object --pid @own --machine toaster", 17, "known are q35, pc"),
    ("address that is none", "attach @object --pid @own --at high", 2, "'high' is not a number"),
    ("address below 0", "attach @object --pid @own --at=-1", 2, "'-1' is negative"),
    ("address that is misaligned", "attach @object --pid @own --at 0x10", 17, "not aligned"),
    ("address beyond all", "attach @object --pid @own --at 0x10000000000000", 17, "out of range"),
    ("address of KVM's", "attach @object --pid @own --at 0xfefff000", 17, "identity map and TSS"),
    ("two addresses", "attach @object --pid @own --at 0 --at 0", 17, "2 addresses given for 1"),
    ("two gsis", "attach @object --pid @own --gsi 5 --gsi 6", 17, "2 gsis given for 1 irqs"),
    ("gsi beyond all", "attach @object --pid @own --gsi 4294967296", 17, "out of range"),
    ("gsi of no pin", "attach @object --pid @own --gsi 24", 17, "out of range, 0..23 on q35"),
    ("faults below 0", "attach @object --pid @own --max-faults -1", 2, "--max-faults"),
    ("time without a unit", "attach @object --pid @own --max-run 5", 2, "'5' is no time"),
    ("nothing to watch over", "attach @object --pid @own --watch", 16, "is no QEMU"),
    ("object that is not there", "attach /absent.o --pid 1", 15, "/absent.o: "),
    ("folder for an object", "attach / --pid 1", 15, "/: "),
    ("object that is none", "attach @file --pid 1", 15, "not an ELF"),
]
WATCH: list[Row] = [
    ("watch nothing", "watch", 2, "by one of --qmp and --vm"),
    ("watch two", "watch --qmp x --vm y", 2, "by one of --qmp and --vm"),
    ("watch no VM", "watch --vm absent", 13, "no VM absent"),
    ("watch no socket", "watch --qmp /absent", 16, "QMP socket /absent: No such file"),
    ("watch a busy socket", "watch --qmp @busy", 16, "in use by another client"),
    ("watch without devices", "watch --qmp @qmp", 13, "no device is attached to VM @name"),
    ("the same by its name", "watch --vm @name", 13, "no device is attached to VM @name"),
]
RUN: list[Row] = [
    ("no command", "run --device @object", 2, "COMMAND"),
    ("no device", "run -- true", 2, "--device"),
    ("device without a file", "run --device ,at=0x1000 -- true", 2, "no file in it"),
    ("unknown key", "run --device @object,gpa=1 -- true", 2, "'gpa=1': what may follow is at="),
    ("key without a value", "run --device @object,at -- true", 2, "'at': what may follow"),
    ("address that is none", "run --device @object,at=x -- true", 2, "'x' is not a number"),
    ("object that is not there", "run --device /absent.o -- true", 15, "/absent.o"),
    ("two addresses", "run --device @object,at=0,at=0 -- true", 17, "2 addresses given for 1"),
    (
        "device twice",
        "run --device @object --device @object -- true",
        17,
        "has a device demo already",
    ),
    ("VM name", "run --device @object --vm= -- true", 13, "VM name ''"),
    ("no such QEMU", "run --device @object -- absent-qemu", 16, "absent-qemu: No such file"),
    ("no profile", "run --device @object -- QEMU -M isapc", 17, "machine isapc: no profile"),
    ("no such machine", "run --device @object -- QEMU -machine type=x,accel=kvm", 17, "machine x"),
    ("-daemonize", "run --device @object -- QEMU -M q35 -daemonize", 16, "stays until QEMU ends"),
    ("--daemonize", "run --device @object -- QEMU --daemonize", 16, "stays until QEMU ends"),
    ("-preconfig", "run --device @object -- QEMU -preconfig", 16, "makes no VM before it is left"),
    ("-dtb", "run --device @object -- QEMU -M microvm -dtb x", 16, "QEMU takes one"),
    ("irq on microvm", "run --device @object -- QEMU -M microvm", 17, "use q35"),
    ("without KVM", "run --device @object -- QEMU -M q35 -display none", 16, "add -accel kvm"),
    ("without KVM on pc", "run --device @object -- QEMU -display none -S", 16, "add -accel kvm"),
    ("other machine", "run --device @object -- QEMU -display none -readconfig @q35", 16, "name it"),
]


def _check(bench: Bench, words: str, code: int, sentence: str) -> None:
    done = bench.run(words.replace("QEMU", QEMU))
    assert_refused(done, code, sentence.replace("@name", NAME))
    assert bench.left() == []


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [row[1:] for row in (*ATTACH, *WATCH, *RUN)],
    ids=[row[0] for row in (*ATTACH, *WATCH, *RUN)],
)
def test_wrong_input(bench: Bench, words: str, code: int, sentence: str) -> None:
    config = bench.folder / "machine.cfg"
    config.write_text('[machine]\n  type = "q35"\n  accel = "tcg"\n')
    _check(bench, words.replace("@q35", str(config)), code, sentence)


def test_what_qemu_says_itself_stands_before_our_line(bench: Bench) -> None:
    done = bench.run(f"run --device @object -- {QEMU} -M q35 -frobnicate")
    assert done.returncode == 16
    assert done.stderr.splitlines() == [
        f"{QEMU}: -frobnicate: invalid option",
        f"kvmbpf: {QEMU} exited with 1: if it said why, that stands above",
    ]
    assert bench.left() == []


def test_a_program_that_is_no_qemu(bench: Bench) -> None:
    done = bench.run("run --device @object -- false -M q35")
    assert done.returncode == 16
    assert done.stderr == "kvmbpf: false exited with 1: if it said why, that stands above\n"
    assert bench.left() == []


def test_two_vms_of_one_name_are_both_named(bench: Bench) -> None:
    with RuntimeDir() as runtime:
        arguments = ["-M", "none", "-display", "none", "-name", NAME]
        with QemuProcess(arguments, runtime) as second:
            second.connect().close()
            done = bench.run("attach @object --vm @name")
    pids = sorted([bench.qemu.pid, second.pid])
    assert done.returncode == 13
    assert done.stderr == (
        f"kvmbpf: VM {NAME} is process {pids[0]} (QEMU) and process {pids[1]} (QEMU): "
        "say which with --pid\n"
    )


@pytest.mark.parametrize("command", ["run", "attach"])
def test_a_missing_capability_is_named_before_anything_is_done(bench: Bench, command: str) -> None:
    rest: Mapping[str, str] = {
        "run": f"--device @object -- {QEMU} -M q35,accel=kvm -display none",
        "attach": "@object --pid @own",
    }
    words = f"{command} {rest[command]}"
    for name, value in bench.words.items():
        words = words.replace(name, value)
    assert shutil.which("setpriv")
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-bpf,-sys_admin", *KVMBPF, *words.split()],
        capture_output=True,
        text=True,
        check=False,
        env=bench.environment,
    )
    assert done.returncode == 12
    assert done.stderr == (
        f"kvmbpf: kvmbpf {command}: found no CAP_BPF, needed CAP_BPF and CAP_PERFMON; "
        "run it as root, or give the process what is missing\n"
    )
    assert bench.left() == []


def test_the_store_of_these_tests_is_their_own(bench: Bench) -> None:
    assert Store(bench.folder / "run", bench.folder).vms() == []
