# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that reads damaged notes and objects under limits of memory and steps.

It takes one line of JSON a batch, ``{"kind", "seed", "count"}``, and answers with
one: what was accepted and refused, or what went wrong with which of them. A line
``{"path"}`` is about one file that was made to be costly. The
checks know the documents of the formats and not the readers: what is accepted
is written down again and compared.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from kvmbpf.errors import BadFileError
from kvmbpf.model.check import check_device
from kvmbpf.model.check.rules import CHECKS
from kvmbpf.model.objfile import DeviceObject
from kvmbpf.model.objfile.describe import describe
from kvmbpf.model.objfile.notes import read_notes
from tests.unit.model.mutants import Mutant, Objects, changed_notes, random_notes
from tests.unit.model.note_encoder import encodings

MAX_MEMORY_BYTES = 256 << 20
# Calls of functions, Python's and C's, for one input. The largest object that
# is shipped takes about 30,000 for all of it.
MAX_STEPS = 4_000_000
# Counting makes a run ten times as slow, so it is done for one of so many.
COUNTED = 64
FILE = Path("mutant.bpf.o")


class StepCount:
    """Counts calls while it is entered."""

    def __init__(self) -> None:
        self.steps = 0

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        self.steps += event in ("call", "c_call")

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        self.steps = 0
        sys.setprofile(self._count)
        try:
            yield
        finally:
            sys.setprofile(None)


# ---- what a mutant must do ---------------------------------------------------


def notes_hold(mutant: Mutant) -> bool:
    """Read a section of notes; tell whether it was accepted."""
    spec = read_notes(FILE, mutant.data, little_endian=mutant.order == "<").spec
    assert without_optional(mutant.data, mutant.order) in encodings(spec, mutant.order)
    return True


def object_holds(mutant: Mutant) -> bool:
    """Read the device of an object; tell whether it was accepted."""
    device = DeviceObject(FILE, mutant.data)
    order = "<" if mutant.data[5] == 1 else ">"
    notes = section_content(mutant.data, order, b".note.kvmbpf")
    assert without_optional(notes, order) in encodings(device.spec, order)
    programs = {item.name for item in device.programs}
    for region in device.spec.regions:
        assert {region.read_program, region.write_program} <= programs
        assert {region.call_read_program, region.call_write_program} - {""} <= programs
    return True


def content_holds(mutant: Mutant) -> bool:
    """Check and show an object; tell whether all of it could be read."""
    device = DeviceObject(FILE, mutant.data)
    findings = check_device(device)
    for finding in findings:
        assert_one_line(finding.where + finding.sentence + finding.mend)
    content = describe(device)
    assert json.loads(json.dumps(content)) == content
    for item in content["state"]:
        assert_one_line(item["name"] + item["type"])
    for item in content["maps"]:
        assert_one_line(item["name"] + item["type"] + item["value_type"])
    return all(finding.rule != "file" for finding in findings)


def object_read(mutant: Mutant) -> None:
    """Read what an attach reads."""
    _ = DeviceObject(FILE, mutant.data).spec


def checked(mutant: Mutant) -> None:
    """Do what ``kvmbpf check`` does, and raise what it makes a finding of."""
    device = DeviceObject(FILE, mutant.data)
    for check in CHECKS:
        list(check(device))


def shown(mutant: Mutant) -> None:
    """Do what ``kvmbpf inspect`` does."""
    describe(DeviceObject(FILE, mutant.data))


def assert_one_line(text: str) -> None:
    assert text.isprintable(), text


def without_optional(data: bytes, order: str) -> bytes:
    """Return the notes that may not be skipped."""
    kept, place = b"", 0
    while place < len(data):
        _, size, kind = struct.unpack_from(f"{order}3I", data, place)
        end = place + 20 + (size + 3 & ~3)
        kept += b"" if kind >> 31 else data[place:end]
        place = end
    return kept


def section_content(data: bytes, order: str, name: bytes) -> bytes:
    """Return the content of a section, found without the reader."""
    (table,) = struct.unpack_from(f"{order}Q", data, 40)
    count, names_index = struct.unpack_from(f"{order}HH", data, 60)
    headers = [struct.unpack_from(f"{order}2I4Q", data, table + 64 * i) for i in range(count)]
    names = headers[names_index][4]
    found = [
        header
        for header in headers
        if data[names + header[0] : names + header[0] + len(name) + 1] == name + b"\0"
    ]
    assert len(found) == 1
    return data[found[0][4] : found[0][4] + found[0][5]]


# ---- the process -------------------------------------------------------------


class Worker:
    """Reads batches of mutants.

    :param paths: the sound objects.
    """

    def __init__(self, paths: list[Path]) -> None:
        objects = Objects(paths)
        self._kinds: dict[str, tuple[Callable[[random.Random], Mutant], Callable[..., bool]]] = {
            "changed notes": (changed_notes, notes_hold),
            "random notes": (random_notes, notes_hold),
            "objects": (objects.changed, object_holds),
            "contents": (objects.changed_deep, content_holds),
        }

    def batch(self, kind: str, seed: int, count: int) -> dict[str, object]:
        """Read so many mutants of a kind; return what became of them."""
        make, holds = self._kinds[kind]
        rng = random.Random(seed)  # noqa: S311 (no secret)
        accepted = most_steps = 0
        for number in range(count):
            mutant = make(rng)
            steps = StepCount()
            try:
                if number % COUNTED:
                    accepted += self._held(holds, mutant)
                else:
                    with steps.counting():
                        accepted += self._held(holds, mutant)
                assert steps.steps <= MAX_STEPS, f"{steps.steps} steps"
            except Exception:
                return {"number": number, "wrong": traceback.format_exc()}
            most_steps = max(most_steps, steps.steps)
        return {"accepted": accepted, "refused": count - accepted, "steps": most_steps}

    def file(self, path: str) -> dict[str, object]:
        """Check and show one file; return the steps, and why it was refused."""
        steps = StepCount()
        refused: list[str] = []
        mutant = Mutant(Path(path).read_bytes(), "<")
        try:
            with steps.counting():
                for holds in (object_read, checked, shown):
                    try:
                        holds(mutant)
                    except BadFileError as error:
                        refused.append(error.reason)
        except Exception:
            return {"wrong": traceback.format_exc()}
        return {"steps": steps.steps, "refused": refused}

    def _held(self, holds: Callable[[Mutant], bool], mutant: Mutant) -> bool:
        try:
            return holds(mutant)
        except BadFileError as error:
            assert_one_line(str(error))
            return False


def main() -> None:
    """Answer a batch a line until the input ends."""
    worker = Worker([Path(argument) for argument in sys.argv[1:]])
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    for line in sys.stdin:
        asked = json.loads(line)
        answer = worker.file(**asked) if "path" in asked else worker.batch(**asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
