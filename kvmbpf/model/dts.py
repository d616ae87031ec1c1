# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of device-tree properties, in the text of device-tree source.

A device's object carries its firmware properties as such text, and whoever
reads it has to know that the text is sound before a guest sees it. The forms:

    ""                              a boolean: the property is there, and empty
    "text"                          a string, with C's escapes
    <1 0x10 'c' &label &{/path}>    cells of 32 bits; a reference is a phandle
    [00 ff]                         bytes
    "a", <1>, [02]                  a list of those

What dtc takes beyond them is refused, by name: expressions, /bits/, /incbin/,
comments, labels, and references outside of cells.
Source: "Devicetree Specification", v0.4, section 6.3; dtc's lexer and parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_TEXT_BYTES = 1 << 16
"""The longest text that is looked at."""
MAX_NAME_CHARS = 31
"""The longest name of a property. Source: the same, section 2.2.4."""

_CELL_END = 1 << 32
_NAME_CHAR = re.compile(r"[A-Za-z0-9,._+?#-]")
# What a node gets from its device's regions and irqs, or what makes it a parent.
_RESERVED_NAMES = frozenset(
    (
        *("compatible", "reg", "interrupts", "interrupts-extended", "interrupt-parent"),
        *("ranges", "#address-cells", "#size-cells", "phandle", "linux,phandle", "name"),
    )
)


