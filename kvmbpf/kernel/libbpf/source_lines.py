# SPDX-License-Identifier: GPL-2.0-or-later
"""Which line of the author's source an instruction of a loaded program comes from.

The numbers in a verifier's log are those of the loaded program: the instructions
of its own section first, then those of functions that it calls, which libbpf appends.
Only the former are looked up here; for the others the log's own comments serve.
Lines of the header that kvmbpf brings are passed over: what is inlined from it has
the author's line before it, which most often is the call.
"""

from __future__ import annotations

from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.kernel.libbpf.refusal import Lookup, SourceLine, is_the_author_s
from kvmbpf.model.objfile.btf import Btf
from kvmbpf.model.objfile.btfext import BtfExt
from kvmbpf.model.objfile.elf import ElfImage

_INSN_BYTES = 8


def source_lookup(path: Path, program: str) -> Lookup | None:
    """Return what finds a program's source lines, or None where the file has none.

    :param path: the object file; libbpf has taken it already.
    :param program: the name of one of its programs.
    """
    try:
        image = ElfImage(path)
        symbol = next((one for one in image.symbols() if one.name == program), None)
        types = Btf.of(image)
        lines = BtfExt.of(image, types) if types is not None else None
    except BadFileError:
        return None
    if symbol is None or symbol.section is None or lines is None:
        return None
    section, first, size, table = symbol.section.name, symbol.value, symbol.size, lines

    def lookup(instruction: int) -> SourceLine | None:
        if not 0 <= instruction * _INSN_BYTES < size:
            return None
        for back in range(instruction, -1, -1):
            try:
                found = table.line_of(section, first + back * _INSN_BYTES)
            except BadFileError:
                return None
            if found is None or is_the_author_s(found.file):
                return None if found is None else SourceLine(found.file, found.line, found.text)
        return None

    return lookup
