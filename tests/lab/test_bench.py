# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf bench` under counted instructions: the figures that must hold."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.on_host


@pytest.fixture(scope="module")
def instructions() -> dict[str, float]:
    """Return what each path costs, by name; the paths that the kernel has."""
    command = [sys.executable, "-m", "kvmbpf"]
    done = subprocess.run(
        [*command, "lab", "run", "--icount", "--", *command, "bench", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["unit"] == "instructions"
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
