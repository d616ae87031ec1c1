# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.dts beside dtc: random and damaged values mean the same to both.

What kvmbpf takes, dtc takes, and makes the same bytes of it. What only dtc takes
is of the kinds that kvmbpf's refusal names. A run prints its seed;
`KVMBPF_FUZZ_SEED` repeats it, `KVMBPF_MUTATIONS` says how many values there are.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
from collections.abc import Iterable, Iterator

import pytest

from kvmbpf.model.dts import DtsError, Reference, encode_value, parse_value, unparse_value

MUTATIONS = int(os.environ.get("KVMBPF_MUTATIONS", "100000"))
# Refused values cost a process of dtc each, so only this many are shown to it.
REFUSALS = MUTATIONS // 100
BATCH = 500

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*:")

PHANDLES = {"intc": 0x11, "_a1": 0x22, "/": 0x33, "/soc/intc": 0x11, "/soc": 0x22}
TREE = (
    "/ {{ phandle = <0x33>; {} "
    "_a1: soc {{ phandle = <0x22>; intc: intc {{ phandle = <0x11>; }}; }}; }};"
)

ALPHABET = "<>[]\"'\\&{}/, \t\n\r\v\f;:=()-+*#@.x0123789afFgUL\0\x01\x7f\u00e9\u20ac"
# What dtc takes and kvmbpf does not, by what kvmbpf says of it.
DTC_ONLY = (
    "kvmbpf does not take",
    "a reference outside of cells",
    "does not fit into a byte",  # dtc cuts
    "without a hexadecimal digit",  # dtc reads "\x-1"
    "a NUL",
    "does not fit into a cell",  # dtc takes what is a negative number in 64 bits
)


@pytest.fixture(scope="module")
def rng() -> random.Random:
    seed = int(os.environ.get("KVMBPF_FUZZ_SEED", "0"), 0) or random.SystemRandom().getrandbits(64)
    print(f"KVMBPF_FUZZ_SEED={seed:#x}")
    return random.Random(seed)  # noqa: S311 (no secret)


def number(rng: random.Random) -> str:
    value = rng.choice([rng.getrandbits(32), rng.getrandbits(5), 0, 0xFFFFFFFF])
    return rng.choice(["{}", "{:#x}", "0X{:X}", "0{:o}"]).format(value) + rng.choice(
        ["", "", "", "U", "L", "UL", "LL", "ULL"]
    )


def quoted(rng: random.Random, quote: str, count: int) -> str:
    pieces = [
        r"\n",
        r"\\",
        r"\"",
        r"\'",
        r"\x4",
        r"\xfe",
        r"\7",
        r"\377",
        r"\q",
        "z",
        "\u00e9",
        " ",
    ]
    if quote == "'":
        pieces = [r"\n", r"\"", r"\'", r"\x4", r"\xfe", r"\7", r"\377", r"\q", "z", " "]
    return quote + "".join(rng.choice(pieces) for _ in range(count)) + quote


