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
import time
from pathlib import Path

from kvmbpf.errors import LabError
from kvmbpf.lab.cache import build_lock, build_log, in_use, make_cache_folder
from kvmbpf.lab.config import check_survived
from kvmbpf.lab.kernel import LabKernel, Plan, finished_kernels, make_plan, read_kernel
from kvmbpf.lab.make import make
from kvmbpf.lab.progress import Progress
from kvmbpf.lab.series import Series, load_series
from kvmbpf.lab.source import apply_patches, copy_files, restore_files, take_off, touched_files
from kvmbpf.lab.tools import check_tools, disk_mend, first_line, run_tool, tool_error
from kvmbpf.mends import OF_ANY_CALL

# What a build of the plain or the debug kernel may need, in bytes.
NEEDED_BYTES = {False: 4 << 30, True: 6 << 30}

# Steps of the link, 600 MB: the next link makes them anew, modules do not need them.
LINK_LEFTOVERS = ("vmlinux.o", ".tmp_vmlinux*")


def ensure_kernel(
    series: Series | None = None,
    progress: Progress | None = None,
    *,
    debug: bool = False,
    tree: Path | None = None,
) -> LabKernel:
    """Return the kernel of a series, building it when the cache does not have it.

    :param series: by default the one of this checkout.
    :param progress: told of each step; standard error by default.
    :param debug: whether the debug kernel is wanted.
    :param tree: the source tree to build from (see `make_plan`).
    :raise UnsupportedError: when a tool or package is missing; names it.
    :raise LabError: when a patch does not apply, the disk is full or the build fails.
    """
    wanted = series if series is not None else load_series()
    plan = make_plan(wanted, debug=debug, tree=tree)
    kernel = read_kernel(plan.folder)
    if kernel is not None:
        return kernel
    check_tools()
    told = progress if progress is not None else Progress()
    with build_lock(lambda: told.step("waiting for another build to end")) as lock:
        kernel = read_kernel(plan.folder)
        if kernel is not None:
            told.done(f"the other build made kernel {kernel.release} ({kernel.key})")
            return kernel
        try:
            return _Build(plan, told, lock).run()
        except OSError as error:
            said = OF_ANY_CALL.get(error.errno or 0)
            raise tool_error(
                str(error.filename or plan.folder),
                f"{error.strerror}; {said}" if said else str(error.strerror),
                plan.folder,
            ) from error


class _Build:
    """One build of a kernel that is not in the cache.

    :param lock: descriptor (C ``int``) of the build's lock, which the caller holds.
    """

    def __init__(self, plan: Plan, progress: Progress, lock: int) -> None:
        self.plan = plan
        self.progress = progress
        self.lock = lock
        self.tree = plan.folder / "tree"
        self.pristine = plan.folder / "pristine"
        self.log = build_log(plan.key)
        self.touched = touched_files(plan.series)

    def run(self) -> LabKernel:
        """Build it; the stamp, written last, is what makes it count."""
        begin = time.monotonic()
        _check_room(make_cache_folder(), NEEDED_BYTES[self.plan.debug])
        if self.plan.folder.exists():
            self.progress.step("removing what an interrupted build left")
            shutil.rmtree(self.plan.folder)
        self.plan.folder.mkdir(parents=True)
        self.log.write_bytes(b"")
        seed = next(
            (kernel for kernel in finished_kernels() if kernel.base == self.plan.base), None
        )
        if seed is None:
            self._start_cold()
        else:
            self._start_from(seed)
        self._make("olddefconfig")
        check_survived(self.plan.fragments, self.tree / ".config")
        self.progress.step("compiling")
        self._make("bzImage", "modules")
        for pattern in LINK_LEFTOVERS:
            for path in self.tree.glob(pattern):
                path.unlink()
        kernel = self._finished(round(time.monotonic() - begin, 1))
        kernel.write_stamp()
        self.progress.done(f"kernel {kernel.release} ({kernel.key}) is built")
        return kernel

    def _start_cold(self) -> None:
        source = self.plan.source
        self.progress.step(f"taking the source from {source.path}")
        source.put(self.tree, self.lock)
        if take_off(self.plan.series, self.tree, self.touched, self.lock):
            self.progress.step(f"{source.path} has the series already")
        self._patch()
        self.progress.step("configuring")
        self._make("tinyconfig")
        # Of two values of an option the last one holds.
        with (self.tree / ".config").open("a", encoding="utf-8") as out:
            for fragment in self.plan.fragments:
                out.write(fragment.read_text(encoding="utf-8"))

    def _start_from(self, seed: LabKernel) -> None:
        self.progress.step(f"copying the tree of {seed.key}")
        with in_use(seed.folder):
            self._copy(seed.build_tree)
            names = {*seed.touched, *self.touched}
            before = {name: _Before(self.tree / name) for name in names}
            restore_files(seed.pristine, self.tree, seed.touched)
        self._patch()
        for name, was in before.items():
            was.give_time_back(self.tree / name)

    def _copy(self, old: Path) -> None:
        done = run_tool(["cp", "-a", "--reflink=auto", str(old), str(self.tree)], lock=self.lock)
        if done.returncode != 0:
            raise tool_error(f"{old}: copying it failed", first_line(done.stderr), self.plan.folder)

    def _patch(self) -> None:
        self.progress.step(f"applying {len(self.plan.series.patches)} patches")
        copy_files(self.tree, self.pristine, self.touched)
        apply_patches(self.plan.series, self.plan.source, self.tree, self.lock)

    def _make(self, *targets: str) -> None:
        key, told = self.plan.key, self.progress
        make(self.tree, list(targets), key, self.log, lock=self.lock, progress=told)

    def _finished(self, took_s: float) -> LabKernel:
        plan = self.plan
        told = (self.tree / "include/config/kernel.release").read_text(encoding="utf-8")
        return LabKernel(
            plan.folder, plan.key, plan.base, told.strip(), self.touched, took_s, plan.debug
        )


def _check_room(folder: Path, needed_bytes: int) -> None:
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < needed_bytes:
        raise LabError(
            f"{folder}: {free >> 20} MiB free, a kernel build needs {needed_bytes >> 20}; "
            f"{disk_mend(folder)}"
        )


class _Before:
    """A file as it was before patches were exchanged."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes() if path.exists() else None
        self._time_ns = path.stat().st_mtime_ns if path.exists() else 0

    def give_time_back(self, path: Path) -> None:
        """Give the file its old time back when its text is the same again."""
        if self._data is not None and path.exists() and path.read_bytes() == self._data:
            os.utime(path, ns=(self._time_ns, self._time_ns))
