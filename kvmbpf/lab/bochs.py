# SPDX-License-Identifier: GPL-2.0-or-later
"""Bochs, an emulator whose CPU has Intel's VMX: found, and configured for one run.

QEMU emulates SVM, but no VMX, so that KVM's Intel half can be run without such a CPU
only here. Bochs 2.7 and 3.0 (Debian 12 and 13) were tried.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import UnsupportedError

# What Bochs writes and reads, in the folder that it runs in: names without a folder, as
# its configuration has no way to quote one.
ISO, CONSOLE, RESULTS, LOG = "tests.iso", "console", "results", "bochs.log"
RC, COMMANDS = "bochsrc", "commands"
# What Bochs counts as a second of the guest's, in instructions; its TSC is one an instruction.
IPS = 350_000_000

# program -> the Debian packages that have it
_PROGRAMS = {
    "bochs": "bochs bochs-term",
    "grub-mkrescue": "grub-common",
    "xorriso": "xorriso",
    "busybox": "busybox-static",
    "gcc": "gcc",
    "setpriv": "util-linux",
    "timeout": "coreutils",
}
_BIOS = Path("usr/share/bochs/BIOS-bochs-latest")
_VGA_BIOS = Path("usr/share/vgabios/vgabios.bin")
_GRUB = Path("usr/lib/grub/i386-pc")
# file -> the Debian package that has it
_FILES = {_BIOS: "bochsbios", _VGA_BIOS: "vgabios", _GRUB / "cdboot.img": "grub-pc-bin"}
_PURPOSE = "to boot a kernel where a CPU with VMX is emulated"

# This model has EPT, VPID, unrestricted guests and the nesting of VMX. An emulation of
# several CPUs takes turns of a quantum, in instructions.
#
# The first serial port is the kernel's console, the second has the results alone: the
# kernel's lines would come in the middle of theirs. A panic of the guest's is a triple
# fault (its command line says so), and the end of Bochs, not another boot.
_CONFIGURATION = """# Written by kvmbpf for one run.
display_library: term
cpu: model=corei7_skylake_x, count={cpus}, ips={ips}, reset_on_triple_fault=0{quantum}
cpu: ignore_bad_msrs=1
memory: guest=512, host=512
romimage: file={bios}
vgaromimage: file={vga_bios}
pci: enabled=1, chipset=i440fx
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={console}
com2: enabled=1, mode=file, dev={results}
clock: sync=none, time0=1700000000, rtc_sync=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
panic: action=fatal
error: action=ignore
log: {log}
"""


@dataclass(frozen=True)
class Bochs:
    """Bochs and what it boots with.

    :param program: its path.
    :param bios: the file of its BIOS.
    :param vga_bios: the file of its VGA BIOS.
    :param grub: the folder of GRUB's parts for a BIOS.
    """

    program: str
    bios: Path
    vga_bios: Path
    grub: Path

    def configure(self, folder: Path, cpus: int) -> list[str]:
        """Write the configuration of a run; return the command, to be run in the folder.

        :param folder: where `ISO` lies, and what Bochs writes will.
        :param cpus: how many CPUs the machine has.
        """
        text = _CONFIGURATION.format(
            cpus=cpus,
            ips=IPS,
            quantum=", quantum=32" if cpus > 1 else "",
            bios=self.bios,
            vga_bios=self.vga_bios,
            iso=ISO,
            console=CONSOLE,
            results=RESULTS,
            log=LOG,
        )
        (folder / RC).write_text(text, encoding="utf-8")
        # Debian 12's has a debugger, which waits for this; where none runs, none reads it.
        (folder / COMMANDS).write_text("c\n", encoding="ascii")
        return [self.program, "-q", "-f", RC, "-rc", COMMANDS]


def find_bochs(root: Path = Path("/")) -> Bochs:
    """Return this machine's Bochs.

    :param root: where usr/share and usr/lib are; the root, but for tests.
    :raise UnsupportedError: when it, or a part of what it boots with, is missing; names
        all that is, and the packages.
    """
    packages = {name: package for name, package in _PROGRAMS.items() if not shutil.which(name)}
    packages |= {
        str(root / path): package for path, package in _FILES.items() if not (root / path).is_file()
    }
    if packages:
        raise UnsupportedError(
            ", ".join(packages),
            found="nothing",
            needed=f"{'it' if len(packages) == 1 else 'them'} {_PURPOSE}",
            mend=f"apt-get install {' '.join(packages.values())}",
        )
    return Bochs(shutil.which("bochs") or "bochs", root / _BIOS, root / _VGA_BIOS, root / _GRUB)


def lacks_display() -> UnsupportedError:
    """Return the error for a Bochs whose display library is not installed."""
    return UnsupportedError(
        "bochs",
        found="no display library term",
        needed=f"it {_PURPOSE}",
        mend="apt-get install bochs-term",
    )
