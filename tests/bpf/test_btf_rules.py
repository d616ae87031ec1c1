# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of kvmbpf.model.objfile.btfrules are the running kernel's.

Each case is given to the kernel and to the rules: they say the same, and for the same
reason. Some cases are made by hand, some by this machine's clang from a source.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.kernel.libbpf.lib import libbpf
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.uapi import bpf as uapi
from kvmbpf.model.check import check_file
from kvmbpf.model.objfile.btf import Btf, Kind
from kvmbpf.model.objfile.btfrules import Fault, refused
from kvmbpf.model.objfile.elf import ElfImage

from .raw_btf import RawBtf

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

_SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_BPF_BTF_LOAD = 18


def load(raw: bytes) -> str | None:
    """Have the kernel load types; return its log where it refuses them."""
    data = ctypes.create_string_buffer(raw, len(raw))
    log = ctypes.create_string_buffer(1 << 20)
    fields = (ctypes.addressof(data), ctypes.addressof(log), len(raw), len(log), 1)
    attr = ctypes.create_string_buffer(struct.pack("=QQIII", *fields), 32)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_BPF, _BPF_BTF_LOAD, attr, 28)
    if fd < 0:
        assert ctypes.get_errno() not in (1, 14), os.strerror(ctypes.get_errno())
        return log.value.decode(errors="replace")
    os.close(fd)
    return None


def int_(raw: RawBtf, name: str = "int", size: int = 4, bits: int = 32, word: int = 0) -> int:
    return raw.add(uapi.BTF_KIND_INT, name, size, struct.pack("=I", word | bits))


def array(raw: RawBtf, element: int, index: int, count: int) -> int:
    return raw.add(uapi.BTF_KIND_ARRAY, "", 0, struct.pack("=3I", element, index, count))


def enum_(raw: RawBtf, name: str = "e", value: str = "A", size: int = 4) -> int:
    tail = struct.pack("=2I", raw._name(value), 0)
    return raw.add(uapi.BTF_KIND_ENUM, name, size, tail, 1)


def bits_struct(raw: RawBtf, size: int, *members: tuple[str, int, int, int]) -> int:
    """Add a struct with bit fields: name, type, offset and width in bits."""
    tail = b"".join(
        struct.pack("=III", raw._name(name), kind, width << 24 | offset)
        for name, kind, offset, width in members
    )
    return raw.add(uapi.BTF_KIND_STRUCT, "s", size, tail, len(members), 1)


def proto(raw: RawBtf, back: int, *arguments: tuple[str, int]) -> int:
    tail = b"".join(struct.pack("=2I", raw._name(name), kind) for name, kind in arguments)
    return raw.add(uapi.BTF_KIND_FUNC_PROTO, "", back, tail, len(arguments))


def function(raw: RawBtf, of: int, name: str = "f", linkage: int = 0) -> int:
    return raw.add(uapi.BTF_KIND_FUNC, name, of, vlen=linkage)


def variable(raw: RawBtf, of: int, name: str = "v", linkage: int = 1) -> int:
    return raw.add(uapi.BTF_KIND_VAR, name, of, struct.pack("=I", linkage))


def section(raw: RawBtf, size: int, *variables: tuple[int, int, int], name: str = ".bss") -> int:
    tail = b"".join(struct.pack("=3I", *item) for item in variables)
    return raw.add(uapi.BTF_KIND_DATASEC, name, size, tail, len(variables))


def modifier(raw: RawBtf, kind: Kind, of: int, name: str = "") -> int:
    return raw.add(kind, name, of)


def tag(raw: RawBtf, of: int, text: str = "t", index: int = -1) -> int:
    return raw.add(Kind.DECL_TAG, text, of, struct.pack("=i", index))


def deep(raw: RawBtf, count: int) -> None:
    """Add structs in structs, the outermost first."""
    for number in range(1, count):
        raw.struct(f"s{number}", 4, ("x", number + 1, 0))
    int_(raw)


