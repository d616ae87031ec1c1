# SPDX-License-Identifier: GPL-2.0-or-later
"""A small world for the selftests on VMX: a Bochs that is a script, and a GRUB likewise.

Run as a module it is ``kvmbpf`` with a kernel, tests and a Bochs of this world.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from kvmbpf import cli
from kvmbpf.cli import lab
from kvmbpf.lab.bochs import Bochs, find_bochs
from kvmbpf.lab.kernel import LabKernel
from tests.places import ROOT

WORLD_VARIABLE = "FAKE_BOCHS"
TESTS = ("kvm_bpf_access_test", "kvm_bpf_contain_test", "kvm_bpf_device_test")
MACHINE = """@kvmbpf-vmx-machine
vendor_id	: GenuineIntel
model name	: Imaginary
flags		: fpu vmx nx
cpus: 1
kvm: /dev/kvm
kvm_intel.ept: Y
kvm_intel.enable_apicv: N
@kvmbpf-vmx-tests
"""
# A program's run, of which the results and the status are to be filled in.
RUN = """@kvmbpf-selftest-begin {name}
TAP version 13
{tap}
@kvmbpf-selftest-errors
@kvmbpf-selftest-end {status} 1.00 2.50
"""
PASSES = "1..1\nok 1 it.works"
LOG = "@kvmbpf-vmx-log\n"
END = "@kvmbpf-vmx-end\n"
POWER_OFF = "reboot: Power down\n"


def run_of(name: str, tap: str = PASSES, status: int = 0) -> str:
    """Return what the guest writes of a program's run."""
    return RUN.format(name=name, tap=tap, status=status)


class FakeBochs:
    """The world, below one folder.

    :param folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = folder / "tools"
        self.temporary = folder / "temporary"
        for place in (self.tools, self.temporary, folder / "tests"):
            place.mkdir()
        for path in (
            *("usr/share/bochs/BIOS-bochs-latest", "usr/share/vgabios/vgabios.bin"),
            *("usr/lib/grub/i386-pc/cdboot.img", "kernel/tree/arch/x86/boot/bzImage"),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(path.encode())
        self.programs = [Path(shutil.copy("/bin/true", folder / "tests" / name)) for name in TESTS]
        self.kernel = LabKernel(folder / "kernel", "key", "base", "6.12", (), 1.0)
        self.write_tool("xorriso", "exit 0")
        self.write_tool("grub-mkrescue", "cp iso/boot/initrd tests.iso")
        self.guest(MACHINE + run_of(TESTS[0]) + LOG + END, POWER_OFF)

    def write_tool(self, name: str, script: str) -> None:
        """Put a script in the place of a tool."""
        path = self.tools / name
        path.write_text(f"#!/bin/sh\nF={self.folder}\n{script}\n")
        path.chmod(0o755)

    def guest(self, results: str, console: str = "", *, then: str = "exit 1") -> None:
        """Have Bochs write this to the serial ports, then do something, which is to end."""
        (self.folder / "said-results").write_text(results)
        (self.folder / "said-console").write_text(console)
        self.write_tool(
            "bochs",
            "echo '00000000000i[      ] Bochs x86 Emulator 9.9' >bochs.log\n"
            "{ pwd; stat -c %a .. ; tty; stty size; grep count= bochsrc; } >>$F/seen\n"
            "cat $F/said-console >console; cat $F/said-results >results\n"
            f"echo $$ >$F/pid.partial; mv $F/pid.partial $F/pid\n{then}",
        )

    def seen(self) -> str:
        """Return what Bochs saw of where it was run."""
        return (self.folder / "seen").read_text()

    def pid(self) -> int:
        """Return the process id of the last Bochs."""
        return int((self.folder / "pid").read_text())

    def environment(self) -> dict[str, str]:
        """Return the environment of a process in this world."""
        return os.environ | {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "TMPDIR": str(self.temporary),
            WORLD_VARIABLE: str(self.folder),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``kvmbpf lab selftest --vmx`` in this world."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.unit.lab.fake_bochs", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.environment(),
        )

    def find(self) -> Bochs:
        """Return this world's Bochs; PATH has to lead there."""
        return find_bochs(self.folder)


def _main() -> None:
    # Not FakeBochs: the world is there.
    folder = Path(os.environ[WORLD_VARIABLE])
    kernel = LabKernel(folder / "kernel", "key", "base", "6.12", (), 1.0)
    ours = {
        "find_bochs": lambda: find_bochs(folder),
        "ensure_kernel": lambda **_: kernel,
        "build_selftests": lambda *_, **__: sorted((folder / "tests").iterdir()),
    }
    vars(lab).update(ours)
    sys.argv[1:1] = ["lab", "selftest", "--vmx"]
    cli.main()


if __name__ == "__main__":
    _main()
