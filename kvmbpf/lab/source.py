# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's source: find the distribution's package, unpack it, patch it.

The lab builds from Debian's ``linux-source-*`` package: signed, versioned and
already on every mirror the machine uses. Patches go on with ``git apply``,
which knows no fuzz and applies a patch whole or not at all.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import LabError, UnsupportedError
from kvmbpf.lab.series import Series

# Register lists of one GPU family: a quarter of the unpacked tree, no Kconfig, unused here.
LEFT_OUT = ("*/drivers/gpu/drm/amd/include",)


@dataclass(frozen=True)
class KernelSource:
    """A kernel source package that is installed.

    :param tarball: the archive.
    :param identity: package, version and size in bytes: equal means same source.
    """

    tarball: Path
    identity: str


def find_source(series: Series, folder: Path = Path("/usr/src")) -> KernelSource:
    """Find the source package of a series.

    :param folder: where such packages put their archive.
    :raise UnsupportedError: when the package is not installed.
    """
    tarball = folder / f"{series.source}.tar.xz"
    if not tarball.is_file():
        raise UnsupportedError(
            "kernel source",
            found=f"no {tarball}",
            needed=f"the package {series.source}",
            mend=f"apt-get install {series.source}",
        )
    size = tarball.stat().st_size
    return KernelSource(tarball, f"{series.source} {_package_version(series.source)} {size}")


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


def unpack(source: KernelSource, tree: Path) -> None:
    """Unpack the source into a new folder.

    :raise LabError: when tar fails, as on a full disk.
    """
    tree.mkdir(parents=True)
    command = ["tar", "-xf", str(source.tarball), "-C", str(tree), "--strip-components=1"]
    command += [f"--exclude={pattern}" for pattern in LEFT_OUT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{source.tarball}: unpacking failed: {_first_line(done.stderr)}")


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
            raise LabError(f"{patch}: not a usable patch: {_first_line(done.stderr)}")
        rows = [row for row in done.stdout.split("\0") if row]
        files.update(row.split("\t")[2] for row in rows)
    return tuple(sorted(files))


def apply_patches(series: Series, tree: Path) -> None:
    """Apply the series to an unpatched tree, in order.

    :raise LabError: when a patch does not apply; names the patch and the file.
    """
    # Without the ceiling, a cache inside some other git work tree would make
    # git take the paths as that tree's, and skip them all without a word.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
    for patch in series.patches:
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", str(patch)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tree,
            env=environment,
        )
        if done.returncode != 0:
            raise LabError(
                f"{patch.name} does not apply to {series.source}: {_first_line(done.stderr)}"
            )


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].removeprefix("error: ") if lines else "no reason given"
