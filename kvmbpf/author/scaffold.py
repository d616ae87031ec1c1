# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the folder of a new device: source, test and README, from the templates.

What is made builds and passes its test as it stands; the author changes it from
there.
"""

from __future__ import annotations

import re
from pathlib import Path

from kvmbpf.errors import BadFileError, StateError

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
    :raise BadFileError: when the folder cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise StateError(
            f"device name {name!r}: use 1 to 31 small letters, digits and `_`, a letter first"
        )
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise StateError(f"{folder}: there already; choose another name, or --dir") from error
    except OSError as error:
        raise BadFileError(folder, f"cannot be made: {error.strerror}") from error
    return [_make_file(name, template, folder) for template in _FILES]


def _make_file(name: str, template: str, folder: Path) -> Path:
    path = folder / _FILES[template].format(name=name)
    text = (_TEMPLATES / template).read_text(encoding="utf-8").replace("@NAME@", name)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadFileError(path, f"cannot be written: {error.strerror}") from error
    return path
