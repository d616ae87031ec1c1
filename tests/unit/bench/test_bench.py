# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf bench``: what it prints, with measurements that are given."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kvmbpf.bench import (
    HOT_UPDATE,
    PATHS,
    AccessPath,
    Disturbance,
    Durations,
    Measurement,
    Parts,
    Report,
    UpdateCost,
    UpdateReport,
    measure,
)
from kvmbpf.bench.loop_guest import Access
from kvmbpf.bench.paced_guest import TimedAccess
from kvmbpf.bench.paths import EMPTY_LOOP, Loop, NoPortsError
from kvmbpf.bench.updating import check_replies
from kvmbpf.cli import cli
from kvmbpf.cli.bench import NAMES, table
from kvmbpf.errors import StateError, VmmError

BY_NAME = {path.name: path for path in PATHS}
COST = {
    "MMIO write, ioeventfd": 3000.0,
    "MMIO write, VMM": 4000.0,
    "MMIO write, eBPF": 3300.0,
    "MMIO read, VMM": 5000.0,
    "MMIO read, eBPF": 2500.0,
}


UPDATES = UpdateReport(
    UpdateCost(
        update_ns=(99, 100, 101),
        steps_ns={"open": (9, 10, 11), "load": (90, 90, 90)},
        command_ns=700,
        help_ns=600,
    ),
    Disturbance(6, Durations(5000, 10.0, 10.0, 20.0), Durations(6000, 10.0, 11.0, 15.0)),
    Disturbance(6, Durations(5000, 10.0, 12.0, 20.0), Durations(6000, 10.0, 13.0, 30.0)),
)


def report(**costs: float) -> Report:
    found = [Measurement(EMPTY_LOOP, (1.98, 2.0, 2.01))]
    found += [Measurement(BY_NAME[name], (cost,) * 3) for name, cost in (costs or COST).items()]
    found.append(Measurement(BY_NAME["PIO write, eBPF"], ()))
    return Report(10, tuple(found))


def test_names_are_distinct_and_say_what_they_are() -> None:
    assert len(BY_NAME) == len(PATHS)
    for path in PATHS[1:]:
        assert path.name == f"{path.group}, {path.answered_by}"
        assert path.access.name.endswith(path.group.split()[1].upper())
        assert path.access.name.startswith("PIO") is path.group.startswith("PIO")


def test_table() -> None:
    assert (
        table(report())
        == """\
path                      instructions   x ioeventfd     x VMM    spread

no access (loop alone)             2.0                             1.50%

MMIO write, ioeventfd           3000.0         1.000     0.750     0.00%
MMIO write, VMM                 4000.0         1.333     1.000     0.00%
MMIO write, eBPF                3300.0         1.100     0.825     0.00%

MMIO read, VMM                  5000.0                   1.000     0.00%
MMIO read, eBPF                 2500.0                   0.500     0.00%

PIO write, eBPF           not supported by this kernel"""
    )


def updates() -> Report:
    return Report(10, (Measurement(EMPTY_LOOP, (2.0,)),), UPDATES)


def test_table_of_updates() -> None:
    assert (
        table(updates()).partition("\n\n\n")[2]
        == """\
hot update                  instructions        spread

in all                               100         2.00%
  open                                10        20.00%
  load                                90         0.00%
kvmbpf update FILE                   700
kvmbpf update --help                 600


a read, instructions              median         p99.9       longest       x p99.9

no update, between ticks            10.0          10.0          20.0         2.000
update, between ticks               10.0          11.0          15.0         1.500

no update, with ticks               10.0          12.0          20.0         1.667
update, with ticks                  10.0          13.0          30.0         2.500"""
    )


@pytest.mark.parametrize("found", [report(), updates()])
def test_no_line_ends_in_blanks(found: Report) -> None:
    assert all(line == line.rstrip() for line in table(found).splitlines())


def test_json_of_updates() -> None:
    found = json.loads(json.dumps(updates().to_json()))["update"]
    assert found["cost"]["update_ns"] == [99, 100, 101]
    assert found["cost"]["steps_ns"]["load"] == [90, 90, 90]
    assert (found["cost"]["command_ns"], found["cost"]["help_ns"]) == (700, 600)
    assert found["between_ticks"]["ratio"] == 1.5
    assert found["with_ticks"]["during"]["longest_ns"] == 30.0
    assert report().to_json()["update"] is None


def test_durations() -> None:
    accesses = [TimedAccess(float(ns), 0) for ns in range(2000, 0, -1)]
    assert Durations.of(accesses) == Durations(2000, 1000.5, 1998.0, 2000.0)


def test_durations_of_too_few_accesses() -> None:
    with pytest.raises(StateError, match="hot update: only 999 accesses; measure more rounds"):
        Durations.of([TimedAccess(1.0, 0)] * 999)


# ---- the replies during updates -----------------------------------------------


def reply(version: int, generation: int, number: int) -> int:
    fields = version << 56 | (generation & 0xFFFF) << 32 | number & 0xFFFFFFFF
    checksum = 0x5A
    for byte in fields.to_bytes(8, "little"):
        checksum ^= byte
    return fields | checksum << 48


def test_good_replies() -> None:
    assert check_replies([]) == 0
    assert check_replies([reply(1, 7, 5), reply(1, 7, 6)]) == 0
    assert check_replies([reply(1, 0, 5), reply(2, 1, 6), reply(2, 1, 7), reply(1, 2, 8)]) == 2
    assert check_replies([reply(2, -1, -1), reply(1, 0, 0)]) == 1, "both wrap"