Make = Callable[[RawBtf], object]
PTR, CONST, TYPEDEF, VOLATILE, TYPE_TAG = (
    Kind.PTR,
    Kind.CONST,
    Kind.TYPEDEF,
    Kind.VOLATILE,
    Kind.TYPE_TAG,
)

# what is wrong, or None; the types
CASES: list[tuple[str, Fault | None, Make]] = [
    ("int", None, int_),
    ("bool", None, lambda r: int_(r, "bool", 1, 8, 4 << 24)),
    ("int of 128 bits", None, lambda r: int_(r, "i", 16, 128)),
    ("int of 129 bits", Fault.INT, lambda r: int_(r, "i", 32, 129)),
    ("int wider than its size", Fault.INT, lambda r: int_(r, "i", 4, 64)),
    ("int at a bit past its end", Fault.INT, lambda r: int_(r, "i", 4, 32, 8 << 16)),
    ("int signed and char", Fault.INT, lambda r: int_(r, word=3 << 24)),
    ("int with unknown bits", Fault.INT, lambda r: int_(r, word=1 << 28)),
    ("int with a flag", Fault.FLAG, lambda r: r.add(1, "i", 4, struct.pack("=I", 32), flag=1)),
    ("int with entries", Fault.FLAG, lambda r: r.add(1, "i", 4, struct.pack("=I", 32), 3)),
    ("pointer to void", None, lambda r: modifier(r, PTR, 0)),
    ("pointer with a name", Fault.FLAG, lambda r: modifier(r, PTR, 0, "p")),
    ("const with a name", Fault.FLAG, lambda r: modifier(r, CONST, 0, "c")),
    ("pointer to itself", Fault.LOOP, lambda r: modifier(r, PTR, 1)),
    ("typedef of itself", Fault.LOOP, lambda r: modifier(r, TYPEDEF, 1, "t")),
    ("typedef without a name", Fault.NO_NAME, lambda r: modifier(r, TYPEDEF, 0)),
    ("typedef with a dollar", Fault.NAME, lambda r: modifier(r, TYPEDEF, 0, "a$b")),
    ("typedef that begins with a digit", Fault.NAME, lambda r: modifier(r, TYPEDEF, 0, "1a")),
    ("typedef with a dot", None, lambda r: modifier(r, TYPEDEF, 0, "a.b")),
    ("typedef in Latin", Fault.NAME, lambda r: modifier(r, TYPEDEF, 0, "gr\u00f6\u00dfe")),
    ("typedef of a template", Fault.NAME, lambda r: modifier(r, TYPEDEF, 0, "Vec<u8>")),
    ("name of 512", None, lambda r: modifier(r, TYPEDEF, 0, "a" * 512)),
    ("name of 513", Fault.NAME, lambda r: modifier(r, TYPEDEF, 0, "a" * 513)),
    (
        "pointer to a variable",
        Fault.REFERENCE,
        lambda r: (int_(r), variable(r, 1), modifier(r, PTR, 2)),
    ),
    (
        "two pointers to each other",
        Fault.LOOP,
        lambda r: (modifier(r, PTR, 2), modifier(r, PTR, 1)),
    ),
    ("type tag", None, lambda r: (int_(r), modifier(r, TYPE_TAG, 1, "t"), modifier(r, PTR, 2))),
    ("type tag of no text", Fault.TAG, lambda r: (int_(r), modifier(r, TYPE_TAG, 1))),
    (
        "type tag behind const",
        Fault.TAG_ORDER,
        lambda r: (int_(r), modifier(r, TYPE_TAG, 1, "t"), modifier(r, CONST, 2)),
    ),
    ("array", None, lambda r: (int_(r), array(r, 1, 1, 3))),
    ("array of 0", None, lambda r: (int_(r), array(r, 1, 1, 0))),
    ("array of void", Fault.ELEMENT, lambda r: (int_(r), array(r, 0, 1, 3))),
    ("array counted by void", Fault.INDEX, lambda r: (int_(r), array(r, 1, 0, 3))),
    (
        "array counted by a pointer",
        Fault.INDEX,
        lambda r: (int_(r), modifier(r, PTR, 1), array(r, 1, 2, 3)),
    ),
    (
        "array of const void",
        Fault.ELEMENT,
        lambda r: (int_(r), modifier(r, CONST, 0), array(r, 2, 1, 3)),
    ),
    (
        "array of a declared struct",
        Fault.ELEMENT,
        lambda r: (int_(r), r.add(Kind.FWD, "s", 0), array(r, 2, 1, 3)),
    ),
    ("array of functions", Fault.ELEMENT, lambda r: (int_(r), proto(r, 1), array(r, 2, 1, 3))),
    ("array of itself", Fault.LOOP, lambda r: (int_(r), array(r, 2, 1, 3))),
    (
        "array of odd integers",
        Fault.INT,
        lambda r: (int_(r), int_(r, "o", 4, 31), array(r, 2, 1, 3)),
    ),
    ("array of 4 GiB", Fault.TOO_LARGE, lambda r: (int_(r), array(r, 1, 1, 1 << 30))),
    (
        "array of arrays of 4 GiB",
        Fault.TOO_LARGE,
        lambda r: (int_(r), array(r, 1, 1, 1 << 16), array(r, 2, 1, 1 << 16)),
    ),
    ("struct", None, lambda r: (int_(r), r.struct("s", 8, ("a", 1, 0), ("b", 1, 32)))),
    ("struct without a name", None, lambda r: (int_(r), r.struct("", 4, ("", 1, 0)))),
    ("struct of nothing", None, lambda r: r.struct("s", 0)),
    ("struct with a dollar", Fault.NAME, lambda r: r.struct("s$", 0)),
    ("member with a dollar", Fault.NAME, lambda r: (int_(r), r.struct("s", 4, ("a$", 1, 0)))),
    ("member of void", Fault.MEMBER, lambda r: r.struct("s", 4, ("a", 0, 0))),
    (
        "member of a function",
        Fault.MEMBER,
        lambda r: (int_(r), proto(r, 1), r.struct("s", 8, ("a", 2, 0))),
    ),
    (
        "member of a declared struct",
        Fault.MEMBER,
        lambda r: (r.add(Kind.FWD, "o", 0), r.struct("s", 8, ("a", 1, 0))),
    ),
    (
        "member of typedef void",
        Fault.MEMBER,
        lambda r: (modifier(r, TYPEDEF, 0, "t"), r.struct("s", 8, ("a", 1, 0))),
    ),
    ("member past the end", Fault.PAST_END, lambda r: (int_(r), r.struct("s", 4, ("a", 1, 8)))),
    (
        "member far past the end",
        Fault.PAST_END,
        lambda r: (int_(r), r.struct("s", 4, ("a", 1, 64))),
    ),
    (
        "members in disorder",
        Fault.ORDER,
        lambda r: (int_(r), r.struct("s", 8, ("a", 1, 32), ("b", 1, 0))),
    ),
    (
        "union with an offset",
        Fault.ORDER,
        lambda r: (int_(r), r.add(Kind.UNION, "u", 8, struct.pack("=3I", 0, 1, 32), 1)),
    ),
    ("struct in itself", Fault.LOOP, lambda r: r.struct("s", 8, ("a", 1, 0))),
    (
        "struct with a pointer to itself",
        None,
        lambda r: (r.struct("s", 8, ("a", 2, 0)), modifier(r, PTR, 1)),
    ),
    (
        "structs in each other",
        Fault.LOOP,
        lambda r: (r.struct("s", 8, ("a", 2, 0)), r.struct("t", 8, ("a", 1, 0))),
    ),
    ("32 deep", None, lambda r: deep(r, 33)),
    ("33 deep", Fault.DEPTH, lambda r: deep(r, 34)),
    (
        "pointer off a byte",
        Fault.PLACE,
        lambda r: (modifier(r, PTR, 0), r.struct("s", 16, ("a", 1, 4))),
    ),
    ("enum off a byte", Fault.PLACE, lambda r: (enum_(r), r.struct("s", 8, ("a", 1, 4)))),
    ("old bit field", None, lambda r: (int_(r, "i", 4, 3), r.struct("s", 4, ("a", 1, 5)))),
    ("bit field", None, lambda r: (int_(r), bits_struct(r, 4, ("a", 1, 0, 3), ("b", 1, 3, 29)))),
    (
        "bit field too wide",
        Fault.BIT_FIELD,
        lambda r: (int_(r), bits_struct(r, 8, ("a", 1, 0, 33))),
    ),
    (
        "bit field past the end",
        Fault.PAST_END,
        lambda r: (int_(r), bits_struct(r, 4, ("a", 1, 8, 32))),
    ),
    ("plain off a byte", Fault.PLACE, lambda r: (int_(r), bits_struct(r, 8, ("a", 1, 1, 0)))),
    (
        "bit field of a pointer",
        Fault.BIT_FIELD,
        lambda r: (modifier(r, PTR, 0), bits_struct(r, 8, ("a", 1, 0, 3))),
    ),
    (
        "bit field of an odd integer",
        Fault.BIT_BASE,
        lambda r: (int_(r, "i", 4, 31), bits_struct(r, 8, ("a", 1, 0, 3))),
    ),
    (
        "bit field over 128 bits",
        Fault.BIT_SPAN,
        lambda r: (int_(r, "i", 16, 128), bits_struct(r, 32, ("a", 1, 1, 128))),
    ),
    ("bit field of an enum", None, lambda r: (enum_(r), bits_struct(r, 4, ("a", 1, 3, 29)))),
    (
        "wide bit field of an enum",
        Fault.BIT_FIELD,
        lambda r: (enum_(r, size=8), bits_struct(r, 8, ("a", 1, 0, 33))),
    ),
    (
        "small enum beside bit fields",
        Fault.PAST_END,
        lambda r: (enum_(r, size=1), bits_struct(r, 1, ("a", 1, 0, 0))),
    ),
    ("small enum", None, lambda r: (enum_(r, size=1), r.struct("s", 1, ("a", 1, 0)))),
    ("enum of 3 bytes", Fault.ENUM, lambda r: enum_(r, size=3)),
    ("enum with a dollar", Fault.NAME, lambda r: enum_(r, "e$")),
    ("enumerator with a dollar", Fault.NAME, lambda r: enum_(r, value="A$")),
    ("enumerator without a name", Fault.NO_NAME, lambda r: enum_(r, value="")),
    ("enum64", None, lambda r: r.enum64("e", False, A=1 << 40)),
    ("enum64 enumerator", Fault.NAME, lambda r: r.enum64("e", False, **{"a$": 1})),
    ("declared struct", None, lambda r: r.add(Kind.FWD, "s", 0)),
    ("declared without a name", Fault.NO_NAME, lambda r: r.add(Kind.FWD, "", 0)),
    ("float", None, lambda r: r.add(Kind.FLOAT, "float", 4)),
    ("float of 3 bytes", Fault.FLOAT, lambda r: r.add(Kind.FLOAT, "f", 3)),
    (
        "float in a packed struct",
        Fault.FLOAT_PLACE,
        lambda r: (r.add(Kind.FLOAT, "float", 4), r.struct("s", 5, ("a", 1, 8))),
    ),
    (
        "float past the end",
        Fault.PAST_END,
        lambda r: (r.add(Kind.FLOAT, "float", 4), r.struct("s", 4, ("a", 1, 32))),
    ),
    ("function", None, lambda r: (int_(r), proto(r, 1, ("a", 1)), function(r, 2))),
    ("prototype", None, lambda r: (int_(r), proto(r, 0, ("", 1), ("", 0)))),
    ("prototype with a name", Fault.FLAG, lambda r: r.add(Kind.FUNC_PROTO, "p", 0)),
    (
        "argument without a name",
        Fault.ARGUMENT,
        lambda r: (int_(r), proto(r, 1, ("", 1)), function(r, 2)),
    ),
    ("argument with a dollar", Fault.NAME, lambda r: (int_(r), proto(r, 1, ("a$", 1)))),
    ("argument of void", Fault.ARGUMENT, lambda r: (int_(r), proto(r, 1, ("a", 0), ("b", 1)))),
    ("last argument of void", Fault.ARGUMENT, lambda r: (int_(r), proto(r, 1, ("a", 0)))),
    (
        "argument of a declared struct",
        Fault.ARGUMENT,
        lambda r: (r.add(Kind.FWD, "s", 0), proto(r, 0, ("a", 1))),
    ),
    ("returns a declared struct", Fault.RETURN, lambda r: (r.add(Kind.FWD, "s", 0), proto(r, 1))),
    (
        "returns const void",
        Fault.RETURN,
        lambda r: (modifier(r, CONST, 0), proto(r, 1)),
    ),
    ("function of no prototype", Fault.REFERENCE, lambda r: (int_(r), function(r, 1))),
    ("function without a name", Fault.NO_NAME, lambda r: (proto(r, 0), function(r, 1, ""))),
    ("function with a dollar", Fault.NAME, lambda r: (proto(r, 0), function(r, 1, "f$"))),
    ("function, declared only", Fault.LINKAGE, lambda r: (proto(r, 0), function(r, 1, linkage=2))),
    ("variable", None, lambda r: (int_(r), variable(r, 1))),
    ("static variable", None, lambda r: (int_(r), variable(r, 1, linkage=0))),
    ("variable, declared only", Fault.LINKAGE, lambda r: (int_(r), variable(r, 1, linkage=2))),
    ("variable of void", Fault.REFERENCE, lambda r: variable(r, 0)),
    (
        "variable of a declared struct",
        Fault.REFERENCE,
        lambda r: (r.add(7, "s", 0), variable(r, 1)),
    ),
    ("variable of const void", Fault.REFERENCE, lambda r: (modifier(r, CONST, 0), variable(r, 1))),
    ("variable without a name", Fault.NO_NAME, lambda r: (int_(r), variable(r, 1, ""))),
    ("variable with a dollar", Fault.NAME, lambda r: (int_(r), variable(r, 1, "v$"))),
    ("section", None, lambda r: (int_(r), variable(r, 1), section(r, 4, (2, 0, 4)))),
    (
        "section with a minus",
        None,
        lambda r: (int_(r), variable(r, 1), section(r, 4, (2, 0, 4), name=".data.a-b c")),
    ),
    (
        "section without a name",
        Fault.NAME,
        lambda r: (int_(r), variable(r, 1), section(r, 4, (2, 0, 4), name="")),
    ),
    ("section of no size", Fault.NO_SIZE, lambda r: section(r, 0)),
    ("section without variables", None, lambda r: section(r, 4)),
    (
        "variable of no size",
        Fault.NO_SIZE,
        lambda r: (r.struct("s", 0), variable(r, 1), section(r, 4, (2, 0, 0))),
    ),
    (
        "variables that overlap",
        Fault.OVERLAP,
        lambda r: (
            int_(r),
            variable(r, 1),
            variable(r, 1, "w"),
            section(r, 8, (2, 0, 4), (3, 2, 4)),
        ),
    ),
    (
        "variable past its section",
        Fault.OVERLAP,
        lambda r: (int_(r), variable(r, 1), section(r, 4, (2, 2, 4))),
    ),
    (
        "variable larger than its place",
        Fault.OVERLAP,
        lambda r: (int_(r), variable(r, 1), section(r, 4, (2, 0, 2))),
    ),
    (
        "section of functions",
        Fault.REFERENCE,
        lambda r: (proto(r, 0), function(r, 1), section(r, 4, (2, 0, 4))),
    ),
    ("tag", None, lambda r: (int_(r), variable(r, 1), tag(r, 2))),
    ("tag of no text", Fault.TAG, lambda r: (int_(r), variable(r, 1), tag(r, 2, ""))),
    ("tag of an int", Fault.TAG_PLACE, lambda r: (int_(r), tag(r, 1))),
    (
        "tag of a part of a variable",
        Fault.TAG_INDEX,
        lambda r: (int_(r), variable(r, 1), tag(r, 2, "t", 0)),
    ),
    (
        "tag of a member",
        None,
        lambda r: (int_(r), r.struct("s", 4, ("a", 1, 0)), tag(r, 2, "t", 0)),
    ),
    (
        "tag of an absent member",
        Fault.TAG_INDEX,
        lambda r: (int_(r), r.struct("s", 4, ("a", 1, 0)), tag(r, 2, "t", 1)),
    ),
    ("tag of part -2", Fault.TAG_INDEX, lambda r: (int_(r), variable(r, 1), tag(r, 2, "t", -2))),
    (
        "tag of an argument",
        None,
        lambda r: (int_(r), proto(r, 0, ("a", 1)), function(r, 2), tag(r, 3, "t", 0)),
    ),
    (
        "tag of an absent argument",
        Fault.TAG_INDEX,
        lambda r: (int_(r), proto(r, 0, ("a", 1)), function(r, 2), tag(r, 3, "t", 1)),
    ),
]


