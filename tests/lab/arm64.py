# SPDX-License-Identifier: GPL-2.0-or-later
"""An arm64 guest on any machine: Debian's kernel for clouds, under QEMU's emulation.

The kernel and a static busybox come from the Debian mirror that this machine
uses, by its package index: apt checks its signature, in folders of its own, so
that the machine's packages know nothing of another architecture. Packages are
kept in kvmbpf's cache by their SHA-256. The guest prints the files of
/proc/device-tree that it is asked for, and powers itself off.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kvmbpf.lab.cache import build_lock, make_cache_folder
from kvmbpf.lab.cpio import CpioEntry, write_cpio

QEMU = "qemu-system-aarch64"
_MACHINE = ("-cpu", "cortex-a57", "-m", "256", "-nodefaults", "-display", "none")
_KERNEL = "linux-image-cloud-arm64"
_SHELL = "busybox-static"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# A guest that hangs is a failure; one that boots takes seconds.
_HANG_S = 300

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
cd /proc/device-tree
echo kvmbpf: begin
/bin/busybox find . -follow -type f | while read -r file; do
	echo "kvmbpf: $file=$(/bin/busybox od -An -v -tx1 "$file" | /bin/busybox tr -d ' \\n')"
done
for device in /sys/bus/platform/devices/*; do
	echo "kvmbpf: device ${device##*/}"
done
echo kvmbpf: end
/bin/busybox poweroff -f
"""


@dataclass(frozen=True)
class Guest:
    """What an arm64 guest boots.

    :param kernel: its kernel's image.
    :param initramfs: its root.
    """

    kernel: Path
    initramfs: Path


@dataclass(frozen=True)
class Found:
    """What a guest found in its device tree.

    :param properties: each property's value by its path, as ``/chosen/bootargs``.
    :param devices: names of the platform devices that it made.
    """

    properties: dict[str, bytes]
    devices: frozenset[str]


def dump_tree(folder: Path, machine: str = "virt") -> Path:
    """Return the device tree that QEMU makes for its machine, in a file."""
    path = folder / "base.dtb"
    subprocess.run(
        [QEMU, "-M", f"{machine},dumpdtb={path}", *_MACHINE], capture_output=True, check=True
    )
    return path


