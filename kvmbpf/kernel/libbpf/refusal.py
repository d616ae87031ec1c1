# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verifier's log says: the sentence, the source line, what to do.

The log follows the program instruction by instruction, with the registers after
each and, as comments, the source lines. The sentence of refusal comes after the
last instruction; what follows it is statistics. `explain()` finds it in any log,
and gives up on nothing: a log that it does not know has its last line as sentence.

    ; return table[index]; @ dev.bpf.c:28
    4: (0f) r2 += r1
    math between map_value pointer and register with unbounded min value is not allowed
    processed 4 insns (limit 1000000) ...

Source: kernel/bpf/verifier.c and log.c, v6.1 to v6.18. File and line are in the
comments since v6.9; before it they are looked up by the instruction's number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kvmbpf.kernel.libbpf.advice import advice

_INSTRUCTION = re.compile(r"(\d+): (?:\([0-9a-f]{2}\) |<invalid )")
_COMMENT = re.compile(r"; ?(?P<text>.*?)(?: @ (?P<file>\S+):(?P<line>\d+))?$")
_NOISE = re.compile(
    r"$|;|processed \d+ insns|verification time|stack depth|mark_precise|last_idx|regs=|"
    r"parent |cur state|old state|propagating|func#\d+ @|Live regs|Func#|Validating |"
    r"\s*\d+: |from \d+ to \d+|caller:|callee:|returning from callee|to caller at|"
    r"R\d+(?:_\w+)?=|frame\d+:|max_states_per_insn"
)
# Files of the header that authors include: what they call there is for its own line.
_HEADER = re.compile(r"(?:.*/)?kvmbpf(?:_\w+|\.bpf)?\.h")
_ACQUIRED = re.compile(r"Unreleased reference .*alloc_insn=(\d+)")
_LONGEST_LINE = 160
_TAIL_CHARS = 1 << 20  # a log may have hundreds of megabytes, and the end tells


@dataclass(frozen=True)
class SourceLine:
    """A line of the author's source.

    :param file: as in the log, or as the compiler was given it.
    :param line: from 1; 0 where it is not known.
    :param text: the line itself, without the blanks around it.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= _LONGEST_LINE else self.text[:_LONGEST_LINE] + "..."
        quoted = f"`{text}`" if text else ""
        place = f"{self.file}:{self.line}" if self.line else ""
        return " ".join(part for part in (place, quoted) if part)


# Gives the source line of an instruction, by its number in the program.
Lookup = Callable[[int], SourceLine | None]


@dataclass(frozen=True)
class Refusal:
    """Why the verifier refused a program.

    :param sentence: the verifier's own, one line; empty where the log has none.
    :param mend: what to change, or empty.
    :param source: where, or None.
    :param instruction: the number of the instruction, or None.
    """

    sentence: str
    mend: str
    source: SourceLine | None
    instruction: int | None


def is_the_author_s(file: str) -> bool:
    """Tell whether a file is the author's, not one of the header that kvmbpf brings.

    :param file: as the compiler was given it, or its last part.
    """
    return not _HEADER.fullmatch(file)


def explain(log: str, lookup: Lookup | None = None) -> Refusal:
    """Find in a verifier's log what it refuses, and where.

    :param log: the log, whole; any text does.
    :param lookup: gives the source line of an instruction; it is asked first,
        because the log leaves some out.
    """
    lines = log[-_TAIL_CHARS:].splitlines()
    last = _last_instruction(lines)
    index = _sentence(lines, last)
    sentence = "" if index is None else lines[index].strip()
    matched = _INSTRUCTION.match(lines[last]) if last >= 0 else None
    instruction = int(matched[1]) if matched else None
    mend = advice(sentence)
    if lookup is None:
        return Refusal(sentence, mend, _comment(lines, index), instruction)
    acquired = _ACQUIRED.search(sentence)
    if acquired is not None and (line := lookup(int(acquired[1]))) is not None:
        sentence += f" (acquired at {line})"
    source = _beginning(lookup) if instruction is None else lookup(instruction)
    return Refusal(sentence, mend, source or _comment(lines, index), instruction)


def _beginning(lookup: Lookup) -> SourceLine | None:
    """Return where a program begins: for what is said of all of it."""
    first = lookup(0)
    return None if first is None else SourceLine(first.file, first.line, "")


def _last_instruction(lines: list[str]) -> int:
    """Return the index of the last line that is an instruction, or -1."""
    for index in reversed(range(len(lines))):
        if _INSTRUCTION.match(lines[index]):
            return index
    return -1


def _sentence(lines: list[str], last: int) -> int | None:
    """Return the index of the sentence of refusal, or None.

    It may have several lines: the first for which there is advice tells most.
    """
    tail = [index for index in range(last + 1, len(lines)) if not _NOISE.match(lines[index])]
    for index in tail:
        if advice(lines[index]):
            return index
    return tail[0] if tail else None


def _comment(lines: list[str], before: int | None) -> SourceLine | None:
    """Return the source line of the last comment with one, before a line of the log."""
    for index in reversed(range(before or 0)):
        found = _COMMENT.match(lines[index])
        if found is None or not found["text"] or found["line"] == "0":
            continue  # line 0 is code that the compiler made up
        if is_the_author_s(found["file"] or ""):
            return SourceLine(found["file"] or "", int(found["line"] or 0), found["text"].strip())
    return None
