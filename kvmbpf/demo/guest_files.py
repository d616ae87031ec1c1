# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest's files: its driver's module, its programs and its initramfs.

All are made from `guest_driver/` of a source tree; the module for a kernel that
was built on this machine, or for a distribution's by its headers. Nothing here
needs privilege, or runs the guest.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kvmbpf.errors import LabError
from kvmbpf.lab.cpio import CpioEntry, write_cpio
from kvmbpf.mends import explain
from kvmbpf.writing import write_own

_HERE = Path(__file__).resolve().parent
# A link in a checkout; in a wheel a copy.
_GUEST = (_HERE / "guest_driver").resolve()
_DRIVER = _GUEST / "kvmbpf_demo"
_REGISTERS = _HERE.parent / "devices" / "demo" / "demo_regs.h"
_READER = _GUEST / "ring_reader.c"
_CONTROL = _GUEST / "control"
GUEST_INIT = _GUEST / "init"
"""The demo guest's /init."""


def build_module(kdir: Path, out_dir: Path, *, warnings_are_errors: bool = False) -> Path:
    """Build the demo driver for one kernel; return the module's path.

    The source is copied to `out_dir` and built there; the source tree stays
    clean. A second build into the same directory only does what changed.

    :param kdir: the kernel's build directory (has Module.symvers).
    :param out_dir: where to build; made when it is not there.
    :param warnings_are_errors: refuse what the compiler warns of at the kernel's W=1.
    :raise LabError: when the kernel's build directory is not usable, a source
        file is missing, or the build fails (with its first error).
    """
    if not (kdir / "Module.symvers").is_file():
        raise LabError(f"{kdir}: no Module.symvers: not the build directory of a finished kernel")
    out_dir.mkdir(parents=True, exist_ok=True)
    for source in (*sorted(_DRIVER.glob("*.[ch]")), _DRIVER / "Kbuild", _REGISTERS):
        _copy_if_changed(source, out_dir / source.name)

    out_dir = out_dir.resolve()
    command = ["make", "-C", os.fspath(kdir), f"M={out_dir}", f"DEMO_REGS_DIR={out_dir}", "modules"]
    command += ["W=1", "KCFLAGS=-Werror"] if warnings_are_errors else []
    _run(command, f"the demo driver does not build for {kdir}")
    return out_dir / "kvmbpf_demo.ko"


def build_reader(out_dir: Path) -> Path:
    """Build the program that reads the demo device's ring; return its path.

    It is statically linked: the guest has no libraries.

    :param out_dir: where it goes; made when it is not there.
    :raise LabError: when it does not build (with the first error).
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    output = out_dir / _READER.stem
    command = ["gcc", "-static", "-O2", "-s", "-Wall", "-Wextra", f"-I{_REGISTERS.parent}"]
    _run([*command, "-o", os.fspath(output), os.fspath(_READER)], f"{_READER.name} does not build")
    return output


def build_initramfs(
    out: Path,
    modules: Sequence[Path] = (),
    init: Path = GUEST_INIT,
    busybox: Path | None = None,
    programs: Sequence[Path] = (),
) -> Path:
    """Write the demo guest's initramfs (cpio, gzip) and return its path.

    The same inputs give the same bytes. `init` loads every module at boot, in
    the order of their names.

    :param out: the file to write.
    :param modules: kernel modules to put into /lib/modules.
    :param init: the script that becomes /init.
    :param busybox: a statically linked busybox; looked up when None.
    :param programs: statically linked programs to put into /bin.
    :raise LabError: when an input cannot be read, two modules or programs bear
        the same name, one is not static, or `out` cannot be written.
    """
    shell = busybox if busybox is not None else _find_busybox()
    _check_names(out, "modules", modules)
    _check_names(out, "programs", programs)
    entries = [
        *(CpioEntry.directory(name) for name in ("bin", "dev", "lib", "lib/modules")),
        *(CpioEntry.directory(name) for name in ("proc", "run", "sys", "tmp")),
        CpioEntry.char_device("dev/console", 5, 1),
        CpioEntry.char_device("dev/null", 1, 3),
        CpioEntry.file(
            "bin/busybox", _read_static(shell, "install busybox-static"), executable=True
        ),
        *(
            CpioEntry.file(
                f"bin/{path.name}", _read_static(path, "link it -static"), executable=True
            )
            for path in programs
        ),
        *(CpioEntry.file(f"lib/modules/{path.name}", _read(path)) for path in modules),
        CpioEntry.file("control", _read(_CONTROL), executable=True),
        CpioEntry.file("init", _read(init), executable=True),
    ]
    try:
        write_own(out, gzip.compress(write_cpio(entries), mtime=0))
    except OSError as error:
        raise LabError(f"{out}: {explain(error)}") from error
    return out


def _check_names(out: Path, what: str, paths: Sequence[Path]) -> None:
    names = [path.name for path in paths]
    if len(set(names)) != len(names):
        raise LabError(f"{out}: two {what} bear the same name: {' '.join(sorted(names))}")


def _read_static(program: Path, mend: str) -> bytes:
    """Read a program that must run without libraries."""
    binary = _read(program)
    if b"/ld-linux" in binary or b"/ld-musl" in binary:
        raise LabError(f"{program} is not statically linked; {mend}")
    return binary


def _run(command: Sequence[str], failed: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}; install make and a C compiler") from error
    if done.returncode != 0:
        raise LabError(f"{failed}: {_first_error(done)}")


def _copy_if_changed(source: Path, target: Path) -> None:
    data = _read(source)
    if not target.is_file() or target.read_bytes() != data:
        try:
            write_own(target, data)
        except OSError as error:
            raise LabError(f"{target}: {explain(error)}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from error


def _find_busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        raise LabError("busybox: not found; install busybox-static")
    return Path(found)


def _first_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line of a build's output that tells why it failed."""
    lines = (done.stderr + "\n" + done.stdout).splitlines()
    for pattern in (r"\berror:", r"^ERROR:", r"\*\*\*"):
        for line in lines:
            if re.search(pattern, line):
                return line.strip()
    return next((line for line in reversed(lines) if line.strip()), f"exit {done.returncode}")
