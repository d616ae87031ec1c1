# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf that is missing, too old, or not libbpf at all: said at first use, by feature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kvmbpf
from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.libbpf.lib import Feature, Library
from tests import fake_libbpf

pytestmark = pytest.mark.unit


def test_a_missing_library_is_named_with_the_mend() -> None:
    with pytest.raises(UnsupportedError) as caught:
        Library("libbpf-of-no-system.so.1")
    text = str(caught.value)
    assert text.startswith("libbpf: found no libbpf-of-no-system.so.1")
    assert "needed 1.0 or newer for objects, programs and maps" in text
    assert "bookworm-backports" in text


def test_a_library_that_is_no_libbpf_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"libc.so.6 without libbpf_major_version\(\)"):
        Library("libc.so.6")


def test_a_library_too_old_for_anything_is_refused_at_once(tmp_path: Path) -> None:
    path = fake_libbpf.make(tmp_path, 0, 8)
    with pytest.raises(UnsupportedError, match=r"found 0\.8, needed 1\.0 or newer"):
        Library(str(path))


@pytest.mark.parametrize(
    ("version", "has", "lacks"),
    [
        ((1, 0), [Feature.ANY], [Feature.STRUCT_OPS, Feature.STRUCT_OPS_FIELDS]),
        ((1, 3), [Feature.STRUCT_OPS], [Feature.STRUCT_OPS_FIELDS, Feature.MODULE_STRUCT_OPS]),
        ((1, 4), list(Feature), []),
        ((2, 0), list(Feature), []),
    ],
)
def test_a_feature_needs_its_version(
    tmp_path: Path, version: tuple[int, int], has: list[Feature], lacks: list[Feature]
) -> None:
    library = Library(str(fake_libbpf.make(tmp_path, *version)))
    assert library.version == version
    for feature in has:
        library.need(feature)
    for feature in lacks:
        with pytest.raises(UnsupportedError) as caught:
            library.need(feature)
        needed = f"{feature.since[0]}.{feature.since[1]} or newer for {feature.words}"
        found = f"{version[0]}.{version[1]}"
        assert str(caught.value).startswith(f"libbpf: found {found}, needed {needed}; ")


def test_a_function_that_is_not_there_is_named_when_it_is_used(tmp_path: Path) -> None:
    path = fake_libbpf.make(tmp_path, 1, 1, without=["ring_buffer__new"])
    library = Library(str(path))
    assert library.libbpf_num_possible_cpus() > 0
    for _ in range(2):
        with pytest.raises(UnsupportedError, match=r"found 1\.1 without ring_buffer__new\(\)"):
            _ = library.ring_buffer__new


def test_importing_does_not_load_libbpf() -> None:
    code = "import kvmbpf.kernel.libbpf\nprint('libbpf.so' in open('/proc/self/maps').read())"
    root = Path(kvmbpf.__file__).parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout == "False\n"
