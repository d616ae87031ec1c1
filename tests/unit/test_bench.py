# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf bench``: what it prints, with measurements that are given."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kvmbpf.bench import PATHS, AccessPath, Measurement, Parts, Report, measure
from kvmbpf.bench.loop_guest import Access
from kvmbpf.bench.paths import EMPTY_LOOP, Loop, NoPortsError
from kvmbpf.cli.bench import bench, table
from kvmbpf.errors import StateError

BY_NAME = {path.name: path for path in PATHS}
COST = {
    "MMIO write, ioeventfd": 3000.0,
    "MMIO write, VMM": 4000.0,
    "MMIO write, eBPF": 3300.0,
    "MMIO read, VMM": 5000.0,
    "MMIO read, eBPF": 2500.0,
}


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


def test_no_line_ends_in_blanks() -> None:
    assert all(line == line.rstrip() for line in table(report()).splitlines())


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
    """Run the command; return the paths that it measures, its output and its errors."""
    asked: list[AccessPath] = []

    def fake(paths: list[AccessPath], parts: Parts, **options: object) -> Report:
        asked.extend(paths)
        return report()

    monkeypatch.setattr("kvmbpf.cli.bench.measure", fake)
    done = CliRunner().invoke(bench, arguments, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return [path.name for path in asked], done.stdout, done.stderr


def test_all_paths_unless_some_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names, output, errors = run(monkeypatch)
    assert names == list(BY_NAME)
    assert output == table(report()) + "\n"
    assert errors == "", "progress is for terminals"


def test_named_paths_in_the_order_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    names, output, _ = run(
        monkeypatch, "--json", "--path", "mmio read, vmm", "--path", "MMIO write, VMM"
    )
    assert names == ["MMIO write, VMM", "MMIO read, VMM"]
    assert json.loads(output) == report().to_json()


def test_a_path_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.BadParameter, match=r"'PIO write' is none of: .*PIO write, eBPF"):
        run(monkeypatch, "--path", "PIO write")


def test_help_names_every_path() -> None:
    text = CliRunner().invoke(bench, ["--help"]).output
    assert all(f"  {name}\n" in text for name in BY_NAME)
