# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong around a kernel: one line, what and where and the mend, and its code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.lab.fake_lab import FakeLab, make_tree

Spoil = Callable[[FakeLab], object]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FakeLab]:
    world = FakeLab(tmp_path)
    yield world
    world.close()


def _no_tool(name: str) -> Spoil:
    return lambda lab: (lab.tools / name).unlink()


def _make_fails(text: str, target: str = "bzImage") -> Spoil:
    return lambda lab: (lab.folder / f"fail-{target}").write_text(text)


def _full(tool: str) -> Spoil:
    line = f"{tool}: write error: No space left on device"
    return lambda lab: lab.write_tool(tool, f'echo "{line}" >&2\nexit 1\n')


def _no_room(lab: FakeLab) -> None:
    """Make the build think of a disk that has no room at all."""
    driver = lab.folder / "sitecustomize.py"
    driver.write_text("import os\nos.statvfs = lambda path: os.statvfs_result([512] + [0] * 10)\n")
    os.environ["PYTHONPATH"] = str(lab.folder)


def _write(name: str, text: str) -> Spoil:
    return lambda lab: (lab.series / name).write_text(text)


def _other_context(lab: FakeLab) -> None:
    patch = lab.series / "0001-a.patch"
    patch.write_text(patch.read_text().replace("-second", "-sekond"))


def _other_version(lab: FakeLab) -> None:
    (make_tree(lab.folder / "mine") / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\n")


MINE = ("--source", "@/mine")
MEND_DISK = "make room on the disk of .*kvmbpf lab clean.*KVMBPF_CACHE"
TABLE: list[tuple[str, Spoil, tuple[str, ...], int, str]] = [
    *(
        (f"no {tool}", _no_tool(tool), (), 12, f"{tool}: found nothing on PATH, needed .*{mend}")
        for tool, mend in (
            ("bc", "apt-get install bc"),
            ("flex", "apt-get install flex"),
            ("gcc", "apt-get install gcc make"),
            ("ld", "apt-get install gcc make"),
            ("make", "apt-get install make"),
            ("pahole", "apt-get install dwarves"),
        )
    ),
    (
        "no source package",
        lambda lab: next(lab.packages.iterdir()).unlink(),
        (),
        12,
        r"kernel source: found no .*, needed .*; apt-get install linux-source-0\.0, or .* --source",
    ),
    ("no such tree", lambda lab: None, MINE, 12, "found no kernel source in .*/mine, needed Linux"),
    (
        "not a kernel tree",
        lambda lab: (lab.folder / "mine").mkdir(),
        MINE,
        12,
        r"found no kernel source in .*/mine, needed Linux 0\.0; name a source tree .* --source",
    ),
    (
        "another version",
        _other_version,
        MINE,
        12,
        r"found Linux 6\.1 in .*/mine, needed Linux 0\.0; name a source tree of Linux 0\.0",
    ),
    (
        "a damaged git tree",
        lambda lab: (make_tree(lab.folder / "mine") / ".git").mkdir(),
        MINE,
        18,
        "/mine: git cannot read it: fatal: not a git repository",
    ),
    ("no room", _no_room, (), 18, f"0 MiB free, a kernel build needs 4096; {MEND_DISK}"),
    ("tar full", _full("tar"), (), 18, f"unpacking failed: .*No space left on device; {MEND_DISK}"),
    (
        "make full",
        _make_fails("x.c: error: y\nfatal: No space left on device\n"),
        (),
        18,
        rf"make bzImage modules\) failed: fatal: No space left on device; log: .*; {MEND_DISK}",
    ),
    (
        "make fails",
        _make_fails("a.c:3:1: error: this\n"),
        (),
        18,
        r"make bzImage modules\) failed: a\.c:3:1: error: this; log: .*/build-\w+\.log$",
    ),
    (
        "a patch does not apply",
        _other_context,
        (),
        18,
        r"0001-a\.patch does not apply to .*: patch failed: dir/one\.c:1; rebase the series",
    ),
    (
        "a damaged patch",
        _write("0001-a.patch", "nothing\n"),
        (),
        18,
        r"0001-a\.patch: not a usable patch",
    ),
    (
        "an option is dropped",
        lambda lab: (lab.folder / "dropped").write_text("CONFIG_A"),
        (),
        18,
        r"config\.fragment: CONFIG_A=y came out as n: .*; add that to the fragment, or take",
    ),
    (
        "a debug option is dropped",
        lambda lab: (lab.folder / "dropped").write_text("KASAN"),
        ("--debug",),
        18,
        r"debug\.fragment: CONFIG_KASAN=y came out as n",
    ),
    (
        "a fragment's line",
        _write("debug.fragment", "CONFIG_KASAN\n"),
        ("--debug",),
        15,
        r"debug\.fragment: line 1 is not CONFIG_NAME=value",
    ),
    (
        "no fragment",
        lambda lab: (lab.series / "debug.fragment").unlink(),
        (),
        15,
        r"debug\.fragment: missing",
    ),
    ("not TOML", _write("series.toml", "= "), (), 15, r"series\.toml: not TOML"),
]


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "sentence"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_a_build_that_fails_says_why(
    lab: FakeLab,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    spoil(lab)
    done = lab.run("build", *(item.replace("@", str(lab.folder)) for item in arguments))
    lines = [line for line in done.stderr.splitlines() if not line.startswith("lab: ")]
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1
    assert lines[0].startswith("kvmbpf: ")
    assert re.search(sentence, lines[0]), lines[0]


def test_a_shell_without_a_terminal_is_a_wrong_command_line(lab: FakeLab) -> None:
    done = lab.run("shell")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "needs a terminal on standard input" in line
    assert "kvmbpf lab run -- COMMAND" in line
    assert lab.calls("tar") == 0, "it is said before anything is built"


@pytest.mark.parametrize(
    "arguments",
    [
        ("clean", "--all", "--keep", "1"),
        ("clean", "--keep", "-1"),
        ("run", "--boot-timeout", "0", "--", "true"),
        ("run", "--debug"),
        ("build", "--frobnicate"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_refused(lab: FakeLab, arguments: tuple[str, ...]) -> None:
    done = lab.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
