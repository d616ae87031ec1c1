# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.writing: what has the name decides, and half a file is never seen."""

from __future__ import annotations

import ast
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError
from kvmbpf.writing import PARTIAL, write_output, write_own
from tests.places import ROOT
from tests.scarce import left_there, limited, on_full_disk, unprivileged

NEW = b"new\n" * 4096
WRITE = """
import sys
from pathlib import Path
from kvmbpf.errors import BadFileError
from kvmbpf.writing import write_output
try:
    write_output(Path(sys.argv[1]), b"new\\n" * 4096)
except BadFileError as error:
    sys.exit(str(error))
"""


def writer(path: Path | str) -> list[str]:
    """A process that writes NEW."""
    return [sys.executable, "-c", WRITE, str(path)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_its_mode_by_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_output(tmp_path / "x", NEW)
    finally:
        os.umask(before)
    assert (tmp_path / "x").read_bytes() == NEW
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o666, 0o755])
def test_a_regular_file_is_replaced_and_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(mode)
    with path.open("rb") as before:
        write_output(path, NEW)
        assert before.read() == b"old", "who has it open sees all of the old one"
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names(tmp_path) == ["x"]


def test_a_regular_file_keeps_its_owner_and_loses_its_special_bits(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    os.chown(path, 12345, 23456)
    path.chmod(0o6755)
    write_output(path, NEW)
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)
    assert stat.S_IMODE(found.st_mode) == 0o755


def test_the_rights_of_a_group_that_cannot_be_kept_are_not(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    os.chown(path, -1, 23456)
    path.chmod(0o664)
    done = run(unprivileged(writer(path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_another_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / "other").hardlink_to(tmp_path / "x")
    write_output(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW
    assert (tmp_path / "other").read_text() == "old"


@pytest.mark.parametrize("there", [True, False], ids=["file", "nothing"])
@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_links_are_followed_and_stay(tmp_path: Path, there: bool, relative: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if there:
        (folder / "x").write_text("old")
    (tmp_path / "first").symlink_to("folder/second" if relative else folder / "second")
    (folder / "second").symlink_to("x" if relative else folder / "x")
    write_output(tmp_path / "first", NEW)
    assert (tmp_path / "first").is_symlink()
    assert (folder / "second").is_symlink()
    assert (folder / "x").read_bytes() == NEW
    assert names(folder) == ["second", "x"]
    assert names(tmp_path) == ["first", "folder"]


def test_links_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BadFileError, match="a: cannot be written: Too many levels of symbolic"):
        write_output(tmp_path / "a", NEW)
    assert names(tmp_path) == ["a", "b"]


def test_a_link_to_a_missing_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("absent/b")
    with pytest.raises(BadFileError, match="a: cannot be written: No such file or directory"):
        write_output(tmp_path / "a", NEW)


def test_a_fifo_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    (tmp_path / "link").symlink_to("fifo")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    write_output(tmp_path / "link", NEW)
    reader.join()
    assert found == [NEW]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert names(tmp_path) == ["fifo", "link"]


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "a link to it"])
def test_a_device_is_written_into(tmp_path: Path, linked: bool) -> None:
    path = tmp_path / "null"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "link").symlink_to("null")
    before = path.stat()
    write_output(tmp_path / "link" if linked else path, NEW)
    assert path.stat() == before
    assert names(tmp_path) == ["link", "null"]


def test_a_device_that_is_full_is_told(tmp_path: Path) -> None:
    os.mknod(tmp_path / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    with pytest.raises(BadFileError, match=r"full: cannot be written: No space left .*; make room"):
        write_output(tmp_path / "full", NEW)
    assert stat.S_ISCHR((tmp_path / "full").stat().st_mode)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def make_block_device(path: Path) -> None:
    # The number of no driver.
    os.mknod(path, 0o666 | stat.S_IFBLK, os.makedev(0xFFF, 0xFFFFF))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_folder, "Is a directory"),
        (make_socket, "a socket, expected"),
        (make_block_device, "a block device; write to a file"),
    ],
)
def test_what_takes_no_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / "x")
    before = (tmp_path / "x").stat()
    with pytest.raises(BadFileError, match=f"x: cannot be written: {words}"):
        write_output(tmp_path / "x", NEW)
    assert (tmp_path / "x").stat() == before
    assert names(tmp_path) == ["x"]


def make_stdout(folder: Path) -> Path:
    """Make what /dev/stdout is: a test never writes to that by its name."""
    path = folder / "stdout"
    path.symlink_to("/proc/self/fd/1")
    return path


def test_standard_output_is_written_to_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "all"
    with path.open("wb") as output:
        output.write(b"before\n")
        output.flush()
        for name in (make_stdout(tmp_path), "/dev/fd/1", "/proc/self/fd/1"):
            subprocess.run(writer(name), stdout=output, cwd=ROOT, check=True)
        output.write(b"after\n")
    assert path.read_bytes() == b"before\n" + 3 * NEW + b"after\n"


