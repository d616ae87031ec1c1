# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged notes and objects by the hundred thousand: refused in one line, or read rightly.

hypothesis says which batches there are; a process with little memory reads them
and counts steps (mutation_worker.py). A run prints its seed: `KVMBPF_FUZZ_SEED`
repeats it. `KVMBPF_MUTATIONS` says how many there are, 100,000 if it does not.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from kvmbpf.author.compile import compile_shipped
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.notes import NOTE_SECTION, read_notes
from tests.unit.model.mutation_process import WorkerProcess
from tests.unit.model.mutation_worker import MAX_MEMORY_BYTES, section_content, without_optional
from tests.unit.model.note_encoder import DEMO, encode_note, encode_notes, encodings
from tests.unit.model.test_object_reader import EVERYTHING, compiled

MUTATIONS = int(os.environ.get("KVMBPF_MUTATIONS", "100000"))
SEED = int(os.environ.get("KVMBPF_FUZZ_SEED", "0"), 0) or random.SystemRandom().getrandbits(64)
BATCH = 250
# Kinds, and their share in a hundred: notes are quick, whole objects are not.
SHARES = {"changed notes": 35, "random notes": 30, "objects": 25, "contents": 10}


@pytest.fixture(scope="module")
def worker(
    demo_v1: Path, everything: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("mutants")
    big = compiled(EVERYTHING, folder / "big.o", "bpfeb")
    process = WorkerProcess([demo_v1, everything, compile_shipped("bench/bench_pio", folder), big])
    yield process
    process.close()


@pytest.mark.parametrize("kind", SHARES)
def test_mutants(kind: str, worker: WorkerProcess) -> None:
    print(f"KVMBPF_FUZZ_SEED={SEED:#x}")
    batches = max(1, MUTATIONS * SHARES[kind] // 100 // BATCH)
    total = {"accepted": 0, "refused": 0, "steps": 0}

    @seed(SEED)
    @settings(
        max_examples=batches,
        database=None,
        deadline=None,
        # Nothing to shrink: a batch is a seed, and the answer names the mutant.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(number=st.integers(0, (1 << 64) - 1))
    def run(number: int) -> None:
        found = worker.batch(kind, number, BATCH)
        assert "wrong" not in found, (
            f"{kind}, batch {number:#x}, mutant {found['number']}:\n{found['wrong']}"
        )
        total["accepted"] += found["accepted"]
        total["refused"] += found["refused"]
        total["steps"] = max(total["steps"], found["steps"])

    run()
    print(f"{kind}: {total}, memory {MAX_MEMORY_BYTES >> 20} MiB at most")
    # A mutator that only breaks, or breaks nothing, finds nothing.
    assert total["accepted"] + total["refused"] == batches * BATCH
    if MUTATIONS >= 10_000:
        assert total["accepted"] > 0
        assert total["refused"] > 0
    assert total["steps"] > 0


def test_a_seed_makes_the_same_mutants(worker: WorkerProcess) -> None:
    for kind in SHARES:
        assert worker.batch(kind, 7, 20) == worker.batch(kind, 7, 20)


# ---- the checks themselves can fail ------------------------------------------


def test_notes_are_compared_with_what_was_read() -> None:
    notes = encode_notes(DEMO)
    skipped = encode_note(0x80000001, b"12345")
    assert without_optional(skipped + notes + skipped, "<") == notes
    spec = read_notes(Path("f"), notes, little_endian=True).spec
    assert notes in encodings(spec)
    changed = bytearray(notes)
    for place in range(len(notes)):
        changed[place] ^= 1
        assert bytes(changed) not in encodings(spec)
        changed[place] ^= 1


def test_a_section_is_found_without_the_reader(everything: Path) -> None:
    elf = ElfImage(everything)
    section = elf.section(NOTE_SECTION)
    assert section is not None
    data = everything.read_bytes()
    assert section_content(data, "<", NOTE_SECTION.encode()) == elf.data(section)


def test_every_byte_of_the_notes_is_looked_at() -> None:
    """Turning any byte over changes what is read, or is refused."""
    notes = encode_notes(DEMO)
    unnoticed = []
    for place in range(len(notes)):
        changed = bytearray(notes)
        changed[place] ^= 0xFF
        try:
            if read_notes(Path("f"), bytes(changed), little_endian=True).spec == DEMO:
                unnoticed.append(place)
        except BadFileError:
            pass
    assert unnoticed == []
