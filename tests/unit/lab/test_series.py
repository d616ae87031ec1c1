# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel series is read from its folder, patched in order, and refused by name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, LabError, UnsupportedError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.lab.series import Series, load_series
from kvmbpf.lab.source import PackageSource, apply_patches, find_source, touched_files

PATCH = """--- a/dir/one.c
+++ b/dir/one.c
@@ -1,3 +1,3 @@
 first
-second
+patched
 third
--- /dev/null
+++ b/dir/two.c
@@ -0,0 +1 @@
+new
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "series"
    place.mkdir()
    (place / "series.toml").write_text(
        'source = "linux-source-0.0"\npatches = ["0001-a.patch"]\n'
        'fragments = ["config.fragment"]\ndebug_fragments = ["debug.fragment"]\n'
    )
    (place / "config.fragment").write_text("CONFIG_KVM=y\n")
    (place / "debug.fragment").write_text("CONFIG_KASAN=y\n")
    (place / "0001-a.patch").write_text(PATCH)
    return place


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    # Inside a git work tree on purpose: git apply must not take it for its own.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    place = tmp_path / "cache" / "tree"
    (place / "dir").mkdir(parents=True)
    (place / "dir/one.c").write_text("first\nsecond\nthird\n")
    return place


def test_the_checkouts_own_series_loads() -> None:
    series = load_series()
    assert series.source.startswith("linux-source-")
    assert series.version == "6.12"
    plain, debug = series.configuration(False), series.configuration(True)
    assert plain
    assert debug[: len(plain)] == plain
    assert len(debug) > len(plain)


def _apply(series: Series, tree: Path) -> None:
    with OwnedFd(os.open(os.devnull, os.O_RDONLY), "no lock") as lock:
        apply_patches(series, PackageSource(Path("/source.tar.xz"), "0"), tree, lock.fileno())


def test_patches_apply_inside_some_other_git_tree(folder: Path, tree: Path) -> None:
    series = load_series(folder)
    _apply(series, tree)
    assert (tree / "dir/one.c").read_text() == "first\npatched\nthird\n"
    assert (tree / "dir/two.c").read_text() == "new\n"


def test_touched_files_are_those_of_the_patches(folder: Path) -> None:
    assert touched_files(load_series(folder)) == ("dir/one.c", "dir/two.c")


def test_a_patch_that_does_not_apply_names_patch_and_file(folder: Path, tree: Path) -> None:
    (tree / "dir/one.c").write_text("first\nelse\nthird\n")
    with pytest.raises(LabError, match=r"^0001-a\.patch does not apply to .*dir/one\.c:1; rebase"):
        _apply(load_series(folder), tree)
    assert not (tree / "dir/two.c").exists()


def test_a_damaged_patch_is_named(folder: Path) -> None:
    (folder / "0001-a.patch").write_text("no patch at all\n")
    with pytest.raises(LabError, match=r"0001-a\.patch: not a usable patch"):
        touched_files(load_series(folder))


def test_the_digest_follows_text_and_order(folder: Path) -> None:
    one, two = folder / "0001-a.patch", folder / "0002-b.patch"
    two.write_text(PATCH)
    digests = {
        Series(folder, "s", patches, (), ()).patches_digest()
        for patches in ((one,), (two,), (one, two), (two, one), ())
    }
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("source = ", "not TOML"),
        ("patches = []", "`source` must name a package"),
        ('source = "../x"\npatches = []', "`source` must name a package"),
        ('source = "x"', "`patches` must be a list"),
        ('source = "x"\npatches = [1]', "`patches` must be a list"),
        ('source = "x"\npatches = ["0009-x.patch"]', "0009-x.patch: missing"),
        ('source = "x"\npatches = ["0001-a.patch"]', "`fragments` must be a list"),
        (
            'source = "x"\npatches = []\nfragments = []\ndebug_fragments = ["x.fragment"]',
            "x.fragment: missing",
        ),
        (
            'source = "x"\npatches = []\nfragments = []\ndebug_fragments = []',
            "does not list 0001-a.patch",
        ),
    ],
)
def test_a_wrong_series_file_is_refused(folder: Path, toml: str, message: str) -> None:
    (folder / "series.toml").write_text(toml)
    with pytest.raises(BadFileError, match=message):
        load_series(folder)


def test_a_missing_source_package_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"apt-get install linux-source-0\.0"):
        find_source(load_series(folder))