@pytest.mark.parametrize(("name", "fault", "make"), CASES, ids=[case[0] for case in CASES])
def test_the_kernel_refuses_what_the_rules_refuse(
    name: str, fault: Fault | None, make: Make
) -> None:
    raw = RawBtf()
    make(raw)
    content = raw.bytes()
    said = load(content)
    found = list(refused(Btf(Path(name), content, little_endian=True)))
    assert (said is None) == (fault is None), said
    assert [item.fault for item in found[:1]] == ([] if fault is None else [fault])


HEAD = (
    "#include <kvmbpf.bpf.h>\n"
    'KVMBPF_DEVICE(d, .compatible = "acme,d", .regions = { KVMBPF_MMIO(16) });\n'
)
BODIES = (
    "KVMBPF_READ(struct kvmbpf_access *acc) {{ {use} return 0; }}\n"
    "KVMBPF_WRITE(struct kvmbpf_access *acc) {{ return 0; }}\n"
)

# a source that clang takes, what uses it, where the fault is; None where there is none
SOURCES: list[tuple[str, str, str | None]] = [
    ("int x;", "acc->value = x;", None),
    ("int gr\u00f6\u00dfe;", "acc->value = gr\u00f6\u00dfe;", "variable gr\u00f6\u00dfe"),
    ("int a$b;", "acc->value = a$b;", "variable a$b"),
    ("struct s { int a$; } s;", "acc->value = s.a$;", "member a$ of struct s"),
    ("enum e { A$ }; enum e x;", "acc->value = x;", "enumerator A$ of enum e"),
    ("typedef int t$; t$ x;", "acc->value = x;", "typedef t$"),
    (
        "static __noinline int f$(int a) { return a * 3; }",
        "acc->value = f$(acc->len);",
        "function f$",
    ),
    (
        "static __noinline int f(int a, int) { return a * 3; }",
        "acc->value = f(acc->len, 1);",
        "function f",
    ),
    ("struct e { } x; int y;", "acc->value = (long)&x + y;", "variable x"),
    ("char x[0]; int y;", "acc->value = (long)&x + y;", "variable x"),
    ('__attribute__((btf_decl_tag(""))) int x;', "acc->value = x;", "tag of variable x"),
    ('__attribute__((btf_decl_tag("t"))) int x;', "acc->value = x;", None),
    (
        "struct __attribute__((packed)) s { char c; float f; } x;",
        "acc->value = x.c;",
        "member f of struct s",
    ),
    (
        "enum __attribute__((packed)) e { A }; struct s { char a : 3; enum e e; } x;",
        "acc->value = x.e;",
        "member e of struct s",
    ),
    (
        "enum e { A = 1ULL << 32 }; struct s { enum e e : 40; } x;",
        "acc->value = x.e;",
        "member e of struct s",
    ),
    (
        "struct __attribute__((packed)) s { char c : 1; unsigned __int128 a : 128; } x;",
        "acc->value = x.c;",
        "member a of struct s",
    ),
    ("struct s { unsigned __int128 a : 100; } x;", "acc->value = x.a;", None),
    ('SEC(".data.a-b") int x;', "acc->value = x;", None),
    ("struct s { int n; char c[]; } x = { 1, { 2 } };", "acc->value = x.c[0];", None),
    ("extern unsigned LINUX_KERNEL_VERSION __kconfig;", "acc->value = LINUX_KERNEL_VERSION;", None),
    ("extern int f(int) __ksym __weak;", "if (f) acc->value = f(1);", None),
    ("extern const void f __ksym __weak;", "acc->value = !!&f;", None),
    ("static int x, y = 2;", "x += y; y = acc->len; acc->value = x;", None),
    ("long double x;", "acc->value = !!&x;", None),
    ("_Complex double z;", "acc->value = !!&z;", "variable z"),
]


