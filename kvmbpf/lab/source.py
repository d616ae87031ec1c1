# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's source: Debian's package or a tree of the user's; and its patches.

By default the lab builds from Debian's ``linux-source-*`` package: signed,
versioned and already on every mirror the machine uses (`PackageSource`); on
demand from a tree that the user has (`kvmbpf.lab.tree`). Patches go on with
``git apply``, which knows no fuzz and applies a patch whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import LabError, UnsupportedError
from kvmbpf.lab.series import Series
from kvmbpf.lab.tools import first_line, run_tool, tool_error

# Where source packages put their archive.
PACKAGES = Path("/usr/src")
# Register lists of one GPU family: a quarter of the unpacked tree, no Kconfig, unused here.
LEFT_OUT = "drivers/gpu/drm/amd/include"


@dataclass(frozen=True)
class KernelSource(ABC):
    """Where a kernel's source comes from.

    :param path: the archive, or the folder.
    :param identity: equal means the same source.
    """

    path: Path
    identity: str

    @property
    @abstractmethod
    def mend(self) -> str:
        """What the user can do when the series does not apply to it."""

    @abstractmethod
    def put(self, tree: Path, lock: int) -> None:
        """Put the source into a new folder.

        :param lock: descriptor (C ``int``) of the build's lock.
        :raise LabError: when that fails, as on a full disk.
        """


class PackageSource(KernelSource):
    """A kernel source package that is installed.

    Its identity is package, version and size of the archive in bytes.
    """

    @property
    def mend(self) -> str:
        """What the user can do when the series does not apply to it."""
        return "rebase the series on this version of the package, or install the one before"

    def put(self, tree: Path, lock: int) -> None:
        """Unpack the archive."""
        tree.mkdir(parents=True)
        command = ["tar", "-xf", str(self.path), "-C", str(tree), "--strip-components=1"]
        done = run_tool([*command, f"--exclude=*/{LEFT_OUT}"], lock=lock)
        if done.returncode != 0:
            what = f"{self.path}: unpacking failed"
            raise tool_error(what, first_line(done.stderr), tree.parent)


def find_source(series: Series) -> PackageSource:
    """Find the source package of a series.

    :raise UnsupportedError: when the package is not installed.
    """
    tarball = PACKAGES / f"{series.source}.tar.xz"
    if not tarball.is_file():
        raise UnsupportedError(
            "kernel source",
            found=f"no {tarball}",
            needed=f"the package {series.source}",
            mend=f"apt-get install {series.source}, or name a tree with --source",
        )
    size = tarball.stat().st_size
    return PackageSource(tarball, f"{series.source} {_package_version(series.source)} {size}")


def _package_version(package: str) -> str:
    """Return dpkg's version of a package, or "-" where dpkg does not know it."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", package],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "-"
    return done.stdout.strip() or "-"


def touched_files(series: Series) -> tuple[str, ...]:
    """Return the files that the patches touch, relative to the tree's root, sorted.

    :raise LabError: when a patch is damaged.
    """
    files: set[str] = set()
    for patch in series.patches:
        done = subprocess.run(
            ["git", "apply", "--numstat", "-z", str(patch)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise LabError(f"{patch}: not a usable patch: {first_line(done.stderr)}")
        rows = [row for row in done.stdout.split("\0") if row]
        files.update(row.split("\t")[2] for row in rows)
    return tuple(sorted(files))


def apply_patches(series: Series, source: KernelSource, tree: Path, lock: int) -> None:
    """Apply the series to an unpatched tree, in order.

    :param source: what the tree was made from.
    :param lock: descriptor (C ``int``) of the build's lock.
    :raise LabError: when a patch does not apply; names the patch, the file, the
        line of the hunk, and the mend.
    """
    for patch in series.patches:
        done = _git_apply(tree, lock, patch)
        if done.returncode != 0:
            what = f"{patch.name} does not apply to {source.path}"
            said = first_line(done.stderr)
            raise tool_error(what, f"{said}; {source.mend}", tree.parent)


def take_off(series: Series, tree: Path, touched: tuple[str, ...], lock: int) -> bool:
    """Take the whole series off a tree that has it; tell whether it had.

    It is tried on a copy of the files that it touches, so that a tree with only
    a part of the series stays as it is.

    :param touched: the files that the series touches.
    :param lock: descriptor (C ``int``) of the build's lock.
    """
    if not series.patches:
        return False
    with tempfile.TemporaryDirectory(prefix="series-", dir=tree.parent) as name:
        scratch = Path(name)
        copy_files(tree, scratch, touched)
        for patch in reversed(series.patches):
            if _git_apply(scratch, lock, "--reverse", patch).returncode != 0:
                return False
        restore_files(scratch, tree, touched)
    return True


def copy_files(tree: Path, place: Path, names: tuple[str, ...]) -> None:
    """Copy those files of a tree that exist to another place."""
    for name in names:
        if (tree / name).exists():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, place / name)


def restore_files(place: Path, tree: Path, names: tuple[str, ...]) -> None:
    """Make files of a tree what they are in another place; remove those absent there."""
    for name in names:
        if (place / name).exists():
            shutil.copyfile(place / name, tree / name)
        else:
            (tree / name).unlink(missing_ok=True)


def _git_apply(tree: Path, lock: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # Without the ceiling, a cache inside some other git work tree would make
    # git take the paths as that tree's, and skip them all without a word.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent), "LC_ALL": "C"}
    command = ["git", "apply", "--whitespace=nowarn", *map(str, arguments)]
    return run_tool(command, lock=lock, cwd=tree, env=environment)
