# SPDX-License-Identifier: GPL-2.0-or-later
"""What a compiler says, as one line: the author's own place, the cause, the mend.

A compiler tells of an error where it stumbles: in a header that the author's line
includes, or, for what BPF has not, in its backend, with a dump of its graph. What
an author can change is a line of the author's own; `Output` finds it:

    In file included from ./dev.bpf.c:1:                         <- the author's
    In file included from /usr/include/string.h:26:
    /usr/include/x86_64-linux-gnu/gnu/stubs.h:7:11: fatal error: ... not found

    fatal error: error in backend: Cannot select: 0x20: i32 = sdiv 0x1, 0x2,
        ./dev.bpf.c:6:17 @[ ./dev.bpf.c:4:1 ]                    <- inlined there

Source: clang 14 to 19, gcc 12 to 14.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kvmbpf.author.compiler_advice import (
    advice,
    header_advice,
    missing_header_advice,
    plain,
)

_DIAGNOSTIC = re.compile(
    r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<kind>(?:fatal )?error|warning|note): "
    r"(?P<text>.*)"
)
_INCLUDED = re.compile(r"(?:In file included|\s+) from (?P<file>.+?):(?P<line>\d+)(?::\d+)?[:,]$")
# An error without a place before it; the driver's own, as of an option, too.
_BACKEND = re.compile(r"(?:\S+: )?(?:fatal )?error: (?:error in backend: )?(?P<text>.*)")
# Said of a compiler that crashed, after all that it said itself.
_DRIVER = re.compile(r"frontend command failed|unable to execute command|linker command failed")
_DAG_PLACE = re.compile(r"(?P<file>[^\s,\[\]]+?):(?P<line>\d+):(?P<column>\d+)")
_NODE = re.compile(r"\s+0x[0-9a-f]+: ")
_FUNCTION = re.compile(r"In function: (?P<own>\S+)|.* on function '@(?P<passed>[^']+)'")
_INCLUDE = re.compile(r'\s*#\s*include\s*(?P<name><[^>]+>|"[^"]+")')
_VMLINUX = re.compile(r"(?:.*/)?vmlinux[^/]*\.h")
_TWICE = re.compile(r"redefinition|redeclar|conflicting types|previous definition|duplicate member")
_MISSING = "file not found"
_MOST_FILES = 64  # that are looked through
_SOURCE_BYTES = 1 << 20  # of a source that is looked into


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a source.

    :param file: as the compiler names it.
    :param line: from 1.
    :param column: from 1, or 0 where it is not known.
    """

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        column = f" column {self.column}" if self.column else ""
        return f"{self.file.removeprefix('./')} line {self.line}{column}"


@dataclass(frozen=True, slots=True)
class Trouble:
    """The first error of a compiler.

    :param text: its words.
    :param places: where it is: the innermost first, then what includes that, or
        what it is inlined into.
    :param block: the lines up to the next error: notes are there.
    """

    text: str
    places: tuple[Place, ...]
    block: tuple[str, ...]