def test_a_socket_that_is_standard_output_is_written_to(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        subprocess.run(writer(make_stdout(tmp_path)), stdout=theirs.fileno(), cwd=ROOT, check=True)
        theirs.close()
        with ours.makefile("rb") as reader:
            assert reader.read() == NEW


def test_a_pipe_that_does_not_block_is_waited_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with (
        os.fdopen(reading, "rb") as reader,
        subprocess.Popen(
            [sys.executable, "-c", WRITE.replace("4096", "400000"), str(make_stdout(tmp_path))],
            stdout=writing,
            cwd=ROOT,
        ) as process,
    ):
        os.close(writing)
        assert reader.read() == b"new\n" * 400000
    assert process.returncode == 0


def test_a_process_substitution_is_written_to(tmp_path: Path) -> None:
    command = f'"$0" -c "$1" >(cat >{tmp_path}/copy); wait $!'
    done = run(["bash", "-c", command, sys.executable, WRITE])
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "copy").read_bytes() == NEW


def test_a_descriptor_that_is_closed_is_told() -> None:
    done = run(writer("/dev/fd/77"))
    assert done.stderr == "/dev/fd/77: cannot be written: Bad file descriptor\n"


def test_a_file_that_is_not_to_be_written_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o444)
    done = run(unprivileged(writer(path)))
    assert done.stderr == f"{path}: cannot be written: Permission denied\n"
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_a_file_in_a_folder_that_takes_none_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "x"
    path.write_bytes(b"old" * 40000)
    number = path.stat().st_ino
    folder.chmod(0o555)
    done = run(unprivileged(writer(path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes() == NEW
    assert path.stat().st_ino == number
    done = run(unprivileged(writer(folder / "other")))
    assert done.stderr == f"{folder}/other: cannot be written: Permission denied\n"
    assert names(folder) == ["x"]


def test_a_file_that_is_mounted_by_itself_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    script = 'mount --bind "$0" "$0" && exec "$@"'
    done = run(["unshare", "-rm", "sh", "-c", script, str(path), *writer(path)])
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes() == NEW
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("mode", [0o755, 0o555], ids=["replaced", "overwritten"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, mode: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    first = f"printf old >x; chmod {mode:o} ."
    command = unprivileged(writer(disk / "x"))
    check = ["sh", "-c", '"$@"; code=$?; cat x; exit $code', "sh", *command]
    done = run(on_full_disk(disk, 8, check, first=first))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{disk}/x: cannot be written: No space left on device; make ")
    assert done.stdout == "old"
    assert left_there(disk) == ["x"]


def test_a_limit_of_files_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    done = run(limited("-f", 4, writer(tmp_path / "x")))
    assert done.stderr == (
        f"{tmp_path}/x: cannot be written: File too large; "
        "let files be larger: ulimit -f unlimited\n"
    )
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("what", ["link", "file"])
def test_what_others_left_where_all_may_write_is_refused(tmp_path: Path, what: str) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.write_text("ours")
    path = shared / "x"
    if what == "link":
        path.symlink_to(victim)
    else:
        path.write_text("theirs")
    os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(BadFileError, match=f"x: cannot be written: a {what} of user 12345 in"):
        write_output(path, NEW)
    assert victim.read_text() == "ours"
    assert names(shared) == ["x"]
    os.chown(path, os.geteuid(), -1, follow_symlinks=False)
    write_output(path, NEW)  # one's own is as good as elsewhere
    assert (victim if what == "link" else path).read_bytes() == NEW


def test_a_file_of_our_own_replaces_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("left")
    (tmp_path / "x").symlink_to("victim")
    write_own(tmp_path / "x", "text")
    assert not (tmp_path / "x").is_symlink()
    assert (tmp_path / "x").read_text() == "text"
    assert (tmp_path / "victim").read_text() == "left"
    assert names(tmp_path) == ["victim", "x"]


def test_a_file_of_our_own_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError):
        write_own(tmp_path / "x", "text")
    assert names(tmp_path) == ["x"]


def test_a_file_of_our_own_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kvmbpf.writing import write_own\n"
        "try: write_own(Path(sys.argv[1]), 'x' * 8000)\n"
        "except OSError as error: print(error.filename, error.strerror)"
    )
    done = run(limited("-f", 1, [sys.executable, "-c", code, str(tmp_path / "x")]))
    assert (done.stdout, done.stderr) == (f"{tmp_path}/x File too large\n", "")
    assert names(tmp_path) == []


def test_what_a_killed_writer_leaves_bears_the_name_that_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from kvmbpf import writing; "
        "writing._write_all = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "writing.write_own(Path(sys.argv[1]), 'text')"
    )
    assert run([sys.executable, "-c", code, str(tmp_path / "x")]).returncode == -9
    (left,) = names(tmp_path)
    assert left.endswith(PARTIAL)


def test_nothing_else_renames_a_file_over_another() -> None:
    """`Path.replace` has one argument, `str.replace` two."""
    others = {"kvmbpf/writing.py", "kvmbpf/testing/build.py"}  # the latter moves a folder's files
    found = set()
    for path in (*(ROOT / "kvmbpf").rglob("*.py"), *(ROOT / "qemu_glue").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            one = len(node.args) == 1 and not node.keywords
            of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
            if node.func.attr in ("replace", "rename", "renames") and (one or of_os):
                found.add(str(path.relative_to(ROOT)))
    assert found == others
