# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that have too little: one line with the cause, and nothing half made."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvmbpf.cli.exit_codes import EXIT_CODES
from tests.header_examples import DESIGN_EXAMPLE
from tests.places import ROOT
from tests.scarce import left_there, limited, on_full_disk, unprivileged

KVMBPF = [sys.executable, "-m", "kvmbpf"]
PLACE = ["--at", "0xfef00000", "--gsi", "5"]
# What writes a file, in a folder with a source and its object.
WRITING: dict[str, list[str]] = {
    "build": ["build", "dev.bpf.c", "-o", "out"],
    "dtb": ["dt", *PLACE, "--format", "dtb", "dev.bpf.o", "-o", "out"],
    "dts": ["dt", *PLACE, "dev.bpf.o", "-o", "out"],
    "aml": ["acpi", *PLACE, "dev.bpf.o", "-o", "out"],
    "dsl": ["acpi", *PLACE, "--format", "dsl", "dev.bpf.o", "-o", "out"],
}
every_writing = pytest.mark.parametrize("arguments", WRITING.values(), ids=WRITING)
# Less what a tool of others makes: it has its files, and the time, in it.
every_of_ours = pytest.mark.parametrize(
    "arguments", [words for name, words in WRITING.items() if name != "dsl"]
)
OTHERS: dict[str, list[str]] = {
    "help": ["--help"],
    "inspect": ["inspect", "dev.bpf.o"],
    "check": ["check", "dev.bpf.o"],
    "list": ["list"],
    "completion": ["completion", "bash"],
    "new": ["new", "bell"],
    "attach": ["attach", "dev.bpf.o", "--pid", str(os.getpid())],
    "lab status": ["lab", "status"],
    "lab clean": ["lab", "clean", "--dry-run"],
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path, demo_v1: Path) -> Path:
    """A folder with a source and an object."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "dev.bpf.o").write_bytes(demo_v1.read_bytes())
    (folder / "dev.bpf.c").write_text(DESIGN_EXAMPLE)
    return folder


def make_device(path: Path, minor: int) -> Path:
    """Make a node like /dev/null (3) or /dev/full (7); a test never writes to those by name."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    return path


