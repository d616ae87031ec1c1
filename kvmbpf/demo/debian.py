# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own kernel for a guest: fetched, unpacked, never installed.

The image that `linux-image-cloud-amd64` stands for on this machine (6.1 on
Debian 12, 6.12 on 13), and the headers to build a module for it, come from the
mirrors that apt uses, which checks their signatures and sums. They are kept in
the cache, by the sums of the packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import KvmBpfError, LabError, UnsupportedError
from kvmbpf.lab.cache import build_lock, make_cache_folder, parts_folder, write_stamp

PACKAGE = "linux-image-cloud-amd64"
_STAMP = "complete"
_RELEASE = re.compile(r"\blinux-image-(\d[^ ,]*) \(")
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<bytes>\d+) (?P<sum>\S+)$", re.MULTILINE)
_MEND = "on Debian 12 or 13, run apt-get update"


@dataclass(frozen=True)
class DebianKernel:
    """A distribution's kernel, and what modules for it are built with.

    :param folder: where its packages are unpacked.
    :param release: what ``uname -r`` prints in it.
    """

    folder: Path
    release: str

    @property
    def bzimage(self) -> Path:
        """The kernel image to boot."""
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def build_tree(self) -> Path:
        """The headers: KDIR for modules built outside the kernel's tree."""
        return self.folder / "usr" / "src" / f"linux-headers-{self.release}"


def fetch_debian_kernel() -> DebianKernel:
    """Return Debian's kernel for a guest; fetch it unless the cache has it.

    Where apt's lists are missing or out of date, root has them made anew, once.

    :raise UnsupportedError: when this is no Debian, or apt knows no such package.
    :raise LabError: when a package cannot be fetched or unpacked.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise _unsupported("a machine without apt-get and dpkg-deb")
    try:
        return _fetch()
    except KvmBpfError:
        if os.geteuid() != 0:
            raise
    _apt_get("update")
    return _fetch()


def _fetch() -> DebianKernel:
    release = _release()
    packages = [f"linux-image-{release}", *_header_packages(release)]
    listed = _apt_get("download", "--print-uris", *packages)
    found = sorted(_URI.findall(listed))
    if len(found) != len(packages):
        raise LabError(f"apt-get download: no place for one of {' '.join(packages)}; {_MEND}")
    digest = hashlib.sha256("\n".join(f"{file} {sum_}" for _, file, _, sum_ in found).encode())
    folder = parts_folder() / f"debian-{digest.hexdigest()[:16]}"
    kernel = DebianKernel(folder, release)
    make_cache_folder()
    with build_lock(_say_waiting, "debian.lock"):
        if not (folder / _STAMP).exists():
            _unpack(kernel, packages)
    return kernel


def _say_waiting() -> None:
    print("waiting for another process to fetch Debian's kernel", file=sys.stderr)


def _release() -> str:
    """Return the release that the distribution has now, as ``6.1.0-56-cloud-amd64``."""
    found = _RELEASE.search(_field(PACKAGE, "Depends"))
    if found is None:
        raise _unsupported(f"no {PACKAGE} that apt knows of")
    return found[1]


def _header_packages(release: str) -> list[str]:
    """Return the packages that modules for a release are built with."""
    name = f"linux-headers-{release}"
    depends = _field(name, "Depends")
    wanted = [item.split()[0] for item in depends.split(",") if item.strip()]
    needed = [item for item in wanted if item.startswith(("linux-headers-", "linux-kbuild-"))]
    if not needed:
        raise _unsupported(f"no {name} that apt knows of")
    return [name, *needed]


def _field(package: str, field: str) -> str:
    """Return a field of the version of a package that apt would install, or ""."""
    done = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", package],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(rf"^{field}: (.*)$", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def _unsupported(found: str) -> UnsupportedError:
    return UnsupportedError(
        "Debian's kernel as a guest", found=found, needed=f"the package {PACKAGE}", mend=_MEND
    )


def _unpack(kernel: DebianKernel, packages: Sequence[str]) -> None:
    shutil.rmtree(kernel.folder, ignore_errors=True)
    kernel.folder.mkdir(mode=0o700, parents=True)
    with tempfile.TemporaryDirectory(prefix="debs-", dir=kernel.folder.parent) as debs:
        _apt_get("download", *packages, folder=Path(debs))
        for package in sorted(Path(debs).glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(kernel.folder)])
    _relocate(kernel)
    write_stamp(kernel.folder / _STAMP, "")


def _relocate(kernel: DebianKernel) -> None:
    """Let the headers be used where they are: one line of theirs is an absolute path."""
    makefile = kernel.build_tree / "Makefile"
    try:
        text = makefile.read_text(encoding="utf-8")
        makefile.write_text(text.replace(" /usr/src/", f" {kernel.folder}/usr/src/"))
    except OSError as error:
        raise LabError(f"{makefile}: {error.strerror}") from error


def _apt_get(*arguments: str, folder: Path | None = None) -> str:
    # Unprivileged download would need a folder that its user may write to.
    return _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", *arguments], folder)


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg-deb:"))]
        reason = said[0] if said else f"exit {done.returncode}"
        raise LabError(f"{command[0]} failed: {reason}; {_MEND}")
    return done.stdout
