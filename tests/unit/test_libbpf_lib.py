# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf that is missing, too old, or not libbpf at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kvmbpf
from kvmbpf.errors import UnsupportedError
from kvmbpf.libbpf.lib import check_version, load_library

pytestmark = pytest.mark.unit


def test_a_missing_library_is_named_with_the_mend() -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_library("libbpf-of-no-system.so.1")
    text = str(caught.value)
    assert text.startswith("libbpf: found no libbpf-of-no-system.so.1")
    assert "needed 1.3 or newer" in text
    assert "bookworm-backports" in text


def test_a_library_without_a_function_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"libc.so.6 without libbpf_major_version\(\)"):
        load_library("libc.so.6")


@pytest.mark.parametrize("version", [(0, 8), (1, 1), (1, 2)])
def test_an_old_library_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedError, match=rf"found {version[0]}\.{version[1]}, needed 1\.3"):
        check_version(*version)


@pytest.mark.parametrize("version", [(1, 3), (1, 5), (2, 0)])
def test_a_new_library_is_taken(version: tuple[int, int]) -> None:
    check_version(*version)


def test_importing_does_not_load_libbpf() -> None:
    code = (
        "import kvmbpf.libbpf.carry, kvmbpf.libbpf.struct_ops\n"
        "print('libbpf.so' in open('/proc/self/maps').read())"
    )
    root = Path(kvmbpf.__file__).parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout == "False\n"
