# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's kernels: what identifies one, and which are in the cache.

A kernel's *base* is its source, configuration and compiler; its *key* adds the
patches. The plain and the debug kernel of a series differ in their base. A
finished kernel is a folder ``kernels/<key>`` with a stamp, written last; a folder
without one is what an interrupted build left.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kvmbpf.errors import LabError, StateError, UnsupportedError
from kvmbpf.lab.cache import kernels_folder, write_stamp
from kvmbpf.lab.series import Series, load_series
from kvmbpf.lab.source import KernelSource, find_source
from kvmbpf.lab.tree import SOURCE_VARIABLE, read_tree

STAMP = "stamp.json"
BZIMAGE = Path("arch/x86/boot/bzImage")

# Set by the lab for what runs in it: the folder of the kernel that runs.
LAB_KERNEL_VARIABLE = "KVMBPF_LAB_KERNEL"
# Set to 1 by the lab for what runs in it when that kernel is the debug one.
LAB_DEBUG_VARIABLE = "KVMBPF_LAB_DEBUG"


@dataclass(frozen=True)
class LabKernel:
    """A finished kernel in the cache.

    :param folder: where it lies.
    :param key: what identifies it, hexadecimal.
    :param base: what identifies it without its patches, hexadecimal.
    :param release: what ``uname -r`` prints in it.
    :param touched: the files that its patches touch.
    :param build_s: how long it took to build, in seconds.
    :param debug: whether it is the debug kernel.
    """

    folder: Path
    key: str
    base: str
    release: str
    touched: tuple[str, ...]
    build_s: float
    debug: bool = False

    @property
    def guest_mib(self) -> int:
        """The memory that a demo guest needs which boots this kernel, in MiB."""
        return 768 if self.debug else 128

    @property
    def build_tree(self) -> Path:
        """The patched and built source tree: KDIR for modules built outside it."""
        return self.folder / "tree"

    @property
    def pristine(self) -> Path:
        """The files that the patches changed, as they were before."""
        return self.folder / "pristine"

    @property
    def bzimage(self) -> Path:
        """The kernel image to boot."""
        return self.build_tree / BZIMAGE

    def write_stamp(self) -> None:
        """Mark the kernel as finished: the last step of a build."""
        data = asdict(self)
        del data["folder"]
        write_stamp(self.folder / STAMP, json.dumps(data, indent=1) + "\n")


@dataclass(frozen=True)
class Plan:
    """Which kernel is wanted: the inputs of a build, and the keys they make."""

    series: Series
    source: KernelSource
    base: str
    key: str
    debug: bool = False

    @property
    def folder(self) -> Path:
        """Where this kernel is, or will be."""
        return kernels_folder() / self.key

    @property
    def fragments(self) -> tuple[Path, ...]:
        """The fragments of its configuration, the later ones over the earlier."""
        return self.series.configuration(self.debug)


def make_plan(series: Series, *, debug: bool = False, tree: Path | None = None) -> Plan:
    """Work out which kernel a series asks for on this machine.

    :param debug: whether the debug kernel is wanted.
    :param tree: the source tree to build from; by default $KVMBPF_KERNEL_SOURCE,
        and without that the series' source package.
    :raise UnsupportedError: when the source, the compiler or the machine's
        architecture is missing, or the source is of another version.
    :raise LabError: when git cannot read the tree.
    """
    if platform.machine() != "x86_64":
        raise UnsupportedError(
            "lab",
            found=f"a machine of type {platform.machine()}",
            needed="x86_64",
            mend="run it on an x86_64 machine; other types are not done yet",
        )
    named = tree if tree is not None else os.environ.get(SOURCE_VARIABLE)
    source = read_tree(Path(named), series) if named else find_source(series)
    digest = hashlib.sha256()
    for part in (
        source.identity.encode(),
        *(fragment.read_bytes() for fragment in series.configuration(debug)),
        _tool_version("gcc").encode(),
        _tool_version("ld").encode(),
    ):
        digest.update(b"%d\n" % len(part) + part)
    base = digest.hexdigest()[:16]
    whole = hashlib.sha256(f"{base} {series.patches_digest()}".encode())
    return Plan(series, source, base, whole.hexdigest()[:16], debug)


def find_kernel(series: Series | None = None, *, debug: bool = False) -> LabKernel | None:
    """Return the finished kernel of a series, or None when it was not built yet.

    Inside the lab and without a series, return the kernel that runs.

    :param debug: whether the debug kernel is wanted.
    :raise UnsupportedError: when what identifies the kernel is missing (see `make_plan`).
    """
    running = os.environ.get(LAB_KERNEL_VARIABLE)
    if series is None and running:
        return read_kernel(Path(running))
    plan = make_plan(series if series is not None else load_series(), debug=debug)
    return read_kernel(plan.folder)


def require_kernel(series: Series | None = None) -> LabKernel:
    """Return the finished kernel of a series.

    :raise StateError: when it was not built yet.
    :raise UnsupportedError: see `find_kernel`.
    """
    kernel = find_kernel(series)
    if kernel is None:
        raise StateError("the lab's kernel was not built yet; run `kvmbpf lab build`")
    return kernel


def read_kernel(folder: Path) -> LabKernel | None:
    """Read a kernel's stamp; None when the folder holds no finished kernel.

    :raise LabError: when the stamp is damaged.
    """
    try:
        text = (folder / STAMP).read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        data = json.loads(text)
        kernel = LabKernel(
            folder=folder,
            key=str(data["key"]),
            base=str(data["base"]),
            release=str(data["release"]),
            touched=tuple(str(name) for name in data["touched"]),
            build_s=float(data["build_s"]),
            debug=bool(data.get("debug", False)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{folder / STAMP}: damaged; remove {folder}") from error
    return kernel if kernel.bzimage.is_file() else None


def finished_kernels() -> Iterator[LabKernel]:
    """Yield the finished kernels in the cache, the newest first.

    :raise LabError: when a stamp is damaged.
    """
    stamps = [path for path in kernels_folder().glob(f"*/{STAMP}") if path.is_file()]
    for stamp in sorted(stamps, key=lambda path: path.stat().st_mtime, reverse=True):
        kernel = read_kernel(stamp.parent)
        if kernel is not None:
            yield kernel


def _tool_version(tool: str) -> str:
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise UnsupportedError(
            tool, found="nothing on PATH", needed="a compiler", mend="apt-get install gcc make"
        ) from error
    return done.stdout.splitlines()[0]