def boot(guest: Guest, tree: Path | None = None) -> Found:
    """Boot a guest and return what it found in its device tree.

    :param tree: the tree; None for QEMU's own. A dump is none as it is: with the room that
        QEMU leaves in it, it is beyond the 2 MiB that the kernel maps.
    """
    own: list[str | Path] = [] if tree is None else ["-dtb", tree]
    done = subprocess.run(
        [
            *(QEMU, "-M", "virt", *_MACHINE, "-no-reboot", "-serial", "stdio", *own),
            *("-kernel", guest.kernel, "-initrd", guest.initramfs),
            *("-append", "console=ttyAMA0 quiet panic=-1"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=_HANG_S,
    )
    text = done.stdout.decode("ascii", errors="replace")
    assert "kvmbpf: end" in text, text[-4000:]
    properties = re.findall(r"kvmbpf: \.(/\S+)=([0-9a-f]*)\r?\n", text)
    devices = re.findall(r"kvmbpf: device (\S+)", text)
    return Found({path: bytes.fromhex(value) for path, value in properties}, frozenset(devices))


@cache
def make_guest() -> Guest:
    """Return the guest's kernel and root, from the cache or the Debian mirror."""
    folder = make_cache_folder() / "arm64"
    with build_lock(lambda: None, "arm64.lock"):
        apt = _Apt(folder)
        kernel, shell = (_unpacked(package) for package in apt.packages())
        (image,) = kernel.glob("boot/vmlinuz-*")
        # In /bin, or in /usr/bin since Debian 13.
        (busybox,) = shell.glob("**/busybox")
        root = _initramfs(busybox.read_bytes())
        initramfs = folder / f"initramfs-{hashlib.sha256(root).hexdigest()[:16]}.gz"
        if not initramfs.exists():
            _write_whole(initramfs, root)
    return Guest(image, initramfs)


def _initramfs(shell: bytes) -> bytes:
    entries = [
        *(CpioEntry.directory(name) for name in ("bin", "dev", "proc", "sys")),
        CpioEntry.char_device("dev/console", 5, 1),
        CpioEntry.char_device("dev/null", 1, 3),
        CpioEntry.file("bin/busybox", shell, executable=True),
        CpioEntry.file("init", _INIT.encode(), executable=True),
    ]
    return gzip.compress(write_cpio(entries), mtime=0)


@dataclass(frozen=True)
class _Package:
    """A package's file in the cache, which may not be there yet."""

    uri: str
    sha256: str
    path: Path


class _Apt:
    """An apt that knows arm64 only, with folders of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("state/lists/partial", "cache/archives/partial", "debs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        uri, suite = _mirror()
        self._sources = folder / "sources.list"
        self._sources.write_text(
            f"deb [arch=arm64 signed-by={_KEYRING}] {uri} {suite} main\n", encoding="ascii"
        )

    def packages(self) -> list[_Package]:
        """Return the two packages, fetched; the index is renewed if they are not at hand."""
        try:
            found = self._find()
        except (subprocess.CalledProcessError, ValueError):
            found = []
        if not found or not all(package.path.exists() for package in found):
            self._run("apt-get", "-q", "update")
            found = self._find()
        for package in found:
            if not package.path.exists():
                self._fetch(package)
        return found

    def _find(self) -> list[_Package]:
        depends = self._run("apt-cache", "depends", _KERNEL)
        kernel = re.search(r"Depends: (linux-image-\S+)", depends)
        if kernel is None:
            raise ValueError(f"{_KERNEL} depends on no kernel: {depends}")
        return [self._locate(name) for name in (kernel.group(1), _SHELL)]

    def _locate(self, name: str) -> _Package:
        line = self._run("apt-get", "download", "--print-uris", name)
        found = re.match(r"'([^']+)' \S+ \d+ SHA256:([0-9a-f]{64})", line)
        if found is None:
            raise ValueError(f"apt does not say where {name} is: {line}")
        uri, sha256 = found.groups()
        return _Package(uri, sha256, self._folder / "debs" / f"{sha256}.deb")

    def _fetch(self, package: _Package) -> None:
        partial = package.path.with_suffix(".partial")
        self._run(
            *("/usr/lib/apt/apt-helper", "download-file", package.uri, str(partial)),
            f"SHA256:{package.sha256}",
        )
        partial.rename(package.path)

    def _run(self, *command: str) -> str:
        options = {
            "Dir::State": self._folder / "state",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self._folder / "cache",
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": "-",
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            [command[0], *arguments, *command[1:]], capture_output=True, text=True, check=True
        )
        return done.stdout


def _mirror() -> tuple[str, str]:
    """Return the Debian mirror that this machine takes its packages from, and its suite."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)"],
        capture_output=True,
        text=True,
        check=True,
    )
    for uri, suite in _main_suites(done.stdout):
        return uri, suite
    raise AssertionError(f"apt knows no Debian mirror: {done.stdout}")


def _main_suites(targets: str) -> Iterator[tuple[str, str]]:
    """Yield the suites that are a whole Debian: not its updates or backports."""
    for line in targets.splitlines():
        uri, suite, component, label = (*line.split(maxsplit=3), "", "", "")[:4]
        if (component, label) == ("main", "Debian") and "-" not in suite:
            yield uri, suite


def _unpacked(package: _Package) -> Path:
    """Return the folder with a package's files that a guest needs."""
    folder = package.path.with_suffix("")
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        content = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package.path], capture_output=True, check=True
        ).stdout
        wanted = ["./boot/vmlinuz-*"] if b"./boot/vmlinuz-" in content else ["./*bin/busybox"]
        subprocess.run(
            ["tar", "-x", "-C", partial, "--wildcards", *wanted], input=content, check=True
        )
        partial.rename(folder)
    return folder


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(path)
