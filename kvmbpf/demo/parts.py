# SPDX-License-Identifier: GPL-2.0-or-later
"""What demo guests need, made on this machine and kept in the cache.

The demo device's two objects, the guest's driver built for the guest's kernel,
and the initramfs with it. The guest's kernel is the lab's own, or Debian's.
They are remade when any of their sources change.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.author.compile import HEADERS, SHIPPED, compile_shipped, find_clang
from kvmbpf.demo.debian import DebianKernel, fetch_debian_kernel
from kvmbpf.demo.guest_files import GUEST_INIT, build_initramfs, build_module, build_reader
from kvmbpf.errors import StateError
from kvmbpf.lab import LabKernel
from kvmbpf.lab.cache import build_lock, in_use, parts_folder, write_stamp

PARTS_VARIABLE = "KVMBPF_DEMO_PARTS"
DEBIAN_VARIABLE = "KVMBPF_DEBIAN_PARTS"
_STAMP = "complete"


@dataclass(frozen=True)
class GuestParts:
    """What a guest needs, whatever its kernel.

    :param folder: where it lies.
    """

    folder: Path

    @property
    def initramfs(self) -> Path:
        """The guest's root, with the driver in it."""
        return self.folder / "initramfs.gz"


class Parts(GuestParts):
    """What a demo guest needs, its kernel being the lab's."""

    @property
    def v1(self) -> Path:
        """The demo device's object."""
        return self.folder / "demo_v1.bpf.o"

    @property
    def v2(self) -> Path:
        """Its next version."""
        return self.folder / "demo_v2.bpf.o"

    @property
    def bench(self) -> Path:
        """The bench device's object."""
        return self.folder / "bench.bpf.o"


class DebianParts(GuestParts):
    """What a guest needs that runs Debian's own kernel; the device's objects are in `Parts`."""

    @property
    def kernel(self) -> DebianKernel:
        """Debian's kernel."""
        folder, release = (self.folder / _STAMP).read_text(encoding="utf-8").splitlines()
        return DebianKernel(Path(folder), release)


def make_parts(kernel: LabKernel) -> Parts:
    """Return the parts for a kernel; make them unless the cache has them.

    :param kernel: the guest's kernel: the lab's own.
    :raise KvmBpfError: when a compiler is missing, or something does not build.
    """
    parts = Parts(parts_folder() / _digest(kernel.key))
    with in_use(kernel.folder), _unfinished(parts) as unfinished:
        if unfinished:
            for name in ("demo/demo_v1", "demo/demo_v2", "bench/bench"):
                compile_shipped(name, parts.folder)
            _build_guest(parts, kernel.build_tree)
    return parts


def make_debian_parts() -> DebianParts:
    """Return the parts for Debian's kernel; make them unless the cache has them.

    :raise KvmBpfError: when it cannot be had, or something does not build.
    """
    kernel = fetch_debian_kernel()
    parts = DebianParts(parts_folder() / _digest(kernel.folder.name))
    with _unfinished(parts, f"{kernel.folder}\n{kernel.release}\n") as unfinished:
        if unfinished:
            _build_guest(parts, kernel.build_tree)
    return parts


@contextmanager
def _unfinished(parts: GuestParts, stamp: str = "") -> Iterator[bool]:
    """Tell whether parts must be made, and keep others from making them meanwhile.

    :param stamp: written when they were made.
    """
    with build_lock(_say_waiting, "parts.lock"):
        finished = (parts.folder / _STAMP).exists()
        parts.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield not finished
        if not finished:
            write_stamp(parts.folder / _STAMP, stamp)


def _build_guest(parts: GuestParts, kernel_tree: Path) -> None:
    """Build the driver for a kernel, and the guest's root with it."""
    module = build_module(kernel_tree, parts.folder / "module")
    build_initramfs(parts.initramfs, [module], programs=[build_reader(parts.folder)])


def _say_waiting() -> None:
    print("waiting for another process to make the demo guest's parts", file=sys.stderr)


def given_parts(folder: str | None) -> Parts:
    """Return the parts that another process made.

    :param folder: the value of $KVMBPF_DEMO_PARTS.
    :raise StateError: when there are none.
    """
    return Parts(_finished(folder, PARTS_VARIABLE, mend="; run `make demo`"))


def given_debian_parts(folder: str | None) -> DebianParts:
    """Return the parts that another process made.

    :param folder: the value of $KVMBPF_DEBIAN_PARTS.
    :raise StateError: when there are none.
    """
    return DebianParts(_finished(folder, DEBIAN_VARIABLE))


def _finished(folder: str | None, variable: str, *, mend: str = "") -> Path:
    if not folder or not (Path(folder) / _STAMP).exists():
        raise StateError(f"{variable} names no finished parts{mend}")
    return Path(folder)


def _digest(kernel: str) -> str:
    """Return the key of what is made of these sources for a kernel."""
    digest = hashlib.sha256(f"{kernel} {find_clang()}".encode())
    driver = GUEST_INIT.parent
    for folder in (HEADERS, SHIPPED / "demo", SHIPPED / "bench", driver, driver / "kvmbpf_demo"):
        for path in sorted(folder.iterdir()):
            if path.is_file():
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