@pytest.mark.parametrize(
    "second",
    [
        reply(1, 3, 7),  # one was lost
        reply(1, 3, 5),  # the same twice
        reply(1, 4, 6),  # a change, and the same version
        reply(2, 3, 6),  # another version, and no change
        reply(2, 5, 6),  # a change that nobody saw
    ],
)
def test_replies_that_do_not_follow(second: int) -> None:
    with pytest.raises(VmmError, match=f"reply {second:#018x} does not follow number 5"):
        check_replies([reply(1, 3, 5), second])


def test_a_reply_of_two_versions() -> None:
    mixed = reply(1, 3, 5) ^ 3 << 56
    with pytest.raises(VmmError, match=f"a reply with a wrong checksum: {mixed:#018x}"):
        check_replies([reply(1, 3, 4), mixed])


def test_an_opponent_that_was_not_measured_has_no_ratio() -> None:
    found = report(**{"MMIO write, eBPF": 10.0})
    assert found.ratios(found.measurements[1]) == {}
    assert "1.000" not in table(found)


@pytest.mark.parametrize(("loop_ns", "unit"), [(2.0, "instructions"), (2.2, "ns"), (900.0, "ns")])
def test_the_unit_is_told_by_the_empty_loop(loop_ns: float, unit: str) -> None:
    assert Report(1, (Measurement(EMPTY_LOOP, (loop_ns,)),)).unit == unit


def test_json_has_a_schema_and_everything() -> None:
    document = json.loads(json.dumps(report().to_json()))
    assert document["schema"] == 1
    assert (document["unit"], document["count"]) == ("instructions", 10)
    assert {"kernel", "machine"} < set(document)
    paths = {item["path"]: item for item in document["paths"]}
    assert paths["MMIO write, eBPF"] == {
        "path": "MMIO write, eBPF",
        "group": "MMIO write",
        "answered_by": "eBPF",
        "supported": True,
        "per_access": 3300.0,
        "spread": 0.0,
        "rounds": [3300.0] * 3,
        "ratios": {"ioeventfd": 1.1, "VMM": 0.825},
    }
    absent = paths["PIO write, eBPF"]
    assert (absent["supported"], absent["per_access"], absent["rounds"]) == (False, None, [])
    assert absent["ratios"] == {}
    assert paths["no access (loop alone)"]["group"] is None


def scripted(error: Exception | None = None) -> tuple[AccessPath, list[int]]:
    """Return a path whose loop does nothing, and the counts that it is called with."""
    counts: list[int] = []

    @contextlib.contextmanager
    def ready(_: Parts) -> Iterator[Loop]:
        if error is not None:
            raise error
        yield lambda access, count: counts.append(count)

    return AccessPath("g", "a", Access.WRITE, ready), counts


def measured(
    path: AccessPath, monkeypatch: pytest.MonkeyPatch, progress: Callable[[str], object]
) -> Report:
    clock = itertools.accumulate(itertools.count())  # each interval longer than the last
    monkeypatch.setattr("time.monotonic_ns", lambda: next(clock))
    empty, _ = scripted()
    monkeypatch.setattr("kvmbpf.bench.measuring.EMPTY_LOOP", empty)
    return measure([path], Parts(Path("absent")), count=20, rounds=2, progress=progress)


def test_a_round_makes_n_accesses_and_twice_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    path, counts = scripted()
    seen: list[str] = []
    found = measured(path, monkeypatch, seen.append)
    assert counts == [3, 20, 40, 20, 40]
    assert [len(item.rounds_ns) for item in found.measurements] == [2, 2]
    assert seen == ["g, a", "g, a"]


def test_only_a_kernel_without_ports_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = scripted(NoPortsError())
    assert not measured(path, monkeypatch, print).measurements[1].supported
    path, _ = scripted(ValueError("other"))
    with pytest.raises(ValueError, match="other"):
        measured(path, monkeypatch, print)


def test_a_run_that_is_too_short_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itertools.accumulate", lambda _: itertools.repeat(0))
    path, _ = scripted()
    with pytest.raises(StateError, match="g, a: too few accesses to time; raise the count"):
        measured(path, monkeypatch, print)


# ---- the command ------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[list[str], str, str]:
    """Run the command; return what it measures, its output and its errors."""
    asked: list[str] = []

    def fake(paths: list[AccessPath], parts: Parts, *, updates: bool, **options: object) -> Report:
        asked.extend(path.name for path in paths)
        asked.extend([HOT_UPDATE] * updates)
        return report()

    monkeypatch.setattr("kvmbpf.cli.bench.measure", fake)
    out, err = io.StringIO(), io.StringIO()
    # Not click's CliRunner, which before 8.2 gives both as one.
    # By way of `cli`: click keeps a command's --help as who asked first would name it.
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        cli.main(["bench", *arguments], standalone_mode=False)
    return asked, out.getvalue(), err.getvalue()


def test_all_paths_unless_some_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names, output, errors = run(monkeypatch)
    assert names == [*BY_NAME, HOT_UPDATE]
    assert output == table(report()) + "\n"
    assert errors == "", "progress is for terminals"


def test_named_paths_in_the_order_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    names, output, _ = run(
        monkeypatch, "--json", "--path", "mmio read, vmm", "--path", "MMIO write, VMM"
    )
    assert names == ["MMIO write, VMM", "MMIO read, VMM"]
    assert json.loads(output) == report().to_json()


def test_the_hot_update_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--path", "Hot Update")[0] == [HOT_UPDATE]


def test_a_path_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        click.BadParameter, match=r"'PIO write' is none of: .*PIO write, eBPF.*; hot update"
    ):
        run(monkeypatch, "--path", "PIO write")


def test_help_names_every_path() -> None:
    text = CliRunner().invoke(cli, ["bench", "--help"]).output
    assert all(f"  {name}\n" in text for name in NAMES)
