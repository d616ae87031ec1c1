# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.cli.standard: no output is lost in silence, whatever the streams are."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.cli import COMMANDS
from tests.header_examples import DESIGN_EXAMPLE
from tests.scarce import limited
from tests.unit.cli.commands import KVMBPF

FULL = "kvmbpf: write(standard output): ENOSPC (No space left on device); make room there,"
CLOSED = "kvmbpf: write(standard output): EBADF (Bad file descriptor); open it for writing;"
# What prints without privilege, in a folder with a source and its object.
PRINTING: dict[str, list[str]] = {
    "help": ["--help"],
    "version": ["--version"],
    "inspect": ["inspect", "dev.bpf.o"],
    "inspect as JSON": ["inspect", "--json", "dev.bpf.o"],
    "check": ["check", "dev.bpf.o"],
    "check as JSON": ["check", "--json", "dev.bpf.o"],
    "dt": ["dt", "--at", "0xfef00000", "--gsi", "5", "dev.bpf.o"],
    "dtb": ["dt", "--at", "0xfef00000", "--gsi", "5", "--format", "dtb", "dev.bpf.o"],
    "acpi": ["acpi", "--machine", "q35", "dev.bpf.o"],
    "acpi as text": ["acpi", "--machine", "q35", "--format", "dsl", "dev.bpf.o"],
    "build": ["build", "dev.bpf.c"],
    "new": ["new", "bell"],
    "completion for bash": ["completion", "bash"],
    "completion for zsh": ["completion", "zsh"],
    "list": ["list"],
    "list as JSON": ["list", "--json"],
    "lab status": ["lab", "status"],
    "lab clean": ["lab", "clean", "--dry-run"],
}
HELP: dict[str, list[str]] = {
    "lab run's help": ["lab", "run", "--help"],
    **{f"{name}'s help": [name, "--help"] for name in COMMANDS},
}
every_printing = pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path, demo_v1: Path) -> Iterator[Path]:
    """A folder with a source and an object, where the commands run."""
    (tmp_path / "dev.bpf.o").write_bytes(demo_v1.read_bytes())
    (tmp_path / "dev.bpf.c").write_text(DESIGN_EXAMPLE)
    yield tmp_path
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