class DtsError(ValueError):
    """A text is no property value, or no property name, that kvmbpf takes.

    :param column: where, in characters from 1.
    :param reason: what is wrong there, and what was expected.
    """

    def __init__(self, column: int, reason: str) -> None:
        super().__init__(column, reason)
        self.column = column
        self.reason = reason

    def __str__(self) -> str:
        return f"column {self.column}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A cell that is another node's phandle.

    :param target: the node's label, as ``intc``, or its path, as ``/soc/intc``.
    """

    target: str

    @property
    def is_path(self) -> bool:
        """Whether the node is named by its path."""
        return self.target.startswith("/")

    def __str__(self) -> str:
        return f"&{{{self.target}}}" if self.is_path else f"&{self.target}"


@dataclass(frozen=True, slots=True)
class Strings:
    """Strings, one after another.

    :param values: their bytes, without the NUL that ends each in the tree.
    """

    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells between one ``<`` and its ``>``.

    :param values: numbers (C ``__u32``) and references.
    """

    values: tuple[int | Reference, ...]


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes between one ``[`` and its ``]``.

    :param data: the bytes.
    """

    data: bytes


Part = Strings | Cells | Bytes
Value = tuple[Part, ...]
"""A whole value; ``()`` is a boolean."""


def parse_value(text: str) -> Value:
    r"""Return what a text means.

    Strings that follow each other are one `Strings`; cells and bytes stay as
    they are grouped. The effort is linear in the text's length.

    :param text: as in ``"a", "b"`` or ``<&intc 1 4>``; "" is a boolean.
    :raise DtsError: when it is none of the forms, or longer than `MAX_TEXT_BYTES`.
    """
    if not text:
        return ()
    return _Reader(text).value()


def unparse_value(value: Sequence[Part]) -> str:
    """Return a text that `parse_value` gives this value for."""
    return ", ".join(text for part in value for text in _unparsed(part))


def encode_value(value: Sequence[Part], phandle_of: Callable[[Reference], int]) -> bytes:
    """Return a value as it stands in a flattened tree, cells big-endian.

    :param phandle_of: gives the phandle (C ``__u32``) that a reference means.
    """
    data = bytearray()
    for part in value:
        match part:
            case Strings(values):
                for string in values:
                    data += string + b"\0"
            case Cells(cells):
                for cell in cells:
                    number = phandle_of(cell) if isinstance(cell, Reference) else cell
                    data += number.to_bytes(4, "big")
            case Bytes(content):
                data += content
    return bytes(data)


def check_property_name(name: str) -> None:
    """Refuse a name that a device's property cannot have.

    :raise DtsError: when it is empty, longer than `MAX_NAME_CHARS`, has another
        character than ``A-Za-z0-9,._+?#-``, or is one of those that kvmbpf
        writes itself, or that would make the device a bus.
    """
    if not name:
        raise DtsError(1, "an empty property name")
    for column, char in enumerate(name[: MAX_NAME_CHARS + 1], start=1):
        if not _NAME_CHAR.fullmatch(char):
            raise DtsError(
                column, f"{_shown(char)} in a property name, expected A-Za-z0-9 or ,._+?#-"
            )
    if len(name) > MAX_NAME_CHARS:
        raise DtsError(
            MAX_NAME_CHARS + 1,
            f"a property name of {len(name)} characters, expected at most {MAX_NAME_CHARS}",
        )
    if name in _RESERVED_NAMES:
        raise DtsError(1, f"property {name} is not a device's to give; kvmbpf writes such itself")


_SPACE = re.compile(r"[ \t\n\v\f\r]*")
_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:ULL|LL|UL|U|L)?")
_DIGITS = re.compile(r"0[xX](?P<hex>[0-9a-fA-F]+)|(?P<octal>0[0-9]*)|(?P<decimal>[0-9]+)")
_LABEL_REFERENCE = re.compile(r"&([A-Za-z_][A-Za-z0-9_]*)")
_PATH_REFERENCE = re.compile(r"&\{(/[A-Za-z0-9,._+*#?@/-]*)\}")
_BYTE = re.compile(r"[0-9a-fA-F]{2}")
_PLAIN = {'"': re.compile(r'[^\\"\0]+'), "'": re.compile(r"[^\\'\0]+")}
_OCTAL_ESCAPE = re.compile(r"[0-7]{1,3}")
_HEX_ESCAPE = re.compile(r"x([0-9a-fA-F]{1,2})")
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
# What ends a word, for messages.
_WORD = re.compile(r'[^ \t\n\v\f\r<>\[\]",;]{1,24}')

# What dtc takes and we do not: how it begins, what it is, what to write instead.
_NOT_TAKEN = (
    ("(", "an expression; write its result, as in <0x10>"),
    ("/bits/", "/bits/; write cells of 32 bits, or bytes"),
    ("/incbin/", "/incbin/; write the bytes, as in [00 ff]"),
    ("//", "a comment"),
    ("/*", "a comment"),
)


class _Reader:
    """Reads one text from its start to its end; what it stands on is at `_at`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            self._at = error.start
            raise self._bad("not UTF-8 text") from error
        if size > MAX_TEXT_BYTES:
            raise self._bad(f"a value of {size} bytes, expected at most {MAX_TEXT_BYTES}")

    def value(self) -> Value:
        parts: list[Part] = []
        strings: list[bytes] = []
        while True:
            self._skip_space()
            if self._next() == '"':
                strings.append(self._quoted('"'))
            else:
                if strings:
                    parts.append(Strings(tuple(strings)))
                    strings = []
                parts.append(self._cells_or_bytes())
            self._skip_space()
            if not self._next():
                break
            if self._next() != ",":
                raise self._expected('"," or the end')
            self._at += 1
        if strings:
            parts.append(Strings(tuple(strings)))
        return tuple(parts)

    def _cells_or_bytes(self) -> Cells | Bytes:
        match self._next():
            case "<":
                return self._cells()
            case "[":
                return self._bytes()
            case "&":
                raise self._bad("a reference outside of cells; write <&label>")
        raise self._expected('a value: "text", <cells> or [bytes]')

    def _cells(self) -> Cells:
        start = self._at
        self._at += 1
        cells: list[int | Reference] = []
        while True:
            self._skip_space()
            if self._take(">"):
                return Cells(tuple(cells))
            self._not_the_end(start, "<", ">")
            # As in dtc, nothing has to lie between two cells.
            cells.append(self._cell())

    def _cell(self) -> int | Reference:
        if self._next() == "&":
            return self._reference()
        if self._next() == "'":
            return self._character()
        if self._next() == "-":
            raise self._bad("a negative number; write it as a cell, as in 0xffffffff for -1")
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            raise self._expected("a number, a reference or >")
        number = self._number(found.group())
        if number >= _CELL_END:
            raise self._bad(f"{_shown(found.group())} does not fit into a cell of 32 bits")
        self._at = found.end()
        return number

    def _number(self, word: str) -> int:
        digits = _DIGITS.match(word)
        assert digits is not None  # noqa: S101 (each _NUMBER begins with _DIGITS)
        if len(digits.group()) > 4096:  # int() has a limit of its own
            raise self._bad("a number of more than 4096 digits")
        if digits["hex"]:
            return int(digits["hex"], 16)
        if digits["octal"]:
            if re.search("[89]", word):
                raise self._bad(
                    f"{_shown(word)} begins with 0, so it is octal, and has an 8 or a 9"
                )
            return int(digits["octal"], 8)
        return int(digits["decimal"])

    def _reference(self) -> Reference:
        found = _LABEL_REFERENCE.match(self._text, self._at) or _PATH_REFERENCE.match(
            self._text, self._at
        )
        if found is None:
            raise self._bad("not a reference; write &label or &{/path}")
        self._at = found.end()
        return Reference(found.group(1))

    def _character(self) -> int:
        start = self._at
        content = self._quoted("'")
        if len(content) != 1:
            self._at = start
            raise self._bad(f"a character of {len(content)} bytes, expected one")
        return content[0]

    def _bytes(self) -> Bytes:
        start = self._at
        self._at += 1
        data = bytearray()
        while True:
            self._skip_space()
            if self._take("]"):
                return Bytes(bytes(data))
            self._not_the_end(start, "[", "]")
            found = _BYTE.match(self._text, self._at)
            if found is None:
                raise self._expected("two hexadecimal digits or ]")
            data.append(int(found.group(), 16))
            self._at = found.end()

    def _quoted(self, quote: str) -> bytes:
        """Return what is between two quotes, the first of which is next."""
        start = self._at
        self._at += 1
        content = bytearray()
        while not self._take(quote):
            self._not_the_end(start, quote, quote)
            plain = _PLAIN[quote].match(self._text, self._at)
            if plain is not None:
                content += plain.group().encode()
                self._at = plain.end()
            elif self._next() == "\\":
                content += self._escape(start, quote)
            else:
                raise self._bad("a NUL; write \\0")
        return bytes(content)

    def _escape(self, start: int, quote: str) -> bytes:
        at = self._at
        self._at += 1
        self._not_the_end(start, quote, quote)
        if octal := _OCTAL_ESCAPE.match(self._text, self._at):
            self._at = octal.end()
            number = int(octal.group(), 8)
            if number > 0xFF:
                self._at = at
                raise self._bad(f"\\{octal.group()} does not fit into a byte")
            return bytes([number])
        if digits := _HEX_ESCAPE.match(self._text, self._at):
            self._at = digits.end()
            return bytes([int(digits.group(1), 16)])
        char = self._next()
        if char == "\0":
            raise self._bad("a NUL; write \\0")
        if char in "x\n":
            self._at = at
            raise self._bad("\\x without a hexadecimal digit" if char == "x" else "not an escape")
        self._at += 1
        return bytes([_ESCAPES[char]]) if char in _ESCAPES else char.encode()

    def _next(self) -> str:
        """Return the character here, or "" at the end."""
        return self._text[self._at : self._at + 1]

    def _take(self, char: str) -> bool:
        found = self._next() == char
        self._at += found
        return found

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _not_the_end(self, start: int, opened: str, closing: str) -> None:
        if self._at >= len(self._text):
            self._at = start
            raise self._bad(f"{opened} without its {closing}")

    def _expected(self, what: str) -> DtsError:
        if not self._next():
            return self._bad(f"the text ends, expected {what}")
        for beginning, name in _NOT_TAKEN:
            if self._text.startswith(beginning, self._at):
                return self._bad(f"kvmbpf does not take {name}")
        word = _WORD.match(self._text, self._at)
        return self._bad(f"{_shown(word.group() if word else self._next())}, expected {what}")

    def _bad(self, reason: str) -> DtsError:
        return DtsError(self._at + 1, reason)


def _unparsed(part: Part) -> list[str]:
    match part:
        case Strings(values):
            return [f'"{_escaped(value)}"' for value in values]
        case Cells(cells):
            return [f"<{' '.join(map(_unparsed_cell, cells))}>"]
        case Bytes(data):
            return [f"[{data.hex(' ')}]"]


def _unparsed_cell(cell: int | Reference) -> str:
    if isinstance(cell, Reference):
        return str(cell)
    return str(cell) if cell < 10 else f"{cell:#x}"


def _escaped(value: bytes) -> str:
    return "".join(
        f"\\{chr(byte)}"
        if byte in b'"\\'
        else chr(byte)
        if 0x20 <= byte < 0x7F
        else f"\\x{byte:02x}"
        for byte in value
    )


def _shown(text: str) -> str:
    """Return a piece of the text for a message: one line, quoted, not too long."""
    safe = "".join(char if " " <= char <= "~" else f"\\u{ord(char):04x}" for char in text[:33])
    return f'"{safe}"' if len(safe) <= 32 else f'"{safe[:32]}..."'
