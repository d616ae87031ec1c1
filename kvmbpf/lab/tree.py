# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel source tree of the user's, which the lab builds from a copy of.

The tree is only read. What is copied is what the kernel's own developers would
hand on: in a git work tree the files that git knows or would offer to add, with
the changes that are not committed; elsewhere all files but what a build leaves.

A git work tree is identified by HEAD, the difference to it, and the files that
git does not know yet; any other tree by its files' names, sizes and times, so
that there a touched file counts as a changed one.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kvmbpf.errors import LabError, UnsupportedError
from kvmbpf.lab.series import Series
from kvmbpf.lab.source import LEFT_OUT, KernelSource
from kvmbpf.lab.tools import first_line, run_tool, tool_error

# Names the tree to build from where no option does.
SOURCE_VARIABLE = "KVMBPF_KERNEL_SOURCE"
# What a build leaves beside the sources, and no kernel source is called.
_BUILT = (
    *("*.o", "*.o.d", "*.ko", "*.a", "*.mod", "*.mod.c", "*.cmd", "*.symvers"),
    *("modules.order", "modules.builtin*", "vmlinux", "vmlinux.bin*", "vmlinux.map", "bzImage"),
    *(".tmp_*", ".config", ".config.old"),
)
_BUILT_FOLDERS = (".git", "include/config", "include/generated", "arch/x86/include/generated")


class TreeSource(KernelSource):
    """A kernel source tree of the user's."""

    @property
    def mend(self) -> str:
        """What the user can do when the series does not apply to it."""
        return "use a tree that has none of the series, or all of it"

    def put(self, tree: Path, lock: int) -> None:
        """Copy the tree.

        :raise LabError: when it changed since it was identified, too.
        """
        tree.mkdir(parents=True)
        command = ["xargs", "-0", "cp", "-a", "--reflink=auto", "--parents", "-t", str(tree)]
        names = "".join(f"{name}\0" for name in _files(self.path))
        done = run_tool(command, lock=lock, cwd=self.path, text_in=names)
        if done.returncode != 0:
            what = f"{self.path}: copying it failed"
            raise tool_error(what, first_line(done.stderr), tree.parent)
        if _identity(self.path) != self.identity:
            raise LabError(f"{self.path}: it changed while it was copied; run the command again")


def read_tree(folder: Path, series: Series) -> TreeSource:
    """Identify a tree that a kernel of the series is to be built from.

    :raise UnsupportedError: when it is no kernel source, or of another version.
    :raise LabError: when git refuses to read it.
    """
    found = _version(folder)
    if found != series.version:
        raise UnsupportedError(
            "kernel source",
            found=f"Linux {found} in {folder}" if found else f"no kernel source in {folder}",
            needed=f"Linux {series.version}",
            mend=f"name a source tree of Linux {series.version} with --source or "
            f"{SOURCE_VARIABLE}, or none to use the package {series.source}",
        )
    place = folder.resolve()
    try:
        return TreeSource(place, _identity(place))
    except OSError as error:
        raise LabError(f"{error.filename}: cannot read it ({error.strerror})") from error


def _version(folder: Path) -> str | None:
    """Return version and patch level of a kernel tree, or None when it is none."""
    try:
        text = (folder / "Makefile").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    numbers = [re.search(rf"^{name} = (\d+)$", text, re.M) for name in ("VERSION", "PATCHLEVEL")]
    if not (folder / "Kbuild").is_file() or not all(numbers):
        return None
    return ".".join(match[1] for match in numbers if match)


def _is_git(folder: Path) -> bool:
    return (folder / ".git").exists()


def _identity(folder: Path) -> str:
    digest = hashlib.sha256()
    if _is_git(folder):
        digest.update(_git(folder, "rev-parse", "HEAD"))
        digest.update(_git(folder, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD"))
        others = _git(folder, "ls-files", "-z", "--others", "--exclude-standard")
        for name in filter(None, others.split(b"\0")):
            digest.update(name + b"\0" + _content(folder / os.fsdecode(name)))
    else:
        for file in _files(folder):
            stat = (folder / file).lstat()
            digest.update(f"{file}\0{stat.st_size} {stat.st_mtime_ns}\n".encode(errors="replace"))
    return f"tree {digest.hexdigest()[:16]}"


def _content(path: Path) -> bytes:
    """Return what identifies a file that git does not know: its text, or where it points."""
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""


def _files(folder: Path) -> list[str]:
    """Return the files to copy, relative to the tree's root, sorted."""
    if not _is_git(folder):
        return sorted(_walk(folder))
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    return sorted(
        name for name in names if not name.startswith(LEFT_OUT) and os.path.lexists(folder / name)
    )


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        left_out = {*_BUILT_FOLDERS, LEFT_OUT}
        folders[:] = [name for name in folders if str(here / name) not in left_out]
        links = [name for name in folders if (folder / here / name).is_symlink()]
        for name in (*files, *links):
            if not any(fnmatch.fnmatch(name, one) for one in _BUILT):
                yield str(here / name)


def _git(folder: Path, *arguments: str) -> bytes:
    """Run git in the user's tree; it writes nothing there.

    :raise LabError: when git fails, as in a tree of another user's.
    """
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise UnsupportedError(
            "git", found="nothing on PATH", needed="it to read a tree", mend="apt-get install git"
        ) from error
    if done.returncode != 0:
        said = first_line(done.stderr.decode(errors="replace"))
        raise LabError(f"{folder}: git cannot read it: {said}")
    return done.stdout
