# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rule has to say of an object."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kvmbpf.model.objfile import DeviceObject
from kvmbpf.model.objfile.btfext import SourceLine
from kvmbpf.model.objfile.needs import Place

SCHEMA = 1
"""Version of the JSON form; goes up when a key goes away or changes its meaning."""


class Severity(enum.Enum):
    """How bad it is."""

    ERROR = "error"  # it does not load, or cannot be attached
    WARNING = "warning"  # it is most likely not what is meant
    NOTE = "note"  # good to know


class Rule(enum.StrEnum):
    """What it is about; docs/checking.md explains each. The names stay."""

    FILE = "file"
    BYTE_ORDER = "byte-order"
    LICENCE = "licence"
    TYPES = "types"
    BTF = "btf"
    LIBBPF = "libbpf"
    KCONFIG = "kconfig"
    ADDRESS = "address"
    CALL = "call"
    STRUCT_OPS = "struct-ops"
    PROGRAM_NOT_NAMED = "program-not-named"
    INSTRUCTIONS = "instructions"
    KERNEL_FUNCTION = "kernel-function"
    SLEEPING = "sleeping"
    HELPER = "helper"
    BASE = "base"
    IRQ_NEVER_RAISED = "irq-never-raised"
    IRQ_NOT_THERE = "irq-not-there"
    REGIONS_ALIKE = "regions-alike"
    COMPATIBLE = "compatible"
    PATCHED_KERNEL_ONLY = "patched-kernel-only"
    MAP_NOT_USED = "map-not-used"
    PROPERTY = "property"
    PINNED = "pinned"
    PROGRAM_TABLE = "program-table"
    PROGRAM_NOT_LOADED = "program-not-loaded"


_ORDER = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    :param severity: how bad it is.
    :param rule: what it is about.
    :param place: where in the object, as ``region 1`` or ``section license``.
    :param sentence: what it is.
    :param mend: what to do about it.
    :param source: the line of the source, where it is known.
    """

    severity: Severity
    rule: Rule
    place: str
    sentence: str
    mend: str
    source: SourceLine | None = None

    @property
    def where(self) -> str:
        """The line of the source, or else the place in the object."""
        if self.source is None:
            return self.place
        return f"{self.source.file} line {self.source.line}"

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a dictionary that `json.dumps` takes."""
        source = None
        if self.source is not None:
            source = {
                "file": self.source.file,
                "line": self.source.line,
                "column": self.source.column,
                "text": self.source.text,
            }
        return {
            "severity": self.severity.value,
            "rule": self.rule.value,
            "place": self.place,
            "source": source,
            "sentence": self.sentence,
            "mend": self.mend,
        }


def to_json(found: dict[str, list[Finding]]) -> dict[str, Any]:
    """Return the findings of several files as a dictionary that `json.dumps` takes.

    :param found: the findings, by file.
    """
    everything = [finding for findings in found.values() for finding in findings]
    return {
        "schema": SCHEMA,
        **{f"{severity.value}s": count(everything, severity) for severity in Severity},
        "files": [
            {"file": file, "findings": [finding.to_json() for finding in findings]}
            for file, findings in found.items()
        ],
    }


def sort(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, the worst first, and else as they come."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])


def count(findings: Iterable[Finding], severity: Severity) -> int:
    """Return how many findings are of a severity."""
    return sum(finding.severity is severity for finding in findings)


def line_of(device: DeviceObject, place: Place) -> SourceLine | None:
    """Return the author's line behind an instruction, or None where it is not known.

    What comes from a function of kvmbpf.bpf.h is the line that calls it.

    :raise BadFileError: when the table of lines is broken.
    """
    if device.btf_ext is None:
        return None
    return device.btf_ext.line_of(place.section, place.offset, start=place.start, without="kvmbpf/")
