# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.dts: each form of a property's value, and each way to get it wrong."""

from __future__ import annotations

import pytest

from kvmbpf.model.dts import (
    MAX_TEXT_BYTES,
    Bytes,
    Cells,
    DtsError,
    Part,
    Reference,
    Strings,
    check_property_name,
    encode_value,
    parse_value,
    unparse_value,
)

VALUES: list[tuple[str, tuple[Part, ...]]] = [
    ("", ()),
    ('"text"', (Strings((b"text",)),)),
    ('""', (Strings((b"",)),)),
    (' "a" ,\t"b"\n', (Strings((b"a", b"b")),)),
    (r'"a\"b\\\t\n\a\b\v\f\r\q"', (Strings((b'a"b\\\t\n\a\b\v\f\rq',)),)),
    (r'"\x41\x7g\0\12\1234\377"', (Strings((b"A\x07g\0\n\x534\xff",)),)),
    ('"gr\u00fcn"', (Strings(("gr\u00fcn".encode(),)),)),
    ("<>", (Cells(()),)),
    ("<1 0x10 0XfF 010 0>", (Cells((1, 16, 255, 8, 0)),)),
    ("<4294967295 0xffffffffULL 1U 2L>", (Cells((0xFFFFFFFF, 0xFFFFFFFF, 1, 2)),)),
    (r"<'a' '\'' '\n' '\xff'>", (Cells((97, 39, 10, 255)),)),
    (
        "<&intc 1 &{/soc@0/i,c_1#} 4>",
        (Cells((Reference("intc"), 1, Reference("/soc@0/i,c_1#"), 4)),),
    ),
    ("<&a&b 1'c'>", (Cells((Reference("a"), Reference("b"), 1, 99)),)),
    ("<1>, <2 3>", (Cells((1,)), Cells((2, 3)))),
    ("[]", (Bytes(b""),)),
    ("[00 fF]", (Bytes(b"\x00\xff"),)),
    ("[00ff 10]", (Bytes(b"\x00\xff\x10"),)),
    (
        '"a", "b", <1>, [02], "c"',
        (Strings((b"a", b"b")), Cells((1,)), Bytes(b"\x02"), Strings((b"c",))),
    ),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_what_a_text_means(text: str, value: tuple[Part, ...]) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_value_goes_back_into_text(text: str, value: tuple[Part, ...]) -> None:
    again = unparse_value(value)
    assert parse_value(again) == value
    assert unparse_value(parse_value(again)) == again
    assert again.isascii()
    assert again.isprintable()


def test_text_of_a_value() -> None:
    value = parse_value('"a","b\\t",<1 10 &x &{/y}>,[0aff]')
    assert unparse_value(value) == r'"a", "b\x09", <1 0xa &x &{/y}>, [0a ff]'


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        (" ", 2, 'the text ends, expected a value: "text", <cells> or [bytes]'),
        ("5", 1, '"5", expected a value: "text", <cells> or [bytes]'),
        ('"a" "b"', 5, '""", expected "," or the end'),
        ('"a",', 5, 'the text ends, expected a value: "text", <cells> or [bytes]'),
        (',"a"', 1, '",", expected a value: "text", <cells> or [bytes]'),
        ('"a"; x = <1>', 4, '";", expected "," or the end'),
        ('<1>, "abc', 6, '" without its "'),
        (r'"abc\"', 1, '" without its "'),
        ('"abc\\', 1, '" without its "'),
        (r'"ab\xg"', 4, r"\x without a hexadecimal digit"),
        (r'"ab\400"', 4, r"\400 does not fit into a byte"),
        ('"ab\\\n"', 4, "not an escape"),
        ('"a\0b"', 3, "a NUL; write \\0"),
        ('"\ud800"', 2, "not UTF-8 text"),
        ("<1 2", 1, "< without its >"),
        ("<1,2>", 3, '",", expected a number, a reference or >'),
        ("<1 0x>", 5, '"x", expected a number, a reference or >'),
        ("<4294967296>", 2, '"4294967296" does not fit into a cell of 32 bits'),
        ("<08>", 2, '"08" begins with 0, so it is octal, and has an 8 or a 9'),
        ("<-1>", 2, "a negative number; write it as a cell, as in 0xffffffff for -1"),
        ("<''>", 2, "a character of 0 bytes, expected one"),
        ("<'ab'>", 2, "a character of 2 bytes, expected one"),
        ("<'\u00fc'>", 2, "a character of 2 bytes, expected one"),
        ("<'a>", 2, "' without its '"),
        ("<(1 + 2)>", 2, "kvmbpf does not take an expression; write its result, as in <0x10>"),
        ("/bits/ 8 <1>", 1, "kvmbpf does not take /bits/; write cells of 32 bits, or bytes"),
        ('/incbin/("f")', 1, "kvmbpf does not take /incbin/; write the bytes, as in [00 ff]"),
        ("<1 /* x */>", 4, "kvmbpf does not take a comment"),
        ("<1> // x", 5, "kvmbpf does not take a comment"),
        ("<&>", 2, "not a reference; write &label or &{/path}"),
        ("<&1a>", 2, "not a reference; write &label or &{/path}"),
        ("<&{a}>", 2, "not a reference; write &label or &{/path}"),
        ("<&{/a b}>", 2, "not a reference; write &label or &{/path}"),
        ("&intc", 1, "a reference outside of cells; write <&label>"),
        ("[0]", 2, '"0", expected two hexadecimal digits or ]'),
        ("[00 0x11]", 5, '"0x11", expected two hexadecimal digits or ]'),
        ("[00", 1, "[ without its ]"),
        ("<1>\u00e9\u00e9", 4, '"\\u00e9\\u00e9", expected "," or the end'),
        ("x" * 100, 1, f'"{"x" * 24}", expected a value: "text", <cells> or [bytes]'),
    ],
)
def test_what_is_refused_where_and_why(text: str, column: int, reason: str) -> None:
    with pytest.raises(DtsError) as caught:
        parse_value(text)
    assert (caught.value.column, caught.value.reason) == (column, reason)
    assert str(caught.value) == f"column {column}: {reason}"