def run(
    folder: Path, command: Sequence[str], without: Sequence[str] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    own = {
        "KVMBPF_RUN_DIR": str(folder.parent / "run"),
        "KVMBPF_BPFFS": str(folder.parent / "bpf"),
        "KVMBPF_CACHE": str(folder.parent / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    environment = {k: v for k, v in (os.environ | own | more).items() if k not in without}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("kvmbpf: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


@every_writing
def test_a_device_is_written_into(folder: Path, arguments: list[str]) -> None:
    null = make_device(folder / "null", 3)
    (folder / "out").symlink_to("null")
    before = null.stat()
    done = run(folder, [*KVMBPF, *arguments])
    assert (done.returncode, done.stderr) == (0, "")
    assert null.stat() == before
    assert (folder / "out").is_symlink()
    done = run(folder, [*KVMBPF, *arguments[:-1], "null"])
    assert (done.returncode, done.stderr) == (0, "")
    assert null.stat() == before
    assert names(folder) == ["dev.bpf.c", "dev.bpf.o", "null", "out"]


@every_of_ours
def test_standard_output_gets_the_file_and_nothing_else(folder: Path, arguments: list[str]) -> None:
    run(folder, [*KVMBPF, *arguments])
    (folder / "stdout").symlink_to("/proc/self/fd/1")
    words = [*arguments[:-1], "stdout"]
    form = ["--format", "dts"] if arguments[0] == "dt" and "--format" not in arguments else []
    with (folder / "copy").open("wb") as output:
        subprocess.run([*KVMBPF, *words, *form], cwd=folder, stdout=output, check=True)
    assert (folder / "copy").read_bytes() == (folder / "out").read_bytes()


@every_writing
def test_a_full_device_is_told(folder: Path, arguments: list[str]) -> None:
    full = make_device(folder / "full", 7)
    done = run(folder, [*KVMBPF, *arguments[:-1], "full"])
    assert_one_line(done, 15, "full: cannot be written: No space left on device; make room")
    assert done.stdout == ""
    assert full.is_char_device()


@every_writing
@pytest.mark.parametrize("there", [True, False], ids=["over another", "new"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, folder: Path, arguments: list[str], there: bool
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [str(folder / word) if word.startswith("dev.") else word for word in arguments]
    fill = ("printf old >out; " if there else "") + "cat /dev/zero >filler 2>/dev/null"
    command = ["sh", "-c", '"$@"; code=$?; cat out; exit $code', "sh", *KVMBPF, *words]
    done = run(folder, on_full_disk(disk, 16, command, first=fill))
    said, _, missing = done.stderr.partition("\n")
    assert (done.returncode, done.stdout) == (15, "old" if there else "")
    assert said.startswith("kvmbpf: out: cannot be written: No space left on device; make room")
    assert missing.count("\n") == (0 if there else 1)  # cat's own
    assert left_there(disk) == (["filler", "out"] if there else ["filler"])


@every_of_ours
def test_a_limit_of_files_is_told(folder: Path, arguments: list[str]) -> None:
    (folder / "out").write_text("old")
    done = run(folder, limited("-f", 0, [*KVMBPF, *arguments]))
    assert_one_line(done, 15, "out: cannot be written: File too large; ", "ulimit -f")
    assert (folder / "out").read_text() == "old"
    assert names(folder) == ["dev.bpf.c", "dev.bpf.o", "out"]


@pytest.mark.parametrize("descriptors", [8, 9, 11, 14, 20])
@pytest.mark.parametrize("arguments", (WRITING | OTHERS).values(), ids=WRITING | OTHERS)
def test_few_descriptors_are_enough_or_told(
    folder: Path, arguments: list[str], descriptors: int
) -> None:
    before = names(folder)
    done = run(folder, limited("-n", descriptors, [*KVMBPF, *arguments]))
    if arguments[0] == "attach" or (done.returncode and "open files" not in done.stderr):
        # These have something else to say: what runs the tests is no VMM, and may have no lab.
        assert_one_line(done, done.returncode)
    elif done.returncode:
        assert done.returncode in EXIT_CODES
        assert_one_line(done, done.returncode, "Too many open files", "ulimit -n")
        assert names(folder) == before
    else:
        assert (done.stderr.count("\n"), bool(done.stdout or "-o" in arguments)) == (0, True)


@pytest.mark.parametrize("arguments", [OTHERS["inspect"], OTHERS["check"]])
def test_little_memory_is_told(folder: Path, arguments: list[str]) -> None:
    """With ever more memory, from where Python has not come to the command yet."""
    told = 0
    for kib in range(12000, 200000, 1000):
        done = run(folder, limited("-v", kib, [*KVMBPF, *arguments]))
        if done.returncode == 0:
            break
        if done.stderr.startswith("kvmbpf: "):
            told += 1
            assert_one_line(done, 10, "Cannot allocate memory", "ulimit -v")
    assert done.returncode == 0
    assert told


@pytest.mark.parametrize("arguments", [["lab", "status"], ["lab", "build"], ["lab", "clean"]])
def test_a_user_without_a_home_is_told_of_the_cache(folder: Path, arguments: list[str]) -> None:
    command = ["setpriv", "--reuid=54321", "--clear-groups", *KVMBPF, *arguments]
    done = run(folder, command, ("HOME", "KVMBPF_CACHE", "XDG_CACHE_HOME"))
    assert_one_line(done, 12, "cache folder: found no home folder", "set KVMBPF_CACHE")


def test_a_cache_that_takes_no_file_is_told(folder: Path) -> None:
    cache = folder.parent / "cache"
    cache.mkdir(mode=0o500)
    done = run(folder, unprivileged([*KVMBPF, "lab", "build"]))
    assert_one_line(done, 18, f"{cache}/lock: cannot open the lock (Permission denied)", "set KVM")
    done = run(folder, unprivileged([*KVMBPF, "lab", "build"]), KVMBPF_CACHE=f"{cache}/more")
    assert_one_line(done, 18, "cannot make the cache folder (Permission denied); set KVMBPF_CACHE")


def read_only(command: Sequence[str]) -> list[str]:
    """What runs a command where no file can be made, in a mount namespace of its own."""
    mounts = "for d in / /tmp /var/tmp; do mount -o remount,bind,ro $d 2>/dev/null; done"
    return ["unshare", "-rm", "sh", "-c", f'{mounts}; exec "$@"', "sh", *command]


def test_without_a_temporary_folder_the_disassembler_is_told_of_it(folder: Path) -> None:
    done = run(folder, read_only([*KVMBPF, "acpi", *PLACE, "--format", "dsl", "dev.bpf.o"]))
    assert_one_line(done, 10, "No usable temporary directory", "set TMPDIR to a folder")


@every_of_ours
def test_what_is_written_needs_no_other_file(folder: Path, arguments: list[str]) -> None:
    make_device(folder / "null", 3)
    done = run(folder, read_only([*KVMBPF, *arguments[:-1], "null"]))
    assert (done.returncode, done.stderr) == (0, "")
    done = run(folder, read_only([*KVMBPF, *arguments]))
    assert_one_line(done, 15, "out: cannot be written: Read-only file system; write elsewhere")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("exit 3", "exit status 3"),
        ("kill -XFSZ $$", "SIGXFSZ"),
        ("echo Error: why >&2; exit 1", "Error: why"),
    ],
)
def test_a_disassembler_that_fails_is_quoted(folder: Path, wrong: str, words: str) -> None:
    iasl = folder / "bin" / "iasl"
    iasl.parent.mkdir()
    iasl.write_text(f"#!/bin/sh\n{wrong}\n")
    iasl.chmod(0o755)
    path = f"{iasl.parent}:{os.environ['PATH']}"
    done = run(folder, [*KVMBPF, "acpi", *PLACE, "--format", "dsl", "dev.bpf.o"], PATH=path)
    assert_one_line(done, 12, "iasl: found one that fails", words)


@pytest.mark.parametrize(
    "arguments", (WRITING | {"new": OTHERS["new"], "list": OTHERS["list"]}).values()
)
def test_a_folder_that_was_removed_is_told(folder: Path, arguments: list[str]) -> None:
    gone = folder.parent / "gone"
    gone.mkdir()
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    words = [str(folder / word) if word.startswith("dev.") else word for word in arguments]
    done = run(folder, ["sh", "-c", script, str(gone), *KVMBPF, *words])
    if arguments[0] == "list":
        assert (done.returncode, done.stdout) == (0, "no devices attached\n")
    else:
        assert_one_line(done, 15, "No such file or directory")
