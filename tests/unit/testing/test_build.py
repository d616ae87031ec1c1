# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiling a device for a test: once for each content, and never a stale one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, UnsupportedError
from kvmbpf.testing import Device
from kvmbpf.testing.build import Built, build
from tests.places import ROOT
from tests.scarce import left_there, on_full_disk, unprivileged

DEMO = ROOT / "kvmbpf" / "devices" / "demo"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the demo device, with a cache of its own."""
    monkeypatch.setenv("KVMBPF_CACHE", str(tmp_path / "cache"))
    shutil.copytree(DEMO, tmp_path / "demo")
    return tmp_path / "demo" / "demo_v1.bpf.c"


def made(built: Built) -> tuple[int, int]:
    """Return what tells one compilation from the next."""
    return built.library.stat().st_ino, built.object.stat().st_ino


def test_a_source_is_compiled_once(source: Path) -> None:
    assert made(build(source)) == made(build(source))


def test_a_changed_source_is_compiled_again(source: Path) -> None:
    first = made(build(source))
    source.write_text(source.read_text().replace("DEMO_VERSION 1", "DEMO_VERSION 9"))
    assert made(build(source)) != first
    with Device(source) as dev:
        assert dev.peek(4) == 9


def test_a_changed_header_is_seen(source: Path) -> None:
    first = made(build(source))
    header = source.with_name("demo_regs.h")
    header.write_text(header.read_text() + "/* more */\n")
    second = made(build(source))
    assert second != first
    assert made(build(source)) == second


def test_a_damaged_cache_is_made_anew(source: Path) -> None:
    built = build(source)
    (built.library.parent / "inputs.json").write_text("{")
    with Device(source) as dev:
        assert dev.peek(4) == 1


def test_a_failed_build_leaves_what_there_was(source: Path) -> None:
    good = source.read_text()
    first = made(build(source))
    source.write_text("nonsense\n")
    with pytest.raises(BadFileError):
        build(source)
    source.write_text(good)
    assert made(build(source)) == first


def test_the_cache_keeps_those_used_last(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kvmbpf.testing.build._KEPT", 1)
    first, other = build(source), build(source.with_name("demo_v2.bpf.c"))
    assert not first.library.exists()
    assert other.library.exists()
    assert build(source).library.exists()
    assert len(list((tmp_path / "cache" / "devices").iterdir())) == 1


def test_a_cache_folder_that_cannot_be(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVMBPF_CACHE", str(source))
    with pytest.raises(BadFileError, match=r"cannot make the cache folder: .*set KVMBPF_CACHE"):
        build(source)


BUILD = """
import sys
from kvmbpf.errors import KvmBpfError
from kvmbpf.testing.build import build
try:
    print(build(sys.argv[1]).library)
except KvmBpfError as error:
    print(error)
"""


def built_by_another(source: Path, *without: str) -> str:
    """Build in a process that files' modes hold for; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in without}
    done = subprocess.run(
        unprivileged([sys.executable, "-c", BUILD, str(source)]),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_cache_that_takes_no_file_is_told_and_still_read(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "devices"
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    said = built_by_another(source)
    assert said.startswith(f"{cache}/")
    assert said.endswith(
        "cannot be written: Permission denied; set KVMBPF_CACHE to another folder\n"
    )
    cache.chmod(0o700)
    library = build(source).library
    for folder in (library.parent, cache):
        folder.chmod(0o500)
        os.chown(folder, 12345, -1)
        folder.chmod(0o555)
    assert built_by_another(source) == f"{library}\n"


def test_a_full_disk_is_told(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        on_full_disk(disk, 16, [sys.executable, "-c", BUILD, str(source)]),
        env=os.environ | {"KVMBPF_CACHE": str(disk), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No space left on device" in done.stdout
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    assert left_there(disk) == ["devices"]


def test_no_clang(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="clang: found nothing"):
        build(source)