@pytest.mark.parametrize(("before", "use", "place"), SOURCES, ids=[case[0] for case in SOURCES])
def test_clang_s_types_are_refused_by_both(
    before: str, use: str, place: str | None, tmp_path: Path
) -> None:
    source = tmp_path / "d.bpf.c"
    source.write_text(f"{HEAD}{before}\n{BODIES.format(use=use)}")
    path = compile_device(source, tmp_path / "d.bpf.o")
    said = load(as_libbpf_hands_it_on(path))
    elf = ElfImage(path)
    btf = Btf.of(elf)
    assert btf is not None
    found = list(refused(btf, elf))
    assert (said is None) == (place is None), said
    assert [item.place for item in found[:1]] == ([] if place is None else [place])
    errors = [item for item in check_file(path) if item.severity.value == "error"]
    assert [item.place for item in errors] == ([] if place is None else [place])


def as_libbpf_hands_it_on(path: Path) -> bytes:
    """Return an object's types as libbpf has changed them."""
    with BpfObject.open(path) as obj:
        assert obj.btf is not None
        size = ctypes.c_uint32()
        address = libbpf().btf__raw_data(obj.btf.handle, ctypes.byref(size))
        return ctypes.string_at(address, size.value)


def test_types_of_other_makers_are_told_too(tmp_path: Path) -> None:
    """Rust's names, left in an object by a tool that merges types."""
    source = tmp_path / "d.bpf.c"
    source.write_text(
        f"{HEAD}struct Vec_u8_ {{ int a; }} x;\n{BODIES.format(use='acc->value = x.a;')}"
    )
    path = compile_device(source, tmp_path / "d.bpf.o")
    path.write_bytes(path.read_bytes().replace(b"Vec_u8_\0", b"Vec<u8>\0"))
    assert load(as_libbpf_hands_it_on(path)) is not None
    assert [item.place for item in check_file(path)] == ["struct Vec<u8>"]


def test_pahole_s_and_strip_s_objects_are_fine(tmp_path: Path) -> None:
    source = tmp_path / "d.bpf.c"
    source.write_text(f"{HEAD}int x;\n{BODIES.format(use='acc->value = x;')}")
    path = compile_device(source, tmp_path / "d.bpf.o")
    subprocess.run(["llvm-objcopy", "--strip-debug", str(path)], check=True)
    assert load(as_libbpf_hands_it_on(path)) is None
    assert [item for item in check_file(path) if item.rule == "btf"] == []
