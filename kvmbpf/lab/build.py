# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the lab's kernel into the cache.

A cold build unpacks, patches, configures and compiles: minutes. When the cache
has a finished kernel of the same base (source, configuration, compiler), the
new tree starts as a copy of it instead: the old patches are taken off by
restoring the files they touched, the new ones put on, and the files whose text
ended up the same get their old time back, so that make compiles the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from kvmbpf.errors import LabError, UnsupportedError
from kvmbpf.lab.cache import build_lock, make_cache_folder
from kvmbpf.lab.config import check_survived
from kvmbpf.lab.kernel import LabKernel, Plan, finished_kernels, make_plan, read_kernel
from kvmbpf.lab.make import make
from kvmbpf.lab.progress import Progress
from kvmbpf.lab.series import Series, load_series
from kvmbpf.lab.source import apply_patches, touched_files, unpack

NEEDED_BYTES = 4 << 30

# Steps of the link, 600 MB: the next link makes them anew, modules do not need them.
LINK_LEFTOVERS = ("vmlinux.o", ".tmp_vmlinux*")

# tool -> the Debian package that has it
TOOLS = {
    "bc": "bc",
    "bison": "bison",
    "cp": "coreutils",
    "flex": "flex",
    "gcc": "gcc",
    "git": "git",
    "make": "make",
    "pahole": "dwarves",
    "perl": "perl",
    "tar": "tar",
    "xz": "xz-utils",
}


def ensure_kernel(series: Series | None = None, progress: Progress | None = None) -> LabKernel:
    """Return the kernel of a series, building it when the cache does not have it.

    :param series: by default the one of this checkout.
    :param progress: told of each step; standard error by default.
    :raise UnsupportedError: when a tool or package is missing; names it.
    :raise LabError: when a patch does not apply, the disk is full or the build fails.
    """
    plan = make_plan(series if series is not None else load_series())
    kernel = read_kernel(plan.folder)
    if kernel is not None:
        return kernel
    _check_tools()
    told = progress if progress is not None else Progress()
    with build_lock(lambda: told.step("waiting for another build to end")):
        kernel = read_kernel(plan.folder)
        return kernel if kernel is not None else _build(plan, told)


def _check_tools() -> None:
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise UnsupportedError(
                tool,
                found="nothing on PATH",
                needed="it to build a kernel",
                mend=f"apt-get install {package}",
            )


def _build(plan: Plan, progress: Progress) -> LabKernel:
    """Build a kernel that is not in the cache; the caller holds the lock."""
    begin = time.monotonic()
    _check_room(make_cache_folder())
    touched = touched_files(plan.series)
    if plan.folder.exists():
        progress.step("removing what an interrupted build left")
        shutil.rmtree(plan.folder)
    tree, pristine = plan.folder / "tree", plan.folder / "pristine"
    seed = next((kernel for kernel in finished_kernels() if kernel.base == plan.base), None)
    log = make_cache_folder() / f"build-{plan.key}.log"
    log.write_bytes(b"")
    before: dict[str, _Before] = {}
    if seed is None:
        progress.step(f"unpacking {plan.source.tarball.name}")
        unpack(plan.source, tree)
    else:
        progress.step(f"copying the tree of {seed.key}")
        _copy_tree(seed.build_tree, tree)
        before = {name: _Before(tree / name) for name in {*seed.touched, *touched}}
        _restore(seed.pristine, tree, seed.touched)
    progress.step(f"applying {len(plan.series.patches)} patches")
    _keep(tree, pristine, touched)
    apply_patches(plan.series, tree)
    for name, was in before.items():
        was.give_time_back(tree / name)
    if seed is None:
        progress.step("configuring")
        _configure(plan, tree, log)
    make(tree, ["olddefconfig"], plan.key, log, progress)
    check_survived(plan.series.fragment, tree / ".config")
    progress.step("compiling")
    make(tree, ["bzImage", "modules"], plan.key, log, progress)
    for pattern in LINK_LEFTOVERS:
        for path in tree.glob(pattern):
            path.unlink()
    release = (tree / "include/config/kernel.release").read_text(encoding="utf-8").strip()
    took = round(time.monotonic() - begin, 1)
    kernel = LabKernel(plan.folder, plan.key, plan.base, release, touched, took)
    kernel.write_stamp()
    progress.done(f"kernel {release} ({plan.key}) is built")
    return kernel


def _check_room(folder: Path) -> None:
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < NEEDED_BYTES:
        raise LabError(
            f"{folder}: {free >> 20} MiB free, a kernel build needs {NEEDED_BYTES >> 20}; "
            "make room, or set KVMBPF_CACHE to a folder that has it"
        )


def _copy_tree(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True)
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", str(old), str(new)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"{old}: copying it failed: {done.stderr.strip().splitlines()[0]}")


def _keep(tree: Path, pristine: Path, names: tuple[str, ...]) -> None:
    """Keep a copy of the files that are about to be patched."""
    for name in names:
        if (tree / name).exists():
            (pristine / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, pristine / name)


def _restore(pristine: Path, tree: Path, names: tuple[str, ...]) -> None:
    """Take patches off: put back what they changed, remove what they created."""
    for name in names:
        if (pristine / name).exists():
            shutil.copyfile(pristine / name, tree / name)
        else:
            (tree / name).unlink(missing_ok=True)


class _Before:
    """A file as it was before patches were exchanged."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes() if path.exists() else None
        self._time_ns = path.stat().st_mtime_ns if path.exists() else 0

    def give_time_back(self, path: Path) -> None:
        """Give the file its old time back when its text is the same again."""
        if self._data is not None and path.exists() and path.read_bytes() == self._data:
            os.utime(path, ns=(self._time_ns, self._time_ns))


def _configure(plan: Plan, tree: Path, log: Path) -> None:
    """Write tinyconfig with the fragment after it: of two values the last one holds."""
    make(tree, ["tinyconfig"], plan.key, log, None)
    config = tree / ".config"
    with config.open("a", encoding="utf-8") as out:
        out.write(plan.series.fragment.read_text(encoding="utf-8"))
