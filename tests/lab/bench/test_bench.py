# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf bench` under counted instructions: the figures that must hold."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.on_host


# What an update may take, in a process that keeps its memory. bpf_object__load() alone
# takes 35 million, nearly half of that for reading all the types of the kernel. Newer
# versions of pahole put a kernel's functions in another order: libbpf, which looks for
# each function that a program calls from the first type on, finds ours later then, for
# some ten million more (measured with 1.24 and 1.30).
UPDATE_AT_MOST = 60_000_000


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """Return what the whole benchmark prints as JSON."""
    command = [sys.executable, "-m", "kvmbpf"]
    done = subprocess.run(
        [*command, "lab", "run", "--icount", "--", *command, "bench", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["unit"] == "instructions"
    return found


@pytest.fixture(scope="module")
def instructions(report: dict[str, Any]) -> dict[str, float]:
    """Return what each path costs, by name; the paths that the kernel has."""
    return {item["path"]: item["per_access"] for item in report["paths"] if item["supported"]}


def test_an_ebpf_write_costs_hardly_more_than_an_ioeventfd(
    instructions: dict[str, float],
) -> None:
    assert instructions["MMIO write, eBPF"] <= 1.03 * instructions["MMIO write, ioeventfd"]


def test_an_ebpf_read_beats_the_least_vmm(instructions: dict[str, float]) -> None:
    assert instructions["MMIO read, eBPF"] <= 0.70 * instructions["MMIO read, VMM"]


def test_an_ebpf_port_write_costs_hardly_more_than_an_ioeventfd(
    instructions: dict[str, float],
) -> None:
    assert "PIO write, eBPF" in instructions, "this kernel's devices have no ports"
    assert instructions["PIO write, eBPF"] <= 1.06 * instructions["PIO write, ioeventfd"]


def test_every_ebpf_path_beats_the_least_vmm(instructions: dict[str, float]) -> None:
    for group in ("MMIO write", "MMIO read", "PIO write", "PIO read"):
        if f"{group}, eBPF" in instructions:
            assert instructions[f"{group}, eBPF"] < instructions[f"{group}, VMM"]


def test_an_update_takes_no_more_than_it_did(report: dict[str, Any]) -> None:
    cost = report["update"]["cost"]
    assert len(cost["update_ns"]) >= 6
    assert statistics.median(cost["update_ns"]) <= UPDATE_AT_MOST
    assert sum(map(sum, cost["steps_ns"].values())) == sum(cost["update_ns"])
    # The verifier has seen the new programs each time, and they were put in place.
    assert min(cost["steps_ns"]["load"]) > 10_000_000
    assert min(cost["steps_ns"]["swap"]) > 10_000


def test_the_whole_command_does_more_than_its_help(report: dict[str, Any]) -> None:
    cost = report["update"]["cost"]
    assert cost["command_ns"] > cost["help_ns"] > 0


def test_an_update_delays_no_access(report: dict[str, Any]) -> None:
    found = report["update"]["between_ticks"]
    assert found["updates"] >= 6
    assert found["during"]["count"] > 1000 < found["without"]["count"]
    assert found["ratio"] <= 2
    # An access goes through the whole of KVM's path; a decline would be ten times as long.
    assert found["during"]["median_ns"] < 1.1 * found["without"]["median_ns"]
