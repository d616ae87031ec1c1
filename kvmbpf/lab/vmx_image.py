# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk that Bochs boots: GRUB, the lab's kernel, and an initramfs with the tests.

Bochs has no 9p, so what the tests need goes along: busybox, and the libraries of the
programs. The guest's init tells first what the machine is, then runs the tests, and
ends with the kernel's log; all of that goes to the second serial port.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from kvmbpf.errors import LabError
from kvmbpf.lab.bochs import IPS, ISO, Bochs
from kvmbpf.lab.cpio import CpioEntry, write_cpio
from kvmbpf.lab.report import tests_script
from kvmbpf.lab.tools import first_line

MACHINE, TESTS, KERNEL_LOG, END = (
    f"@kvmbpf-vmx-{part}" for part in ("machine", "tests", "log", "end")
)
_BIN = "tests"
# With the kernel's own calibration a second of the guest's would be that of the CPU that
# Bochs says it has, 3.5 GHz, and ten times as long. Bochs 3.0 has posted interrupts, and
# takes their descriptors only at the beginning of a page; 2.7 has none.
_COMMAND_LINE = (
    "console=ttyS0,115200 log_buf_len=1M panic=-1 reboot=t rdinit=/init "
    f"tsc_early_khz={IPS // 1000} kvm_intel.enable_apicv=0"
)
_GRUB_CFG = f"""set timeout=0
linux /boot/bzImage {_COMMAND_LINE}
initrd /boot/initrd
boot
"""
# The last stty waits until the port has sent all; so does the sleep, for the console.
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mkdir /dev/shm
stty -F /dev/ttyS1 115200 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
echo {machine}
grep -m1 vendor_id /proc/cpuinfo
grep -m1 'model name' /proc/cpuinfo
grep -m1 ^flags /proc/cpuinfo
echo "cpus: $(nproc)"
[ ! -c /dev/kvm ] || echo "kvm: /dev/kvm"
cd /sys/module/kvm_intel/parameters && for name in *; do echo "kvm_intel.$name: $(cat $name)"; done
cd /
echo {tests}
{script}
echo {log}
dmesg
echo {end}
stty -F /dev/ttyS1 115200 raw -echo
sleep 3
poweroff -f
"""
_FOLDERS = ("bin", "dev", "proc", "run", "sys", "tmp")
# As ldd prints a library: with its name before it, but for the loader.
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
_LOADER = "ld-"
# pthread_cancel() loads it when it is called.
_LOADED_LATE = "libgcc_s.so.1"


def make_image(
    bochs: Bochs, bzimage: Path, programs: Sequence[Path], folder: Path, *, timeout_s: float
) -> Path:
    """Make the disk of a run.

    :param bzimage: the kernel.
    :param programs: the tests, in the order in which they are to run.
    :param folder: where the disk goes, `ISO`.
    :param timeout_s: the longest that a program may run, in the guest's seconds.
    :raise LabError: when a file cannot be read, a library is missing, or GRUB's tools fail.
    """
    content = folder / "iso"
    boot = content / "boot"
    (boot / "grub").mkdir(parents=True)
    try:
        shutil.copyfile(bzimage, boot / "bzImage")
        archive = write_cpio(_entries(programs, timeout_s))
        (boot / "initrd").write_bytes(gzip.compress(archive, compresslevel=6, mtime=0))
        (boot / "grub/grub.cfg").write_text(_GRUB_CFG, encoding="ascii")
    except OSError as error:
        raise LabError(f"{error.filename or folder}: {error.strerror}") from error
    _grub_mkrescue(bochs.grub, folder)
    shutil.rmtree(content)
    return folder / ISO


def init_script(programs: Sequence[Path], timeout_s: float) -> str:
    """Return the guest's init.

    :param programs: the tests, as on this machine.
    :param timeout_s: the longest that a program may run, in the guest's seconds.
    """
    inside = [f"/{_BIN}/{path.name}" for path in programs]
    return _INIT.format(
        machine=MACHINE,
        tests=TESTS,
        script=tests_script(inside, timeout_s),
        log=KERNEL_LOG,
        end=END,
    )


def needed_libraries(programs: Iterable[Path]) -> set[Path]:
    """Return the shared libraries that programs are started with, and their loader.

    :raise LabError: when one is missing.
    """
    found: set[Path] = set()
    for program in programs:
        # A program without libraries has exit status 1.
        done = subprocess.run(
            ["ldd", program],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
        missing = _MISSING.search(done.stdout)
        if missing:
            raise LabError(f"{program}: its library {missing[1]} is not installed")
        found |= {Path(path) for path in _LIBRARY.findall(done.stdout)}
    return found


def _entries(programs: Sequence[Path], timeout_s: float) -> list[CpioEntry]:
    files = {f"{_BIN}/{path.name}": path for path in programs}
    files["bin/busybox"] = Path(shutil.which("busybox") or "/bin/busybox")
    # Busybox has one too, whose exit status does not tell a program that it had to end.
    files["usr/bin/timeout"] = Path(shutil.which("timeout") or "/usr/bin/timeout")
    libraries = needed_libraries(files.values())
    if libraries:
        libraries.add(_library_loaded_late())
    # All in one folder that the loader knows; the loader itself where programs name it.
    files |= {f"lib/{path.name}": path for path in libraries}
    files |= {str(path)[1:]: path for path in libraries if path.name.startswith(_LOADER)}
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    return [
        *(CpioEntry.directory(name) for name in sorted(folders | set(_FOLDERS))),
        CpioEntry.char_device("dev/console", 5, 1),
        *(CpioEntry.file(name, path.read_bytes(), executable=True) for name, path in files.items()),
        CpioEntry.file("init", init_script(programs, timeout_s).encode(), executable=True),
    ]


def _library_loaded_late() -> Path:
    done = subprocess.run(
        ["gcc", f"-print-file-name={_LOADED_LATE}"], capture_output=True, text=True, check=False
    )
    path = Path(done.stdout.strip())
    if not path.is_absolute():
        raise LabError(f"{_LOADED_LATE}: gcc knows none; apt-get install libgcc-s1")
    return path.resolve()


def _grub_mkrescue(parts: Path, folder: Path) -> None:
    """Run it in a session of its own, so that the end of it is the end of its children."""
    process = subprocess.Popen(
        ["grub-mkrescue", "-d", parts, "-o", ISO, "iso"],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        said = process.communicate()[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        raise LabError(f"grub-mkrescue failed: {first_line(said)}")
