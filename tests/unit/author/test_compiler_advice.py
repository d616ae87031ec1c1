# SPDX-License-Identifier: GPL-2.0-or-later
"""What clang refuses: one line with the author's own place, the cause and the mend.

Each source is compiled by this machine's clang; the line at fault has ``/* here */``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.author.compiler_advice import advice, plain
from kvmbpf.author.diagnostics import Output
from kvmbpf.errors import BadFileError
from tests.places import ROOT

CASES = Path(__file__).parent / "cases"
HEAD = (
    "#include <kvmbpf.bpf.h>\n"
    'KVMBPF_DEVICE(d, .compatible = "acme,d", .regions = { KVMBPF_MMIO(0x1000) });\n'
)
WRITE = "KVMBPF_WRITE(struct kvmbpf_access *acc)\n{\n\treturn 0;\n}\n"
STRUCT = "struct s { long a, b, c; };\nstruct s g;\n"

# what a device has not, before the bodies, in the read body, words of the line that is told
REFUSED: list[tuple[str, str, str, str]] = [
    ("signed /", "int a, b = 3;", "acc->value = a / b; /* here */", "divide unsigned numbers"),
    ("signed %", "long a, b = 3;", "acc->value = a % b; /* here */", "divide unsigned numbers"),
    ("signed char", "signed char a, b = 3;", "acc->value = a / b; /* here */", "divide unsigned"),
    (
        "stack",
        "",
        "volatile char b[600];\n\tb[acc->offset & 511] = 1;\n\tacc->value = b[3];",
        "the stack has 512 bytes",
    ),
    ("float", "float a, b;", "acc->value = a * b; /* here */", "no floating point"),
    ("double", "double a;", "a += 1.5; /* here */", "no floating point"),
    ("compares doubles", "double a;", "acc->value = a > 2; /* here */", "no floating point"),
    ("from a double", "double a;", "acc->value = a; /* here */", "no floating point"),
    ("complex", "_Complex double z;", "z = z * z; /* here */", "no floating point"),
    (
        "alloca",
        "",
        'char *p = __builtin_alloca(acc->len); /* here */\n\tasm volatile("" ::"r"(p));',
        "give it a constant size",
    ),
    (
        "array of a variable size",
        "",
        'char p[acc->len]; /* here */\n\tasm volatile("" ::"r"(p));',
        "give it a constant size",
    ),
    (
        "memcpy",
        "char x[64], y[64];",
        "__builtin_memcpy(x, y, acc->len); /* here */",
        "give it a constant length",
    ),
    (
        "memset",
        "char x[64];",
        "__builtin_memset(x, 0, acc->len); /* here */",
        "give it a constant length",
    ),
    (
        "large copy",
        "struct large { char c[4000]; } x, y;",
        "x = y; /* here */",
        "give it a constant length",
    ),
    ("int128 *", "__int128 a, b;", "a = a * b; /* here */", "BPF has 64 bits"),
    ("int128 >>", "__int128 a;", "a = a >> acc->len; /* here */", "BPF has 64 bits"),
    (
        "overflow",
        "",
        "__u64 r; acc->value = __builtin_mul_overflow(acc->offset, acc->offset, &r); /* here */",
        "BPF has 64 bits",
    ),
    (
        "six arguments",
        "extern int f(int a, int b, int c, int d, int e, int g) __ksym;",
        "acc->value = f(1, 2, 3, 4, 5, 6); /* here */",
        "too many args to f(); a function has five arguments at most",
    ),
    (
        "struct by value",
        STRUCT + "static __noinline int f(struct s x) { return x.a + x.b; }",
        "acc->value = f(g); /* here */",
        "hand on the struct's address",
    ),
    (
        "struct returned",
        STRUCT + "static __noinline struct s f(int x) { struct s y = { x, 2, x }; return y; }"
        " /* here */",
        "acc->value = f(acc->len).c;",
        "fill a struct whose address the caller gives",
    ),
    (
        "128 bits returned",
        "static __noinline __int128 f(int x) { return (__int128)x << 70; }",
        "acc->value = f(acc->len) >> 65; /* here */",
        "return 64 bits at most",
    ),
    (
        "atomic byte",
        "char x;",
        "acc->value = __sync_fetch_and_add(&x, 1); /* here */",
        "32 or 64 bits wide",
    ),
    (
        "atomic load",
        "long x;",
        "acc->value = __atomic_load_n(&x, __ATOMIC_ACQUIRE); /* here */",
        "read it as volatile",
    ),
    (
        "atomic store",
        "long x;",
        "__atomic_store_n(&x, 3, __ATOMIC_RELEASE); /* here */",
        "write it as volatile",
    ),
    ("fence", "long x;", "__sync_synchronize(); /* here */\n\tx++;", "orders memory"),
    (
        "atomic maximum",
        "long x;",
        "__atomic_fetch_max(&x, 3, __ATOMIC_SEQ_CST); /* here */",
        "loop over __sync_val_compare_and_swap()",
    ),
    ("thread", "__thread int x; /* here */", "x++;", "a device has no threads"),
    ("trap", "", "if (acc->len == 9) __builtin_trap(); /* here */", "return an error"),
    ("zeros", "", "acc->value = __builtin_clz(acc->len); /* here */", "__builtin_clzll(x) - 32"),
    (
        "computed goto",
        "",
        "static void *const t[] = { &&a, &&b };\n\tgoto *t[acc->len & 1]; /* here */\n"
        "a:\n\treturn 1;\nb:\n\treturn 2;",
        "write a switch",
    ),
    ("asm", "", 'asm volatile("mov %eax, %ebx"); /* here */', "asm is BPF's own"),
    ("operand", "", 'asm volatile("" ::"a"(acc->len)); /* here */', "in registers"),
    ("memcpy()", "", "memcpy(acc, acc, 3); /* here */", "write __builtin_memcpy()"),
    ("printf()", "", 'printf("hi"); /* here */', "write kvmbpf_log()"),
    ("malloc()", "", "acc->value = (long)malloc(3); /* here */", "a device has no heap"),
    (
        "return address",
        "",
        "acc->value = (long)__builtin_return_address(0);",
        "clang crashed in function kvmbpf_",
    ),
]
# errors that have no line of their own: the function's, or none at all
_OF_THE_FUNCTION = {"stack": "d.bpf.c line 4 column 1: ", "return address": "clang crashed "}


def refusal(folder: Path, text: str, name: str = "d.bpf.c") -> BadFileError:
    source = folder / name
    source.write_text(text)
    with pytest.raises(BadFileError) as caught:
        compile_device(source, folder / "d.o")
    assert "\n" not in str(caught.value)
    assert not (folder / "d.o").exists()
    return caught.value


def here(text: str) -> int:
    (found,) = (n for n, line in enumerate(text.splitlines(), 1) if "/* here */" in line)
    return found


@pytest.mark.parametrize(
    ("name", "before", "read", "words"), REFUSED, ids=[case[0] for case in REFUSED]
)
def test_what_bpf_has_not_is_told_with_line_and_mend(
    name: str, before: str, read: str, words: str, tmp_path: Path
) -> None:
    body = f"KVMBPF_READ(struct kvmbpf_access *acc)\n{{\n\t{read}\n\treturn 0;\n}}\n"
    text = f"{HEAD}{before}\n{body}{WRITE}"
    error = refusal(tmp_path, text)
    place = _OF_THE_FUNCTION.get(name) or f"d.bpf.c line {here(text)} column "
    assert error.reason.startswith(place)
    assert words in error.reason
    assert " 0x" not in error.reason, "the graph's numbers say nothing to an author"
    assert "Stack dump" in error.log or "error: " in error.log


def test_a_crash_leaves_no_files_for_a_bug_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = tmp_path / "tmp"
    reports.mkdir()
    monkeypatch.setenv("TMPDIR", str(reports))
    refusal(tmp_path, (CASES / "sdiv.bpf.c").read_text())
    assert list(reports.iterdir()) == []


@pytest.mark.parametrize(
    ("case", "line", "words"),
    [
        ("sdiv", 7, "divide unsigned numbers"),
        ("include_string", 2, "<string.h> is of the C library"),
        ("include_vmlinux", 2, '"vmlinux.h" is not there, and not needed: take the line out'),
    ],
)
def test_cases(case: str, line: int, words: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, (CASES / f"{case}.bpf.c").read_text())
    assert error.reason.startswith(f"d.bpf.c line {line}")
    assert words in error.reason


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("string.h", "write __builtin_memset()"),
        ("strings.h", "write __builtin_memset()"),
        ("stdio.h", "write kvmbpf_log()"),
        ("stdlib.h", "there is no heap"),
        ("errno.h", "kvmbpf.bpf.h has the error numbers"),
        ("time.h", "write bpf_ktime_get_ns()"),
        ("assert.h", "write _Static_assert()"),
        ("unistd.h", "kvmbpf.bpf.h has the types"),
        ("sys/types.h", "kvmbpf.bpf.h has __u8 to __u64"),
        ("pthread.h", "run one at a time"),
        ("linux/if.h", "it takes in headers of the C library"),
        ("linux/kvm_host.h", "a header of the kernel's own"),
        ("linux/string.h", "it takes in headers of the C library"),
    ],
)
@pytest.mark.parametrize("behind", [False, True], ids=["in the source", "in a header beside it"])
def test_a_header_that_is_not_for_devices(
    header: str, words: str, behind: bool, tmp_path: Path
) -> None:
    included = f"\n#include <{header}>\n"
    if behind:
        (tmp_path / "mine.h").write_text(included)
        included = '#include "mine.h"\n'
    error = refusal(tmp_path, f"{included}{HEAD}")
    assert error.reason.startswith(f"{'mine.h' if behind else 'd.bpf.c'} line 2")
    assert words in error.reason


@pytest.mark.parametrize("header", ["stddef.h", "stdint.h", "stdbool.h", "limits.h", "stdarg.h"])
def test_headers_that_are_the_compiler_s_own_are_fine(header: str, tmp_path: Path) -> None:
    source = tmp_path / "d.bpf.c"
    source.write_text(f"#include <{header}>\n{HEAD}")
    assert compile_device(source, tmp_path / "d.o").is_file()


VMLINUX = """#ifndef __VMLINUX_H__
#define __VMLINUX_H__
typedef unsigned int __u32;
typedef struct { unsigned long fds_bits[16]; } __kernel_fd_set;
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC = 0 };
#endif
"""


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("name", ["vmlinux.h", "vmlinux-6.12.h"])
def test_the_kernel_s_types_beside_the_header(first: bool, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(VMLINUX)
    lines = HEAD.splitlines()
    lines.insert(0 if first else 1, f'#include "{name}"')
    error = refusal(tmp_path, "\n".join(lines) + "\n")
    assert error.reason.startswith(f'd.bpf.c line {1 if first else 2}: "{name}" has types that')
    assert "take the line out" in error.reason


def test_the_kernel_s_types_in_a_header_of_the_author_s(tmp_path: Path) -> None:
    (tmp_path / "vmlinux.h").write_text(VMLINUX)
    (tmp_path / "mine.h").write_text('\n#include "vmlinux.h"\n')
    error = refusal(tmp_path, f'#include "mine.h"\n{HEAD}')
    assert '"vmlinux.h" has types that kvmbpf.bpf.h has already' in error.reason
    assert error.reason.startswith("mine.h line 2: ")


def test_an_own_type_that_the_header_has_is_told_by_its_own_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, f"{HEAD}struct bpf_timer {{ int x; }}; /* here */\n")
    assert error.reason.startswith("d.bpf.c line 3 column 8: redefinition of 'bpf_timer'")


def test_an_absent_header_of_the_author_s(tmp_path: Path) -> None:
    error = refusal(tmp_path, f'{HEAD}#include "regs.h"\n')
    assert error.reason.startswith(
        "d.bpf.c line 3 column 10: 'regs.h' file not found; it is looked"
    )


def test_an_error_after_warnings_of_the_same_header_has_the_includer_s_line(
    tmp_path: Path,
) -> None:
    """Clang says only once how it came to a file."""
    system = tmp_path / "system"
    system.mkdir()
    (system / "odd.h").write_text("#warning one\n#warning two\nint f(;\n")
    text = (
        f"In file included from ./d.bpf.c:4:\n{system}/odd.h:1:2: warning: one [-W#warnings]\n"
        f"{system}/odd.h:3:7: error: expected parameter declarator\n"
    )
    said = Output(text, [tmp_path / "author"], [system])
    assert said.reason() == (
        f"d.bpf.c line 4: expected parameter declarator (in {system}/odd.h line 3 column 7)"
    )


def test_gcc_names_the_innermost_includer_first(tmp_path: Path) -> None:
    text = (
        "In file included from /usr/include/a.h:3,\n                 from ./d.c:7:\n"
        "/usr/include/b.h:9:1: error: odd\n"
    )
    said = Output(text, [tmp_path], [Path("/usr/include")])
    assert said.reason() == "d.c line 7: odd (in /usr/include/b.h line 9 column 1)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unsupported signed division, please convert to unsigned div/mod.", "divide unsigned"),
        ("stack arguments are not supported", "five arguments at most"),
        ("variadic functions are not supported", "fill a struct"),
        ("aggregate returns are not supported", "fill a struct"),
        ("unsupported dynamic stack allocation", "a constant size"),
        ("unsupported atomic operation, please use 32/64 bit version", "32 or 64 bits wide"),
        ("Looks like the BPF stack limit is exceeded.", "the stack has 512 bytes"),
        (
            "call to undeclared library function 'memset' with type 'void *(void *, int)'; "
            "ISO C99 and later do not support implicit function declarations",
            "write __builtin_memset()",
        ),
        ("call to undeclared function 'pr_info'; ISO C99 and later", "write kvmbpf_log()"),
        (
            "A call to built-in function '__sync_fetch_and_add_1' is not supported.",
            "32 or 64 bits wide",
        ),
    ],
)
def test_the_words_of_newer_compilers(text: str, words: str) -> None:
    assert words in advice(plain(text))


def build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def test_verbose_shows_all_that_clang_said(tmp_path: Path) -> None:
    (tmp_path / "d.bpf.c").write_text((CASES / "sdiv.bpf.c").read_text())
    short = build(tmp_path, "build", "d.bpf.c")
    whole = build(tmp_path, "--verbose", "build", "d.bpf.c")
    assert (short.returncode, whole.returncode) == (15, 15)
    assert len(short.stderr.splitlines()) == 1
    assert whole.stderr.endswith(short.stderr)
    assert "Cannot select" in whole.stderr
    assert "Stack dump" in whole.stderr