def cell(rng: random.Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return quoted(rng, "'", 1)
    if kind == 1:
        return rng.choice(["&intc", "&_a1", "&{/}", "&{/soc/intc}", "&{/soc}"])
    return number(rng)


def space(rng: random.Random) -> str:
    return rng.choice(["", " ", "\t", "\n ", " \v\f\r"])


def part(rng: random.Random) -> str:
    count = rng.choice([0, 1, 2, 5])
    kind = rng.randrange(3)
    if kind == 0:
        return quoted(rng, '"', count)
    if kind == 1:
        return f"<{' '.join(cell(rng) + space(rng) for _ in range(count))}>"
    return f"[{space(rng).join(f'{rng.getrandbits(8):02x}' for _ in range(count))}]"


def value(rng: random.Random) -> str:
    parts = [space(rng) + part(rng) + space(rng) for _ in range(rng.choice([1, 1, 2, 4]))]
    return ",".join(parts)


def damaged(rng: random.Random) -> str:
    text = value(rng)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randint(0, len(text))
        more = "".join(rng.choice(ALPHABET) for _ in range(rng.choice([0, 1, 1, 2])))
        text = text[:at] + more + text[at + rng.choice([0, 0, 1, 3]) :]
    return text


def phandle_of(reference: Reference) -> int:
    return PHANDLES[reference.target]


def dtc(source: str) -> bytes | None:
    """Return the tree that dtc makes of a source, or None where it refuses."""
    done = subprocess.run(
        ["dtc", "-q", "-q", "-I", "dts", "-O", "dtb"],
        input=f"/dts-v1/; {source}".encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout if done.returncode == 0 else None


def dtc_values(texts: list[str]) -> list[bytes] | None:
    """Return what dtc makes of each text, or None where it refuses one."""
    properties = " ".join(f"p{index} = {text};" for index, text in enumerate(texts))
    blob = dtc(TREE.format(properties))
    if blob is None:
        return None
    wanted = [word for index in range(len(texts)) for word in ("/", f"p{index}")]
    done = subprocess.run(
        ["fdtget", "-t", "bx", "-", *wanted], input=blob, capture_output=True, check=True
    )
    lines = done.stdout.decode().splitlines()
    return [bytes(int(byte, 16) for byte in line.split()) for line in lines]


def refusal(text: str) -> DtsError | None:
    """Return why kvmbpf does not take a text, in a proper line, or None where it does."""
    try:
        parse_value(text)
    except DtsError as error:
        found = error
    else:
        return None
    assert 1 <= found.column <= len(text) + 1
    assert str(found).isprintable()
    assert len(str(found)) < 200
    return found


def taken(texts: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the texts that kvmbpf takes, with its bytes, if the tree has their references."""
    for text in texts:
        if refusal(text) is None:
            # A reference that the tree does not have is no matter of the text.
            with contextlib.suppress(KeyError):
                yield text, encode_value(parse_value(text), phandle_of)


def leads_dtc_astray(text: str) -> bool:
    r"""Tell whether dtc's lexer takes the quote after \\ for one that is escaped."""
    return r"\\'" in text


def agree(texts: Iterable[str]) -> int:
    """Require that dtc makes the same of what kvmbpf takes; return how many those are."""
    found = [pair for pair in taken(texts) if pair[0] and not leads_dtc_astray(pair[0])]
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        values = dtc_values([text for text, _ in batch])
        if values is None:  # say which
            refused = [text for text, _ in batch if dtc_values([text]) is None]
            pytest.fail(f"dtc refuses what kvmbpf takes: {refused[:3]!r}")
        for (text, own), other in zip(batch, values, strict=True):
            assert own == other, text
            assert encode_value(parse_value(unparse_value(parse_value(text))), phandle_of) == own
    return len(found)


def test_random_values_mean_what_dtc_says(rng: random.Random) -> None:
    count = MUTATIONS // 2
    assert agree(value(rng) for _ in range(count)) > count * 0.9


def test_damaged_values_mean_what_dtc_says(rng: random.Random) -> None:
    assert agree(damaged(rng) for _ in range(MUTATIONS // 2)) > 0


def test_dtc_knows_the_tree() -> None:
    assert dtc_values(["<&nothing>"]) is None
    assert dtc_values(["<&intc &{/}>", '"x"']) == [bytes.fromhex("0000001100000033"), b"x\0"]


def test_what_only_dtc_takes_is_refused_by_name(rng: random.Random) -> None:
    seen = 0
    while seen < REFUSALS:
        text = damaged(rng)
        error = refusal(text)
        if error is None:
            continue
        seen += 1
        if any(reason in str(error) for reason in DTC_ONLY):
            continue
        # A label, more than one property, or '\' and '\<newline>', characters to dtc.
        if LABEL.search(text) or ";" in text or re.search(r"\\'|'\\\n", text):
            continue
        assert dtc(TREE.format(f"p0 = {text};")) is None, (text, str(error))


@pytest.mark.parametrize("text", [c * n for c in ALPHABET for n in (1, 2, 3, 1000)])
def test_one_character_over_and_over(text: str) -> None:
    agree([text])
