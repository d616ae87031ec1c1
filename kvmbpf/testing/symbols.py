# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies where in a natively compiled device: symbols, and lines of its source.

The library is one that clang just made for us, so pyelftools may walk it as it
likes. Addresses are relative to where the library is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_SHF_WRITE = 1


@dataclass(frozen=True, slots=True)
class NativeSymbol:
    """One symbol.

    :param offset: from the library's start, in bytes.
    :param size: in bytes.
    :param writable: whether it lies where the device may write.
    """

    offset: int
    size: int
    writable: bool


def read_symbols(library: Path) -> dict[str, NativeSymbol]:
    """Return the variables of a library by name, static ones too."""
    found: dict[str, NativeSymbol] = {}
    with library.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return found
        for symbol in table.iter_symbols():
            where = symbol["st_shndx"]
            if symbol["st_info"]["type"] != "STT_OBJECT" or not isinstance(where, int):
                continue
            writable = bool(elf.get_section(where)["sh_flags"] & _SHF_WRITE)
            found[symbol.name] = NativeSymbol(symbol["st_value"], symbol["st_size"], writable)
    return found


def find_line(library: Path, offset: int) -> str | None:
    """Return the place in the source of an instruction, as ``uart.bpf.c line 7``.

    :param offset: from the library's start, in bytes.
    :return: None where it is not the device's.
    """
    with library.open("rb") as file:
        elf = ELFFile(file)
        if not elf.has_dwarf_info():
            return None
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            before = None
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if before is not None and before.address <= offset < state.address:
                    files = program.header["file_entry"]
                    first = 0 if program.header["version"] >= 5 else 1
                    name = files[before.file - first].name.decode(errors="replace")
                    return f"{Path(name).name} line {before.line}"
                before = None if state.end_sequence else state
    return None