def test_the_longest_texts() -> None:
    for start, middle, end in (("<", "1 ", ">"), ("[", "00", "]"), ('"', "\\n", '"')):
        many = (MAX_TEXT_BYTES - len(start + end)) // len(middle)
        text = start + middle * many + end
        (part,) = parse_value(text)
        match part:
            case Cells(values):
                assert len(values) == many
            case Bytes(data):
                assert len(data) == many
            case Strings((only,)):
                assert len(only) == many
            case Strings():
                pytest.fail("more than one string")
        with pytest.raises(DtsError, match="expected at most 65536"):
            parse_value(text + "  ")


@pytest.mark.parametrize("number", ["9" * 60000, "0x" + "f" * 60000, "7" * 5000])
def test_a_number_without_end(number: str) -> None:
    with pytest.raises(DtsError, match=r"column 2: .*(digits|does not fit)") as caught:
        parse_value(f"<{number}>")
    assert len(str(caught.value)) < 200


def test_bytes_in_the_tree() -> None:
    phandles = {"a": 1, "/b": 0xFFFFFFFE}
    value = parse_value('"x", "", <2 &a &{/b}>, [03]')
    data = encode_value(value, lambda reference: phandles[reference.target])
    assert data == b"x\0\0" + bytes.fromhex("00000002 00000001 fffffffe 03")
    assert encode_value((), lambda _: 0) == b""


@pytest.mark.parametrize(
    "name", ["a", "clock-frequency", "acme,x", "#gpio-cells", "x" * 31, "1?+._"]
)
def test_a_good_name(name: str) -> None:
    check_property_name(name)


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("", 1, "an empty property name"),
        ("x" * 32, 32, "a property name of 32 characters, expected at most 31"),
        ("a b", 2, '" " in a property name, expected A-Za-z0-9 or ,._+?#-'),
        ("a\n", 2, '"\\u000a" in a property name, expected A-Za-z0-9 or ,._+?#-'),
        ("\u00e9", 1, '"\\u00e9" in a property name, expected A-Za-z0-9 or ,._+?#-'),
        ("x" * 31 + "*", 32, '"*" in a property name, expected A-Za-z0-9 or ,._+?#-'),
        ("reg", 1, "property reg is not a device's to give; kvmbpf writes such itself"),
    ],
)
def test_a_bad_name(name: str, column: int, reason: str) -> None:
    with pytest.raises(DtsError) as caught:
        check_property_name(name)
    assert (caught.value.column, caught.value.reason) == (column, reason)


@pytest.mark.parametrize(
    "name",
    [
        *("compatible", "reg", "interrupts", "interrupt-parent", "ranges"),
        *("#address-cells", "#size-cells", "phandle", "name", "interrupts-extended"),
    ],
)
def test_names_that_are_not_the_devices(name: str) -> None:
    with pytest.raises(DtsError, match="not a device's to give"):
        check_property_name(name)
