# SPDX-License-Identifier: GPL-2.0-or-later
"""Remove from the cache what this checkout's series does not use.

A kernel is used when it is the series' plain or debug one. What a build or a
running lab holds is never removed, whatever was asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import LabError, StateError
from kvmbpf.lab.cache import (
    build_lock,
    build_logs,
    cache_folder,
    kernels_folder,
    log_key,
    parts_folder,
    unused,
)
from kvmbpf.lab.kernel import STAMP, read_kernel


@dataclass(frozen=True)
class Leftover:
    """Something in the cache that may go.

    :param kind: ``kernel``, ``unfinished`` (build), ``log`` or ``parts``.
    :param path: where it lies.
    :param size_bytes: what it takes on disk.
    """

    kind: str
    path: Path
    size_bytes: int


@dataclass(frozen=True)
class Cleaned:
    """What a cleaning did.

    :param removed: what is gone, or would be.
    :param busy: the kernels that would be gone if no lab used them.
    """

    removed: tuple[Leftover, ...]
    busy: tuple[Path, ...]

    @property
    def freed_bytes(self) -> int:
        """How much space that is."""
        return sum(one.size_bytes for one in self.removed)


def clean_cache(
    used: Iterable[str], *, everything: bool = False, keep: int = 0, dry_run: bool = False
) -> Cleaned:
    """Remove what is not used.

    :param used: the keys of the kernels that stay.
    :param everything: remove those too, and the demo guests' parts.
    :param keep: how many of the other finished kernels stay, the newest first.
    :param dry_run: tell what would go, and remove nothing.
    :raise StateError: when a kernel, or parts for one, are being built.
    :raise LabError: when something cannot be removed.
    """
    if not cache_folder().is_dir():
        return Cleaned((), ())
    stay = set() if everything else set(used)
    with ExitStack() as stack:
        for name in ("lock", "parts.lock"):
            stack.enter_context(build_lock(_refuse, name))
        wanted = _unwanted(stay, keep)
        free = [path for path in wanted if stack.enter_context(unused(path))]
        busy = [path for path in wanted if path not in free]
        gone = [_leftover(path) for path in free]
        staying = stay | {path.name for path in _folders()} - {path.name for path in free}
        gone += [_leftover(log) for log in build_logs() if log_key(log) not in staying]
        if everything and not busy and parts_folder().is_dir():
            gone.append(_leftover(parts_folder()))
        if not dry_run:
            for one in gone:
                _remove(one)
    return Cleaned(tuple(gone), tuple(busy))


def folder_bytes(folder: Path) -> int:
    """Return what a folder with all in it takes on disk, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*")))


def _refuse() -> None:
    raise StateError("a build is at work in the cache; run this command again when it has ended")


def _folders() -> list[Path]:
    return sorted(path for path in kernels_folder().glob("*") if path.is_dir())


def _unwanted(stay: set[str], keep: int) -> list[Path]:
    """Return the folders of unfinished kernels, and of finished ones that need not stay."""
    finished = [path for path in _folders() if _is_finished(path)]
    others = sorted(
        (path for path in finished if path.name not in stay), key=_made_at, reverse=True
    )
    return [path for path in _folders() if path not in finished or path in others[keep:]]


def _is_finished(folder: Path) -> bool:
    try:
        return read_kernel(folder) is not None
    except LabError:  # a damaged stamp: no build would use it either
        return False


def _made_at(folder: Path) -> float:
    return (folder / STAMP).stat().st_mtime


def _leftover(path: Path) -> Leftover:
    if path == parts_folder():
        kind = "parts"
    elif path.is_dir():
        kind = "kernel" if _is_finished(path) else "unfinished"
    else:
        kind = "log"
    return Leftover(kind, path, folder_bytes(path))


def _remove(one: Leftover) -> None:
    try:
        if one.path.is_dir():
            # Without its stamp it counts for nothing, however this ends.
            (one.path / STAMP).unlink(missing_ok=True)
            shutil.rmtree(one.path)
        else:
            one.path.unlink()
    except OSError as error:
        place = error.filename or one.path
        raise LabError(f"{place}: cannot remove it ({error.strerror})") from error
