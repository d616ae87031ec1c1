# SPDX-License-Identifier: GPL-2.0-or-later
"""Do what a page of the documentation says, and compare what comes of it.

    $ command       in a ```console block is run, and prints the lines that follow
    ```diff         is applied with patch -p1
    Save this as `NAME`:  and a block make a file
    ```c, ```python must be found, as it stands, in some file that is there

Numbers that are another's on another machine are compared as N. To write what
the commands print into the page:

    python -m tests.tutorial --update docs/first-device.md
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^Save this as `(?P<name>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LAB = "kvmbpf lab run -- "
_HOME = "/home/you"
# What a pytest of the page's own would take from the one that runs it, or from a CI:
# there it does not shorten its last lines.
_PYTEST_READS = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "CI", "BUILD_NUMBER")
# What makes files that later steps take: all of a page that the lab need not see again is left out.
_MAKES = ("kvmbpf new ", "kvmbpf build ", "cd ", "gcc ")
# What differs from machine to machine, and how it is compared.
_VARIES = [
    (re.compile(r"\b\d+\.\d+s\b"), "Ns"),
    (re.compile(r"\b\d+ instructions"), "N instructions"),
    (re.compile(r"\bpid \d+"), "pid N"),
]


@dataclass(frozen=True)
class Step:
    """A block of the page.

    :param kind: the block's language.
    :param text: its content.
    :param name: of the file that it is, or None.
    :param span: where the content is in the page.
    """

    kind: str
    text: str
    name: str | None
    span: tuple[int, int]

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The commands of a console block, each with what it prints."""
        found: list[tuple[str, str]] = []
        for line in self.text.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append((line[2:].rstrip("\n"), ""))
            else:
                command, output = found[-1]
                found[-1] = (command, output + line)
        return found

    @property
    def in_lab(self) -> bool:
        """Tell whether its commands need the lab."""
        if self.kind != "console":
            return False
        return any(command.startswith(_LAB) for command, _ in self.commands)


def steps(page: str) -> Iterator[Step]:
    """Go through the blocks of a page."""
    for match in _BLOCK.finditer(page):
        yield Step(match["kind"], match["text"], match["name"], match.span("text"))


def plain(output: str) -> str:
    """Return what is compared of an output."""
    for pattern, to in _VARIES:
        output = pattern.sub(to, output)
    return output


class Reader:
    """Who does what a page says.

    :param home: a folder to begin in.
    :param inside: we are in the lab already: commands run without it.
    """

    def __init__(self, home: Path, *, inside: bool = False) -> None:
        self.home = home
        self.folder = home
        self._inside = inside

    def run(self, command: str) -> str:
        """Run a command; return what it prints, with the reader's folder in it."""
        if command.startswith("cd "):
            self.folder = self.folder / command[3:]
            return ""
        if self._inside:
            command = command.removeprefix(_LAB)
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "80",
            "LC_ALL": "C.UTF-8",
        }
        for name in _PYTEST_READS:
            environment.pop(name, None)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output = done.stdout.replace(str(self.home), _HOME)
        return "".join(f"{line.rstrip()}\n" for line in output.splitlines())

    def do(self, step: Step) -> str:
        """Do what a block says; return the block as it should be.

        :raise AssertionError: when a patch or a quotation does not fit.
        """
        if step.name is not None:
            (self.folder / step.name).write_text(step.text, encoding="utf-8")
        elif step.kind == "diff":
            self._patch(step.text)
        elif step.kind == "console":
            return "".join(f"$ {command}\n{self.run(command)}" for command, _ in step.commands)
        else:
            files = [path for path in self.folder.iterdir() if path.is_file()]
            assert any(step.text.encode() in path.read_bytes() for path in files), step.text
        return step.text

    def prepare(self, step: Step) -> None:
        """Do of a block only what later ones need: in the lab each command takes its time."""
        if step.kind != "console":
            self.do(step)
            return
        for command, _ in step.commands:
            if command.startswith(_MAKES):
                self.run(command)

    def _patch(self, text: str) -> None:
        done = subprocess.run(
            ["patch", "-p1", "--fuzz=0"],
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def update(page: str, home: Path, *, inside: bool = False) -> str:
    """Return a page with what its commands print: those of the lab inside it, or the others."""
    reader = Reader(home, inside=inside)
    done: list[tuple[Step, str]] = []
    for step in steps(page):
        if step.in_lab == inside:
            done.append((step, reader.do(step)))
        elif inside:
            reader.prepare(step)
    for step, text in reversed(done):
        start, end = step.span
        page = page[:start] + text + page[end:]
    return page


def main() -> None:
    """Update the page that is named last."""
    path = Path(sys.argv[-1])
    if "--update" not in sys.argv:
        sys.exit(f"usage: {sys.argv[0]} --update PAGE")
    with tempfile.TemporaryDirectory() as home:
        inside = "KVMBPF_IN_LAB" in os.environ
        text = update(path.read_text(encoding="utf-8"), Path(home).resolve(), inside=inside)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
