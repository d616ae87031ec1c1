# SPDX-License-Identifier: GPL-2.0-or-later
"""Verifiers' logs, of several kernels and of none: the sentence, the line, the mend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmbpf.errors import VerifierError
from kvmbpf.kernel.libbpf.advice import advice
from kvmbpf.kernel.libbpf.refusal import SourceLine, explain, is_the_author_s

pytestmark = pytest.mark.unit

# Linux 6.1: comments without a place
OLD = """\
func#0 @0
0: R1=ctx(off=0,imm=0) R10=fp0
; __u64 index = *ctx;
0: (79) r1 = *(u64 *)(r1 +0)          ; R1_w=scalar()
; return registers[index];
1: (67) r1 <<= 3                      ; R1_w=scalar(smax=9223372036854775800)
2: (18) r2 = 0xffffc90000fe2000       ; R2_w=map_value(off=0,ks=4,vs=32,imm=0)
4: (0f) r2 += r1
math between map_value pointer and register with unbounded min value is not allowed
verification time 55 usec
stack depth 0
processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

# Linux 6.12, and the sentence of the series
SERIES = """\
0: R1=ctx() R10=fp0
; struct kvm_bpf_access *from = (void *)ctx[0]; @ writes_offset.bpf.c:12
0: (79) r1 = *(u64 *)(r1 +0)
func 'read' arg0 has btf_id 1234 type STRUCT 'kvm_bpf_access'
1: R1_w=trusted_ptr_kvm_bpf_access()
; from->offset = 1; @ writes_offset.bpf.c:14
1: (b7) r2 = 1                        ; R2_w=1
;  @ writes_offset.bpf.c:0
2: (7b) *(u64 *)(r1 +8) = r2
a device's program may write kvm_bpf_access.value only, not 8 bytes at offset 8
processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

LOOP = """\
; for (;;) @ dev.bpf.c:22
4: (05) goto pc-3
; ticks++; @ dev.bpf.c:23
infinite loop detected at insn 2
cur state: R1=map_value(map=dev.bss,ks=4,vs=32) R2=1 R10=fp0
old state: R1=map_value(map=dev.bss,ks=4,vs=32) R2=1 R10=fp0
processed 11 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0
"""


def test_an_old_log_has_the_text_without_a_place() -> None:
    found = explain(OLD)
    assert found.sentence.startswith("math between map_value pointer")
    assert found.source == SourceLine("", 0, "return registers[index];")
    assert str(found.source) == "`return registers[index];`"
    assert found.instruction == 4
    assert "check the index" in found.mend


def test_a_lookup_by_instruction_wins() -> None:
    asked = []

    def lookup(instruction: int) -> SourceLine:
        asked.append(instruction)
        return SourceLine("dev.bpf.c", 28, "return registers[index];")

    found = explain(OLD, lookup)
    assert str(found.source) == "dev.bpf.c:28 `return registers[index];`"
    assert asked == [4]


def test_an_instruction_that_is_not_found_leaves_the_log_s_comment() -> None:
    found = explain(SERIES, lambda _instruction: None)
    assert str(found.source) == "writes_offset.bpf.c:14 `from->offset = 1;`"


def test_the_series_sentence_and_its_mend() -> None:
    found = explain(SERIES)
    assert found.sentence == (
        "a device's program may write kvm_bpf_access.value only, not 8 bytes at offset 8"
    )
    assert found.mend.startswith("answer through acc->value")
    assert str(found.source) == "writes_offset.bpf.c:14 `from->offset = 1;`"


def test_a_line_of_the_header_is_for_the_author_s_before_it() -> None:
    log = SERIES.replace(
        "; from->offset = 1; @ writes_offset.bpf.c:14", "; x = 1; @ kvmbpf_calls.h:9"
    )
    assert str(explain(log).source).startswith("writes_offset.bpf.c:12")
    for name in ("kvmbpf.bpf.h", "kvmbpf/kvmbpf_entry.h", "/usr/lib/kvmbpf/bpf/kvmbpf_log.h"):
        assert not is_the_author_s(name)
    for name in ("dev.bpf.c", "/home/me/kvmbpf/dev.bpf.c", "kvmbpf.bpf.c", "my_kvmbpf.h", ""):
        assert is_the_author_s(name)


def test_states_after_the_sentence_are_not_it() -> None:
    found = explain(LOOP)
    assert found.sentence == "infinite loop detected at insn 2"
    assert found.source == SourceLine("dev.bpf.c", 23, "ticks++;")


def test_of_several_sentences_the_one_with_advice_counts() -> None:
    found = explain("2: (85) call x#1\nsome word of a later kernel\nR2 !read_ok\n")
    assert found.sentence == "R2 !read_ok"
    found = explain("2: (85) call x#1\nsome word of a later kernel\nand another\n")
    assert (found.sentence, found.mend) == ("some word of a later kernel", "")


@pytest.mark.parametrize("log", ["", "\n\n", "processed 0 insns (limit 1000000)\n", "0: R1=ctx()"])
def test_a_log_without_a_sentence_has_none(log: str) -> None:
    found = explain(log)
    assert (found.sentence, found.mend, found.source) == ("", "", None)


def test_a_very_long_log_is_read_from_its_end() -> None:
    found = explain("9: (b7) r1 = 1\n" * 5_000_000 + SERIES)
    assert found.instruction == 2


def test_a_long_source_line_is_cut() -> None:
    text = str(SourceLine("dev.bpf.c", 1, "x" * 1000))
    assert len(text) < 200
    assert text.endswith("...`")


@pytest.mark.parametrize(
    ("sentence", "mend"),
    [
        ("invalid write to stack R10 off=-520 size=8", "512 bytes"),
        ("invalid write to stack R1 off=8 size=1", "check the index"),
        ("invalid read from stack R10 off -16+0 size 8", "set the variable"),
        ("invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0)", "check the index"),
        ("Possibly NULL pointer passed to trusted arg0", "may be NULL"),
        ("unknown func bpf_no#9", "has not got it"),
        ("program must be sleepable to call sleepable kfunc kvm_bpf_guest_read", "SLEEPABLE"),
        ("stack size of subprog 0 is 600. Too large", "512 bytes"),
        ("bpf_spin_unlock is missing", "unlock on every path"),
        ("div by zero", "the divisor"),
        ("struct ops programs must have a GPL compatible license", "license"),
        ("R2 type=ctx expected=fp, pkt, pkt_meta, map_key, map_value", "a local variable"),
        ("R1 type=scalar expected=map_ptr", "the very pointer"),
        ("R1 must be referenced or trusted", "the very pointer"),
        ("only read is supported", "for reading"),
        ("kernel func kvm_bpf_guest_read is sleepable within rcu_read_lock region", "unlock"),
        ("failed to resolve CO-RE relocation <byte_off> [8] struct x.y", "no such member"),
        ("dereference of modified ctx ptr R1 off=4 disallowed", "program's context"),
    ],
)
def test_what_to_do_about_it(sentence: str, mend: str) -> None:
    assert mend in advice(sentence)


@given(st.text(max_size=2000))
def test_any_text_is_taken(log: str) -> None:
    found = explain(log)
    assert "\n" not in str(VerifierError("x.o", log, sentence=found.sentence))
