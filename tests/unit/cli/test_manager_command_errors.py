# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong input to the commands on attached devices: one line, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.commands import assert_refused, run_kvmbpf

OBJECT, TEXT, EMPTY = "@object", "@text", "@empty"
TABLE: list[tuple[str, list[str], int, str]] = [
    # update
    ("update: nothing named", ["update"], 2, "OBJECT"),
    ("update: no such file", ["update", "absent.o"], 15, "absent.o: "),
    ("update: a folder", ["update", "/"], 15, "/: "),
    ("update: not an ELF file", ["update", TEXT], 15, "not an ELF"),
    ("update: an empty file", ["update", EMPTY], 15, "expected an ELF file"),
    ("update: two objects", ["update", OBJECT, OBJECT], 2, "unexpected extra argument"),
    ("update: nothing attached", ["update", OBJECT], 13, "no device demo is attached to any VM"),
    (
        "update: no such VM",
        ["update", OBJECT, "--vm", "x"],
        13,
        "no device demo is attached to VM x",
    ),
    ("update: a path for a VM", ["update", OBJECT, "--vm", "../x"], 13, "is attached to VM ../x;"),
    ("update: dry run of nothing", ["update", OBJECT, "--dry-run"], 13, "no device demo"),
    # reset
    ("reset: nothing named", ["reset"], 2, "DEVICE"),
    ("reset: nothing attached", ["reset", "demo"], 13, "no device demo is attached to any VM"),
    ("reset: no such VM", ["reset", "demo", "--vm", "x"], 13, "attached to VM x"),
    ("reset: a path for a device", ["reset", "../demo"], 13, "device name '../demo'"),
    ("reset: two devices", ["reset", "a", "b"], 2, "unexpected extra argument"),
    # limits
    ("limits: nothing named", ["limits"], 2, "DEVICE"),
    ("limits: nothing attached", ["limits", "demo"], 13, "no device demo is attached to any VM"),
    ("limits: none to set them of", ["limits", "demo", "--max-faults", "1"], 13, "no device demo"),
    ("limits: a path for a device", ["limits", "a/b"], 13, "device name 'a/b'"),
    ("limits: a path for a VM", ["limits", "demo", "--vm", "../x"], 13, "is attached to VM ../x;"),
    ("limits: faults below 0", ["limits", "demo", "--max-faults", "-1"], 2, "--max-faults"),
    ("limits: too many faults", ["limits", "demo", "--max-faults", "4294967295"], 2, "range"),
    ("limits: no number", ["limits", "demo", "--max-faults", "many"], 2, "'many'"),
    ("limits: no unit", ["limits", "demo", "--max-run", "5"], 2, "'5' is no time"),
    ("limits: too long", ["limits", "demo", "--max-run", "99999999999s"], 2, "is more than"),
    # detach
    ("detach: nothing named", ["detach"], 2, "DEVICE"),
    ("detach: nothing attached", ["detach", "demo"], 13, "see `kvmbpf list`"),
    ("detach: no such VM", ["detach", "demo", "--vm", "absent"], 13, "VM absent"),
    ("detach: a path for a device", ["detach", "../demo"], 13, "device name '../demo'"),
    ("detach: no name at all", ["detach", ""], 13, "device name ''"),
    ("detach: too long", ["detach", "x" * 64], 13, "up to 63 letters"),
    ("detach: a line end", ["detach", "demo\n"], 13, "device name 'demo\\n'"),
    ("detach: a VM's name that is none", ["detach", "demo", "--vm", ""], 13, "VM name ''"),
    ("detach: unknown option", ["detach", "demo", "--now"], 2, "--now"),
    # list
    ("list: an argument", ["list", "demo"], 2, "unexpected extra argument"),
    # info
    ("info: nothing named", ["info"], 2, "DEVICE"),
    ("info: nothing attached", ["info", "demo"], 13, "no device demo"),
    ("info: a path for a device", ["info", "/etc/passwd"], 13, "device name"),
    # stat
    ("stat: nothing attached", ["stat", "demo"], 13, "no device demo"),
    ("stat: no interval", ["stat", "--interval", "0"], 2, "--interval"),
    ("stat: an interval back", ["stat", "--interval=-1"], 2, "--interval"),
    ("stat: not a number", ["stat", "--interval", "often"], 2, "often"),
    ("stat: nan", ["stat", "--interval", "nan"], 2, "nan"),
    ("stat: for ever", ["stat", "--interval", "inf"], 2, "inf"),
    ("stat: a count of nothing", ["stat", "--count", "3"], 2, "--count goes with --interval"),
    ("stat: never", ["stat", "--interval", "1", "--count", "0"], 2, "--count"),
    ("stat: two devices", ["stat", "a", "b"], 2, "unexpected extra argument"),
    # log
    ("log: nothing named", ["log"], 2, "DEVICE"),
    ("log: nothing attached", ["log", "demo"], 13, "no device demo"),
    ("log: a path for a device", ["log", "--follow", "a/b"], 13, "device name 'a/b'"),
    # trace
    ("trace: nothing named", ["trace"], 2, "DEVICE"),
    ("trace: nothing attached", ["trace", "demo"], 13, "no device demo"),
    ("trace: no accesses", ["trace", "demo", "--count", "0"], 2, "--count"),
    ("trace: no time", ["trace", "demo", "--duration", "0"], 2, "--duration"),
    ("trace: not a time", ["trace", "demo", "--duration", "nan?"], 2, "nan?"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_wrong_input(
    tmp_path: Path, demo_v1: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "text").write_text("text\n")
    (tmp_path / "empty").touch()
    files = {
        OBJECT: str(demo_v1),
        TEXT: str(tmp_path / "text"),
        EMPTY: str(tmp_path / "empty"),
    }
    done = run_kvmbpf(tmp_path, *(files.get(item, item) for item in arguments))
    assert_refused(done, code, sentence)


def test_nothing_attached_is_said(tmp_path: Path) -> None:
    done = run_kvmbpf(tmp_path, "list")
    assert (done.returncode, done.stdout) == (0, "no devices attached\n")
    done = run_kvmbpf(tmp_path, "list", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"schema": 1, "devices": []})


@pytest.mark.parametrize("place", ["run", "bpf/kvmbpf"])
@pytest.mark.parametrize("command", [["list"], ["detach", "demo"], ["info", "demo"]])
def test_a_file_where_a_folder_should_be_is_no_device(
    tmp_path: Path, place: str, command: list[str]
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    done = run_kvmbpf(tmp_path, *command)
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) in ((0, "no devices attached\n"), (13, ""))


def test_what_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    """Names that kvmbpf would not give are passed over, and not removed."""
    strange = [tmp_path / "run/a b", tmp_path / "run/.hidden", tmp_path / "bpf/kvmbpf/-x"]
    for path in strange:
        path.mkdir(parents=True)
    done = run_kvmbpf(tmp_path, "list")
    assert (done.returncode, done.stdout) == (0, "no devices attached\n")
    assert all(path.is_dir() for path in strange)


def test_a_run_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """A VM's leftovers would be swept: first it must be the user's own place."""
    (tmp_path / "run/vm").mkdir(parents=True)
    (tmp_path / "run").chmod(0o755)
    done = run_kvmbpf(tmp_path, "list")
    assert done.returncode == 13
    assert "mode 755: it must be" in done.stderr
    assert "mode 700" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_cannot_be_read_is_listed_and_costs_the_others_nothing(tmp_path: Path) -> None:
    """A file where a link's pin should be: neither is one."""
    for device in ("first", "second"):
        pins = tmp_path / "bpf/kvmbpf/vm" / device
        pins.mkdir(parents=True)
        (pins / "link").touch()
    done = run_kvmbpf(tmp_path, "list")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = (line.split(maxsplit=5) for line in done.stdout.splitlines())
    assert head == ["VM", "PID", "DEVICE", "REGIONS", "IRQS", "OBJECT"]
    assert [row[:5] for row in rows] == [
        ["vm", "-", "first", "-", "-"],
        ["vm", "-", "second", "-", "-"],
    ]
    for row in rows:
        assert row[5].startswith("unreadable: ")
        assert "not a pin: a pinned link was expected" in row[5]
    done = run_kvmbpf(tmp_path, "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    devices = json.loads(done.stdout)["devices"]
    assert [one["device"] for one in devices] == ["first", "second"]
    for one in devices:
        assert "a pinned link was expected" in one["unreadable"]
        assert one["attached"] is one["state"] is one["regions"] is None
    done = run_kvmbpf(tmp_path, "detach", "first")
    assert (done.returncode, done.stdout) == (0, "detached first from VM vm\n")
    assert not (tmp_path / "bpf/kvmbpf/vm/first").exists()
