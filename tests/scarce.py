# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that has too little: a disk of some KiB, few descriptors, no privilege.

Each function returns a command line around another one, so that nothing of it is left
when that ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

_LEFT = "left-there"


def on_full_disk(
    folder: Path, kib: int, command: Sequence[str], *, first: str = "true"
) -> list[str]:
    """Return what runs a command with a disk of its own in a folder; see `left_there`.

    :param folder: where the disk is mounted, in a mount namespace of the command's.
    :param kib: its size, in pages of 4 KiB.
    :param first: a shell's line that fills it, in the folder.
    """
    script = f"""
        mount -t tmpfs -o size={kib}k tmpfs {shlex.quote(str(folder))} || exit 99
        cd {shlex.quote(str(folder))} || exit 99
        {first}
        {shlex.join(command)}
        status=$?
        find . -mindepth 1 | sort >{shlex.quote(str(_list(folder)))}
        exit $status
    """
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]


def left_there(folder: Path) -> list[str]:
    """Return the paths of what a command left on the disk that it had in a folder."""
    return [line.removeprefix("./") for line in _list(folder).read_text().splitlines()]


def _list(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.{_LEFT}")


def limited(option: str, value: int | str, command: Sequence[str]) -> list[str]:
    """Return what runs a command under a limit.

    :param option: of the shell's ulimit, as ``-n``.
    """
    return ["sh", "-c", f'ulimit {option} {value} && exec "$@"', "sh", *command]


def unprivileged(command: Sequence[str]) -> list[str]:
    """Return what runs a command that files' modes hold for, though it is root's."""
    dropped = "-dac_override,-dac_read_search,-fowner,-chown"
    return ["setpriv", "--bounding-set", dropped, *command]
