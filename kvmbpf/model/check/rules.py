# SPDX-License-Identifier: GPL-2.0-or-later
"""Apply every rule to an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.model.check import externs, libbpf_does, loading, sense, types
from kvmbpf.model.check.finding import Finding, Rule, Severity, sort
from kvmbpf.model.objfile import DeviceObject

Check = Callable[[DeviceObject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *loading.CHECKS,
    *externs.CHECKS,
    *libbpf_does.CHECKS,
    *types.CHECKS,
    *sense.CHECKS,
)


def check_file(path: str | Path) -> list[Finding]:
    """Return what is wrong with an object file, the worst first.

    :param path: the object file; one that cannot be read is a finding too.
    """
    try:
        device = DeviceObject(path)
    except BadFileError as error:
        return [broken(error)]
    return check_device(device)


def check_device(device: DeviceObject) -> list[Finding]:
    """Return what is wrong with an object, the worst first.

    :param device: the object; what is damaged in it is a finding too.
    """
    found: list[Finding] = []
    try:
        for check in CHECKS:
            found += check(device)
    except BadFileError as error:
        found.append(broken(error))
    return sort(found)


def broken(error: BadFileError) -> Finding:
    """Return what is to be said of a file that is damaged, or cannot be read."""
    place = "" if error.section is None else f"section {error.section}"
    if error.offset is not None:
        place = f"{place} offset {error.offset:#x}".lstrip()
    return Finding(
        Severity.ERROR,
        Rule.FILE,
        place or "the file",
        error.reason,
        "nothing else was checked",
    )