class Output:
    """What a compiler wrote on standard error.

    :param text: all of it.
    :param folders: the author's, absolute; the first is where the compiler ran.
    :param foreign: folders, absolute, that are not the author's wherever they are.
    """

    def __init__(self, text: str, folders: Sequence[Path], foreign: Sequence[Path]) -> None:
        self.text = text
        self._folders = folders
        self._foreign = foreign

    @cached_property
    def function(self) -> str:
        """The function that a backend gave up in, or empty."""
        for line in self.text.splitlines():
            match = _FUNCTION.match(line)
            if match:
                return match["own"] or match["passed"]
        return ""

    def reason(self) -> str:
        """Return the first error: place, words and mend; empty where there is none."""
        trouble = next(self._troubles(), None)
        if trouble is None:
            return ""
        own = next((place for place in trouble.places if self._is_own(place.file)), None)
        vmlinux = self._vmlinux(trouble)
        if vmlinux is not None:
            return vmlinux
        included = None if own is None else self._included(own)
        if own is not None and included is not None:
            if own is not trouble.places[0]:
                found = header_advice(included, trouble.text)
            else:
                found = missing_header_advice(included) if _MISSING in trouble.text else ""
            if found:
                return f"{own}: {found}"
        return self._told(trouble, own)

    def _told(self, trouble: Trouble, own: Place | None) -> str:
        text = plain(trouble.text).removesuffix(".")
        mend = advice(text)
        where = own or next(iter(trouble.places), None)
        inner = ""
        if own is not None and trouble.places[0] != own:
            inner = f" (in {trouble.places[0]})"
        told = f"{text}{inner}{f'; {mend}' if mend else ''}"
        if where is None and self.function:
            return f"function {self.function}: {told}"
        return told if where is None else f"{where}: {told}"

    def _vmlinux(self, trouble: Trouble) -> str | None:
        """Return what is to be said where the kernel's types are there twice."""
        files = [place.file for place in trouble.places]
        files += [match["file"] for match in map(_DIAGNOSTIC.match, trouble.block) if match]
        found = next((file for file in files if _VMLINUX.fullmatch(file)), None)
        if found is None or not _TWICE.search(trouble.text):
            return None
        name = Path(found).name
        own = [place.file for place in trouble.places if self._is_own(place.file)]
        place = self._includer(own, name)
        told = header_advice(f'"{name}"', trouble.text)
        return None if place is None else f"{place}: {told}"

    def _includer(self, files: list[str], name: str) -> Place | None:
        """Return the author's line that includes a file, in some files or what they include."""
        seen: list[str] = []
        while files and len(seen) < _MOST_FILES:
            file = files.pop(0)
            if file in seen:
                continue
            seen.append(file)
            for number, line in enumerate(self._lines(file), 1):
                match = _INCLUDE.match(line)
                if match is None:
                    continue
                included = match["name"][1:-1]
                if Path(included).name == name:
                    return Place(file, number)
                if match["name"].startswith('"'):
                    files.append(str(Path(file).parent / included))
        return None

    def _troubles(self) -> Iterator[Trouble]:
        lines = self.text.splitlines()
        stack: list[Place] = []
        stacks: dict[str, tuple[Place, ...]] = {}
        for index, line in enumerate(lines):
            included = _INCLUDED.match(line)
            if included:
                place = Place(included["file"], int(included["line"]))
                # clang names the outermost first, gcc the innermost.
                stack.insert(0 if line.startswith("In file") else len(stack), place)
                continue
            match = _DIAGNOSTIC.match(line)
            if match:
                # A stack is written once for several errors of a file.
                if stack:
                    stacks[match["file"]] = tuple(stack)
                    stack = []
                if match["kind"].endswith("error"):
                    first = Place(match["file"], int(match["line"]), int(match["column"]))
                    around = stacks.get(match["file"], ())
                    yield Trouble(match["text"], (first, *around), _block(lines, index))
                continue
            backend = _BACKEND.match(line)
            if backend and not _DRIVER.search(line):
                block = (line, *_block(lines, index)[1:])
                # Where the node has no place, those that it is made of have.
                graph = (one for one in block if one is line or _NODE.match(one))
                places = next(filter(None, map(_dag_places, graph)), ())
                yield Trouble(backend["text"], places, block)

    def _is_own(self, file: str) -> bool:
        """Tell whether a file is the author's: beside the source, or below it."""
        path = Path(os.path.normpath(file))  # Path keeps each ".."
        if not path.is_absolute():
            return True
        return any(map(path.is_relative_to, self._folders)) and not any(
            map(path.is_relative_to, self._foreign)
        )

    def _included(self, place: Place) -> str | None:
        """Return what a line of the author's includes, as ``<string.h>``."""
        lines = self._lines(place.file)
        match = _INCLUDE.match(lines[place.line - 1]) if place.line <= len(lines) else None
        return None if match is None else match["name"]

    def _lines(self, file: str) -> list[str]:
        try:
            with (self._folders[0] / file).open(encoding="utf-8", errors="replace") as opened:
                return opened.read(_SOURCE_BYTES).splitlines()
        except OSError:
            return []


def _dag_places(line: str) -> tuple[Place, ...]:
    """Return the places of a line of a graph: where it is, then what it is inlined into."""
    return tuple(
        Place(match["file"], int(match["line"]), int(match["column"]))
        for match in _DAG_PLACE.finditer(line)
    )


def _block(lines: Sequence[str], start: int) -> tuple[str, ...]:
    """Return the lines of an error, up to the next one."""
    for index in range(start + 1, len(lines)):
        match = _DIAGNOSTIC.match(lines[index])
        if match and match["kind"] != "note":
            return tuple(lines[start:index])
    return tuple(lines[start:])
