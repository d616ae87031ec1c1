# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples in the author's header, taken out of its comments.

An example is a block of a comment's lines that are indented by a tab and of which
one ends as a statement does. What it leaves out, as the device of which it is a
body, is added, so that each compiles, and can be loaded, by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.author.compile import HEADERS

DEVICE = 'KVMBPF_DEVICE(example, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) }, .irqs = 1);'
READ = "KVMBPF_READ(struct kvmbpf_access *acc)\n{\n\treturn KVMBPF_DECLINE;\n}"
WRITE = "KVMBPF_WRITE(struct kvmbpf_access *acc)\n{\n\treturn KVMBPF_DECLINE;\n}"

# As the design has it, to the letter.
DESIGN_EXAMPLE = """\
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(counter, .compatible = "kvmbpf,counter", .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);

__u64 count;                                    /* survives a hot update */

KVMBPF_READ(struct kvmbpf_access *acc)
{
	if (acc->offset != 0)
		return KVMBPF_DECLINE;
	acc->value = count;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	count += acc->value;
	return kvmbpf_irq(acc, 0, 1);
}
"""  # noqa: E501 - as an author writes it

CONCURRENT_EXAMPLE = f"""\
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(twin, .compatible = "kvmbpf,twin", .regions = {{ KVMBPF_MMIO(0x2000) }},
\t      .flags = KVMBPF_CONCURRENT);

{READ}

{WRITE}
"""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_PUBLIC = re.compile(r"^#define (KVMBPF_[A-Z_]+|kvmbpf_[a-z_]+)\(", re.MULTILINE)
_FUNCTION = re.compile(r"^(?:static __always_inline .*?)(kvmbpf_[a-z_]+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One example.

    :param name: its file and the number of its first line.
    :param text: as an author would type it.
    """

    name: str
    text: str

    def source(self) -> str:
        """Return the example as a whole source."""
        if "#include" in self.text:
            return f"{self.text}\n"
        text = self.text
        if "KVMBPF_" not in text or text.startswith("if"):
            text = READ.replace("\treturn KVMBPF_DECLINE;\n", _indented(text))
        parts = ["#include <kvmbpf.bpf.h>", text]
        if "KVMBPF_DEVICE(" not in text:
            parts.insert(1, DEVICE)
        if "KVMBPF_READ" not in text:
            parts.append(READ)
        if "KVMBPF_WRITE" not in text:
            parts.append(WRITE)
        return "\n\n".join(parts) + "\n"


def examples() -> list[Example]:
    """Return the examples of all files of the header."""
    return [example for path in sorted(HEADERS.glob("*.h")) for example in examples_of(path)]


def examples_of(path: Path) -> list[Example]:
    """Return the examples in one file's comments."""
    text = path.read_text(encoding="utf-8")
    found = []
    for comment in _COMMENT.finditer(text):
        first = text.count("\n", 0, comment.start()) + 1
        for number, block in _blocks(comment.group().splitlines()):
            code = _without_table(block)
            if code:
                found.append(Example(f"{path.name}:{first + number}", code))
    return found


def undocumented() -> set[str]:
    """Return what authors may use and no example shows."""
    shown = "\n".join(example.text for example in examples())
    return {name for name in public_names() if not re.search(rf"\b{name}\b", shown)}


def public_names() -> set[str]:
    """Return the macros and functions that are the author's to use.

    What they are made of stands behind a comment that begins with "private".
    """
    names = set()
    for path in HEADERS.glob("*.h"):
        if path.name in ("kvmbpf_kernel.h", "kvmbpf_native.h"):
            continue
        text = path.read_text(encoding="utf-8").partition("---- private")[0]
        text = re.sub(r"/\*\s(?: \* )?Private:.*?\n\n", "", f"{text}\n\n", flags=re.DOTALL)
        names.update(_PUBLIC.findall(text))
        names.update(name for name in _FUNCTION.findall(text) if not name.endswith("_by"))
    return names


def _blocks(lines: list[str]) -> list[tuple[int, str]]:
    """Return runs of lines that are indented by a tab, each with its first one's number."""
    blocks: list[tuple[int, list[str]]] = []
    inside = False
    for number, line in enumerate(lines):
        if line.startswith(" *\t"):
            if not inside:
                blocks.append((number, []))
            blocks[-1][1].append(line[3:])
            inside = True
        elif line == " *" and inside:
            blocks[-1][1].append("")
        else:
            inside = False
    return [(number, "\n".join(block).strip("\n")) for number, block in blocks]


def _without_table(block: str) -> str:
    """Return a block from its first paragraph on that is code."""
    paragraphs = block.split("\n\n")
    while paragraphs and not re.search(r"[;{}]$", paragraphs[0], re.MULTILINE):
        del paragraphs[0]
    return "\n\n".join(paragraphs)


def _indented(text: str) -> str:
    return "".join(f"\t{line}\n" for line in text.splitlines())
