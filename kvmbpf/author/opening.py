# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether libbpf opens an object: its own word, beside the rules of `kvmbpf.model.check`.

The rules know what libbpf refuses only so far as somebody wrote it down, and libbpf
changes. `check_object` asks it, in a child with limits, which needs no privilege:
what libbpf does with a damaged file is the child's affair, and a crash of it is told.
Without libbpf the rules are all there is, and a note says so.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import kvmbpf
from kvmbpf.errors import BadFileError
from kvmbpf.model.check import Finding, Rule, Severity, check_device
from kvmbpf.model.check.finding import sort
from kvmbpf.model.check.rules import broken
from kvmbpf.model.objfile import DeviceObject

_CHILD = "kvmbpf.kernel.libbpf.trial"
_LONGEST_S = 60.0
_NAMED = re.compile(r"\b(?P<what>map|prog|extern|section|sec) (?:\(\w+\) )?'(?P<name>[^']+)'")
_WORDS = {"prog": "program", "extern": "symbol", "sec": "section"}
# Errors after which libbpf's own word says nothing new.
_SAID_ALREADY = frozenset((Rule.FILE, Rule.BYTE_ORDER, Rule.TYPES, Rule.BTF, Rule.LIBBPF))


def check_object(path: str | Path) -> list[Finding]:
    """Return what is wrong with an object file, and whether libbpf opens it; the worst first.

    :param path: the object file; one that cannot be read is a finding too.
    """
    try:
        device = DeviceObject(path)
    except BadFileError as error:
        return [broken(error)]
    found = check_device(device)
    errors = {finding.rule for finding in found if finding.severity is Severity.ERROR}
    if errors & _SAID_ALREADY:
        return found
    return sort([*found, *_findings(device.elf.content)])


def _findings(content: bytes) -> list[Finding]:
    """Return what libbpf has to say of an object."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _CHILD],
            input=content,
            capture_output=True,
            check=False,
            timeout=_LONGEST_S,
            env=_environment(),
        )
    except OSError as error:
        return [_not_done(f"no process for it: {error.strerror}")]
    except subprocess.TimeoutExpired:
        return [_failed(f"it did not end within {_LONGEST_S:.0f} s")]
    if done.returncode != 0:
        return [_failed(_how_it_ended(done.returncode, done.stderr))]
    return _told(json.loads(done.stdout))


def _environment() -> dict[str, str]:
    """Return an environment in which the child finds this kvmbpf, wherever it is run."""
    here = str(Path(kvmbpf.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{others}" if others else here}


def _told(said: dict[str, Any]) -> list[Finding]:
    if "absent" in said:
        return [_not_done(said["absent"])]
    if not said["opened"]:
        named = _NAMED.search(said["reason"])
        place = "the file"
        if named is not None:
            place = f"{_WORDS.get(named['what'], named['what'])} {named['name']}"
        return [
            Finding(
                Severity.ERROR,
                Rule.LIBBPF,
                place,
                f"libbpf {said['libbpf']} does not open the object: {said['reason']}",
                said["mend"] or "mend what it says, or build the object with `kvmbpf build`",
            )
        ]
    return []


def _failed(how: str) -> Finding:
    return Finding(
        Severity.ERROR,
        Rule.LIBBPF,
        "the file",
        f"libbpf does not get through the object: {how}",
        "do not load it: build it anew from its source",
    )


def _not_done(why: str) -> Finding:
    return Finding(
        Severity.NOTE,
        Rule.LIBBPF,
        "the file",
        "whether libbpf opens it was not looked at",
        why,
    )


def _how_it_ended(status: int, said: bytes) -> str:
    if status < 0:
        return f"it crashed ({signal.Signals(-status).name})"
    lines = said.decode(errors="replace").strip().splitlines() or ["no word"]
    return f"it ended with status {status} ({lines[-1]})"
