# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the folder of a new device: source, test and README, from the templates.

What is made builds and passes its test as it stands; the author changes it from
there.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

from kvmbpf.errors import BadFileError, StateError
from kvmbpf.mends import explain

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_FILES = {
    "device.bpf.c.in": "{name}.bpf.c",
    "test_device.py.in": "test_{name}.py",
    "README.md.in": "README.md",
}


def make_device(name: str, folder: Path) -> list[Path]:
    """Make a device's folder; return its files.

    :param name: the device's: a small letter, then up to 30 of those, digits and ``_``.
    :param folder: to be made.
    :raise StateError: when the name is not fit, or the folder is there already.
    :raise BadFileError: when the folder or a file cannot be made; what was made
        until then is taken back, and nothing else.
    """
    if not _NAME.fullmatch(name):
        raise StateError(
            f"device name {name!r}: use 1 to 31 small letters, digits and `_`, a letter first"
        )
    with contextlib.ExitStack() as made:
        _make_folder(folder, made)
        files = [_make_file(name, template, folder, made) for template in _FILES]
        made.pop_all()  # all is there: it stays
    return files


def _make_folder(folder: Path, made: contextlib.ExitStack) -> None:
    """Make a folder and those above it that are missing, each with its removal."""
    missing = itertools.takewhile(lambda path: not path.exists(), folder.parents)
    for path in (*reversed(list(missing)), folder):
        try:
            path.mkdir()
        except FileExistsError as error:
            if path != folder and path.is_dir():
                continue  # another process was faster: it is not ours to take back
            raise StateError(f"{path}: there already; choose another name, or --dir") from error
        except OSError as error:
            raise BadFileError(folder, f"cannot be made: {explain(error)}") from error
        made.callback(_remove, path.rmdir)


def _make_file(name: str, template: str, folder: Path, made: contextlib.ExitStack) -> Path:
    path = folder / _FILES[template].format(name=name)
    text = (_TEMPLATES / template).read_text(encoding="utf-8").replace("@NAME@", name)
    try:
        with path.open("x", encoding="utf-8") as file:
            made.callback(_remove, path.unlink)
            file.write(text)
    except OSError as error:
        raise BadFileError(path, f"cannot be written: {explain(error)}") from error
    return path


def _remove(remove: Callable[[], object]) -> None:
    """Take back what was made, unless somebody else has gone on with it."""
    with contextlib.suppress(OSError):
        remove()
