# SPDX-License-Identifier: GPL-2.0-or-later
"""A wheel has all that lies in a package's folder, and what links from there lead to."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT

SETUPTOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "setuptools"
]
PACKAGE = ROOT / "kvmbpf"
# What a checkout alone has a use for.
NOT_SHIPPED = {".clang-format"}


def files(folder: Path) -> list[Path]:
    """Return the files below a folder, links followed, but what Python and make leave there."""
    found: list[Path] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += [] if entry.name == "__pycache__" else files(entry)
        elif entry.suffix not in {".py", ".o", ".pyc"} and entry.name not in NOT_SHIPPED:
            found.append(entry)
    return found


def test_every_file_of_a_package_is_shipped() -> None:
    patterns = SETUPTOOLS["package-data"]["kvmbpf"]
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert [str(path) for path in files(PACKAGE) if path not in shipped] == []
    assert all(any(PACKAGE.glob(pattern)) for pattern in patterns)


def test_every_package_is_listed() -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in ("kvmbpf", "qemu_glue")
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert found == set(SETUPTOOLS["packages"])


@pytest.mark.parametrize("link", ["lab/patches", "demo/guest_driver"])
def test_what_is_linked_to_is_in_the_checkout(link: str) -> None:
    assert (PACKAGE / link).is_symlink()
    assert (PACKAGE / link).resolve().is_relative_to(ROOT)
