# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf new`: what it makes builds, passes its test, and is clean."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.author.scaffold import make_device
from kvmbpf.errors import BadFileError, StateError
from kvmbpf.model.objfile import read_device
from tests.places import ROOT
from tests.scarce import left_there, on_full_disk


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this interpreter's environment in a folder."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_device_builds_and_passes_its_test(tmp_path: Path) -> None:
    made = run(tmp_path, "kvmbpf", "new", "bell")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == (
        "made bell/bell.bpf.c\nmade bell/test_bell.py\nmade bell/README.md\n"
        "next:\n  cd bell\n  kvmbpf build bell.bpf.c\n  python -m pytest\n"
    )
    built = run(tmp_path / "bell", "kvmbpf", "build", "--werror", "bell.bpf.c")
    assert (built.returncode, built.stdout) == (0, "built bell.bpf.o\n"), built.stderr
    tested = run(tmp_path / "bell", "pytest", "-q")
    assert tested.returncode == 0, tested.stdout
    assert "7 passed" in tested.stdout


def test_a_new_device_may_go_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    made = run(tmp_path, "kvmbpf", "new", "bell", "--dir", str(folder))
    assert made.returncode == 0
    assert f"  cd {folder}\n" in made.stdout
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "bell.bpf.c",
        "test_bell.py",
    ]


def test_a_new_device_has_its_name(tmp_path: Path) -> None:
    make_device("a" * 31, tmp_path / "new")
    output = compile_device(
        tmp_path / "new" / f"{'a' * 31}.bpf.c", tmp_path / "a.o", warnings_are_errors=True
    )
    assert read_device(output).name == "a" * 31
    assert "@NAME@" not in "".join(path.read_text() for path in (tmp_path / "new").iterdir())


def test_what_is_made_is_in_good_style(tmp_path: Path) -> None:
    source, test, _ = make_device("bell", tmp_path / "bell")
    shutil.copy(ROOT / ".clang-format", tmp_path)
    for command in (
        ["clang-format", "--dry-run", "-Werror", str(source)],
        [sys.executable, "-m", "ruff", "format", "--check", "--line-length=100", str(test)],
        [sys.executable, "-m", "mypy", "--strict", str(test)],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a.b", "a b", "a" * 32, "../a", "ä"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError, match="use 1 to 31 small letters"):
        make_device(name, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bell").mkdir()
    done = run(tmp_path, "kvmbpf", "new", "bell")
    assert (done.returncode, done.stdout) == (13, "")
    assert done.stderr == "kvmbpf: bell: there already; choose another name, or --dir\n"
    assert list((tmp_path / "bell").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="file: there already"):
        make_device("bell", tmp_path / "file")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadFileError, match="cannot be made: Not a directory"):
        make_device("bell", tmp_path / "file" / "bell")


@pytest.mark.parametrize("pages", range(4))
@pytest.mark.parametrize("where", ["bell", "a/b/bell"])
def test_on_a_full_disk_what_was_made_is_taken_back(tmp_path: Path, pages: int, where: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # So many pages are left, of the three that the files take.
    fill = f"mkdir a; head -c {(16 - pages) * 4096} /dev/zero >filler"
    command = [sys.executable, "-m", "kvmbpf", "new", "bell", "--dir", where]
    done = subprocess.run(
        on_full_disk(disk, 64, command, first=fill),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    made = [path for path in left_there(disk) if path not in ("a", "filler")]
    if done.returncode:
        assert (done.returncode, done.stdout, made) == (15, "", [])
        assert "cannot be written: No space left on device; make room" in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert f"{where}/bell.bpf.c" in made
    assert bool(done.returncode) == (pages < 3)


def test_what_others_put_beside_it_meanwhile_stays(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from kvmbpf.author import scaffold

class Late(dict):
    def __iter__(self):
        yield "device.bpf.c.in"
        Path("above/bell/theirs").write_text("kept")
        raise KeyboardInterrupt

scaffold._FILES = Late(scaffold._FILES)
scaffold.make_device("bell", Path("above/bell"))
"""
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL, check=False
    )
    assert [path.name for path in (tmp_path / "above" / "bell").iterdir()] == ["theirs"]
