# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf check`` on what libbpf would do by itself: pins, tables of programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.model.check import Finding, Rule, Severity, check_file
from tests.unit.model.test_check import build

OWN = (Rule.PINNED, Rule.PROGRAM_TABLE, Rule.PROGRAM_NOT_LOADED)


def found(path: Path) -> list[Finding]:
    """Return what these rules find."""
    findings = [finding for finding in check_file(path) if finding.rule in OWN]
    for finding in findings:
        assert "\n" not in finding.sentence + finding.mend
    return findings


def a_map(kind: str, more: str = "", key: str = "__u32") -> str:
    return (
        f"struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __uint(max_entries, 4); "
        f'__type(key, {key}); __type(value, __u32); {more} }} mine SEC(".maps");\n'
    )


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ("__uint(pinning, LIBBPF_PIN_BY_NAME);", 1),
        ("__uint(pinning, LIBBPF_PIN_NONE);", 0),
        ("", 0),
    ],
)
def test_a_pin_has_no_meaning(tmp_path: Path, more: str, count: int) -> None:
    findings = found(build(tmp_path, before=a_map("ARRAY", more)))
    assert len(findings) == count
    for finding in findings:
        assert (finding.severity, finding.rule) == (Severity.WARNING, "pinned")
        assert finding.place == "map mine"
        assert "each VM has a map of its own" in finding.sentence


def test_a_table_of_programs_is_refused(tmp_path: Path) -> None:
    (finding,) = found(build(tmp_path, before=a_map("PROG_ARRAY")))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "program-table")


@pytest.mark.parametrize("section", ["xdp", "?kprobe/schedule", "syscall", "fentry/schedule"])
def test_a_program_that_nothing_enters_is_not_loaded(tmp_path: Path, section: str) -> None:
    other = f'SEC("{section}") int other(void *ctx) {{ return 0; }}\n'
    (finding,) = found(build(tmp_path, before=other))
    assert (finding.severity, finding.rule) == (Severity.NOTE, "program-not-loaded")
    assert finding.place == "program other"


def test_a_devices_own_programs_are_loaded(tmp_path: Path) -> None:
    reset = "KVMBPF_RESET(struct kvmbpf_access *acc) { return 0; }\n"
    fields = '.compatible = "acme,d", .regions = { KVMBPF_MMIO(16) }, .flags = KVMBPF_RESETS'
    assert found(build(tmp_path, fields=fields, before=reset)) == []