def run(
    folder: Path, command: list[str], stdout: int | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command, with a store and a cache of the folder."""
    own = {
        "KVMBPF_RUN_DIR": str(folder / "run"),
        "KVMBPF_BPFFS": str(folder / "bpf"),
        "KVMBPF_CACHE": str(folder / "cache"),
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | own | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )


def with_shell(redirections: str, arguments: list[str]) -> list[str]:
    """A shell that runs kvmbpf with redirections of its own."""
    return ["sh", "-c", f'exec "$@" {redirections}', "sh", *KVMBPF, *arguments]


def assert_one_line(done: subprocess.CompletedProcess[str], start: str) -> None:
    assert done.returncode == 10
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", (PRINTING | HELP).values(), ids=PRINTING | HELP)
def test_a_full_disk_is_told(folder: Path, arguments: list[str]) -> None:
    assert_one_line(run(folder, with_shell(">/dev/full", arguments)), FULL)


@every_printing
def test_a_closed_standard_output_is_told(folder: Path, arguments: list[str]) -> None:
    assert_one_line(run(folder, with_shell(">&-", arguments)), CLOSED)


@pytest.mark.parametrize("arguments", [["new", "bell"], ["build", "dev.bpf.c", "-o", "x.o"]])
def test_with_a_closed_standard_output_nothing_is_done(folder: Path, arguments: list[str]) -> None:
    assert_one_line(run(folder, with_shell(">&-", arguments)), CLOSED)
    assert names(folder) == ["dev.bpf.c", "dev.bpf.o"]


def test_a_standard_output_that_is_only_read_is_told(folder: Path) -> None:
    assert_one_line(run(folder, with_shell("1</dev/null", ["list"])), CLOSED)


@every_printing
def test_a_reader_that_went_away_is_no_error(folder: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(folder, [*KVMBPF, *arguments], writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_reader_of_one_line_gets_it(folder: Path) -> None:
    script = '"$@" | head -1; test ${PIPESTATUS[0]} = 0 -o ${PIPESTATUS[0]} = 141'
    done = run(folder, ["bash", "-c", script, "bash", *KVMBPF, "inspect", "dev.bpf.o"])
    assert (done.stdout.split(), done.stderr) == (["device", "demo"], "")


@every_printing
@pytest.mark.parametrize("redirection", ["<&- 2>&-", "2>/dev/full"])
def test_the_other_streams_may_be_missing(
    folder: Path, arguments: list[str], redirection: str
) -> None:
    done = run(folder, with_shell(redirection, arguments))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-", ">/dev/full 2>&1"])
def test_an_error_that_cannot_be_told_keeps_its_status(folder: Path, redirection: str) -> None:
    done = run(folder, with_shell(redirection, ["inspect", "absent.o"]))
    assert (done.returncode, done.stdout, done.stderr) == (15, "", "")
    done = run(folder, with_shell(redirection, ["inspect", "--frobnicate"]))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_no_file_of_ours_gets_the_number_of_a_closed_stream(folder: Path) -> None:
    """What clang and libraries say on standard error must not go into an object."""
    done = run(folder, with_shell("<&- 2>&-", ["build", "dev.bpf.c", "-o", "x.o"]))
    assert (done.returncode, done.stdout) == (0, "built x.o\n")
    again = run(folder, [*KVMBPF, "build", "dev.bpf.c", "-o", "y.o"])
    assert again.returncode == 0
    assert (folder / "x.o").read_bytes() == (folder / "y.o").read_bytes()


def test_output_in_parts_is_whole_where_the_pipe_does_not_block(
    folder: Path, everything: Path
) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    command = [*KVMBPF, "inspect", "--json", str(everything)]
    with subprocess.Popen(
        command, cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(writing)
        with os.fdopen(reading) as reader:
            found = reader.read()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert len(found) > 4096
    assert found == run(folder, command).stdout


def test_a_file_that_may_not_grow_is_told(folder: Path) -> None:
    with (folder / "out").open("wb") as output:
        done = run(
            folder, limited("-f", 1, [*KVMBPF, "inspect", "--json", "dev.bpf.o"]), output.fileno()
        )
    assert_one_line(done, "kvmbpf: write(standard output): EFBIG (File too large); let files be")


def test_output_that_failed_is_told_though_the_command_took_it_for_something_else() -> None:
    code = """
import contextlib, click, sys
from kvmbpf.cli.standard import run_command

def body():
    with contextlib.suppress(OSError):
        click.echo("lost")
    click.echo("lost as well")
    return 0

sys.exit(run_command(body))
"""
    done = run(Path(), ["sh", "-c", 'exec "$@" >/dev/full', "sh", sys.executable, "-c", code])
    assert_one_line(done, FULL)


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        ("OSError(24, 'Too many open files')", 10, "EMFILE (Too many open files); let it have"),
        ("OSError(28, 'No space', 'a')", 10, "a: ENOSPC (No space); make room there"),
        ("MemoryError()", 10, "memory: ENOMEM (Cannot allocate memory); let it have more"),
        ("ImportError('x.so: Too many open files')", 10, "EMFILE (Too many open files); let"),
        ('RuntimeError("can\'t start new thread")', 10, "EAGAIN"),
        ("KeyboardInterrupt()", 130, "interrupted"),
        ("SystemExit(7)", 7, ""),
        ("OSError('of no number')", 10, "error (of no number)"),
    ],
)
def test_what_no_command_has_a_line_for_gets_one(raised: str, status: int, words: str) -> None:
    code = f"""
import sys
from kvmbpf.cli.standard import run_command

def body():
    raise {raised}

sys.exit(run_command(body))
"""
    done = run(Path(), [sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == bool(words)


def test_a_console_is_told_in_lines_and_a_name_in_one() -> None:
    code = r"""
import sys
from kvmbpf.cli.standard import run_command
from kvmbpf.errors import LabError

def body():
    raise LabError("a\nb: it did not end", ("one", "two \x1b[1m"))

sys.exit(run_command(body))
"""
    done = run(Path(), [sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (18, "")
    assert done.stderr == (
        "kvmbpf: a\\x0ab: it did not end; its console ended with:\none\ntwo \\x1b[1m\n"
    )


@pytest.mark.parametrize("raised", ["ImportError('no such name')", "RuntimeError('wrong')"])
def test_a_mistake_of_ours_is_no_scarcity(raised: str) -> None:
    code = f"""
from kvmbpf.cli.standard import run_command

def body():
    raise {raised}

run_command(body)
"""
    done = run(Path(), [sys.executable, "-c", code])
    assert done.returncode == 1
    assert raised.partition("(")[0] in done.stderr
