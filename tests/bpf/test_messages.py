# SPDX-License-Identifier: GPL-2.0-or-later
"""What is quoted of libbpf is the cause of a failure, never a remark beside it.

Each source is opened and loaded by this machine's libbpf and kernel, as on a stock
kernel; what libbpf said, whole, is in the error's log.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.errors import KvmBpfError, VerifierError
from kvmbpf.kernel.libbpf.messages import mend, telling, with_mend
from kvmbpf.kernel.libbpf.object import BpfObject

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

HEAD = (
    "#include <kvmbpf.bpf.h>\n"
    'KVMBPF_DEVICE(d, .compatible = "acme,d", .regions = { KVMBPF_MMIO(16) });\n'
)
MAP = (
    "struct {{ __uint(type, {kind}); __uint(max_entries, {entries}); {more} "
    '__type(key, __u32); __type(value, __u64); }} m SEC(".maps");'
)
ARRAY = "BPF_MAP_TYPE_ARRAY"
LOOK_UP = "__u32 k = 0; acc->value = !bpf_map_lookup_elem(&m, &k);"
OLD = "struct old { unsigned int type, key_size, value_size, max_entries, flags; };"

# before the bodies, in the read body, words of what is quoted, words of the mend
FAILURES: dict[str, tuple[str, str, str, str]] = {
    "old map": (
        f'{OLD} SEC("maps") struct old m = {{ 2, 4, 8, 2 }};',
        LOOK_UP,
        "legacy map definitions in 'maps' section",
        'SEC(".maps")',
    ),
    "old map of a name": (
        f'{OLD} SEC("maps/x") struct old m = {{ 2, 4, 8, 2 }};',
        LOOK_UP,
        "bad map relo against 'm' in section 'maps/x'",
        'SEC(".maps")',
    ),
    "static map": (
        "static " + MAP.format(kind=ARRAY, entries=1, more=""),
        LOOK_UP,
        "map 'm': unsupported map linkage static",
        "without static",
    ),
    "odd field": (
        MAP.format(kind=ARRAY, entries=1, more="__uint(colour, 3);"),
        LOOK_UP,
        "map 'm': unknown field 'colour'",
        "take the field away",
    ),
    "no entries": (
        MAP.format(kind=ARRAY, entries=0, more=""),
        LOOK_UP,
        "map 'm': failed to create: Invalid argument(-22)",
        "compare them with what that type takes",
    ),
    "odd kind": (
        MAP.format(kind="77", entries=1, more=""),
        LOOK_UP,
        "map 'm': failed to create: Invalid argument(-22)",
        "compare them with what that type takes",
    ),
    "odd program": (
        'SEC("kprobee/x") int odd(void *ctx) { return 0; }',
        "",
        "prog 'odd': missing BPF prog type, check ELF section name 'kprobee/x'",
        'SEC("syscall")',
    ),
    "not defined": (
        "extern int f(int);",
        "acc->value = f(1);",
        "failed to find BTF for extern 'f'",
        "define it",
    ),
    "not typed": (
        "char b[8];",
        "acc->value = __builtin_strlen(b);",
        "failed to find BTF for extern 'strlen'",
        "define it",
    ),
    "odd section": (
        'SEC("mine") int x;',
        "acc->value = x;",
        "bad map relo against 'x' in section 'mine'",
        "let it be in .data",
    ),
    "odd configuration": (
        "struct s { int a; }; extern struct s LINUX_X __kconfig __weak;",
        "acc->value = LINUX_X.a;",
        "extern (kcfg) 'LINUX_X': type is unsupported",
        "declare it as int",
    ),
    "common": (
        "int x __attribute__((common));",
        "acc->value = x;",
        "pointing to invalid section #65522",
        "-fcommon",
    ),
    "name": ("int a$b;", "acc->value = a$b;", "VAR a$b type_id=2 linkage=1 Invalid name", "check"),
    "size": (
        "struct e { } x; int y;",
        "acc->value = (long)&x + y;",
        "offset=0 size=0 Invalid size",
        "`kvmbpf check` says which declaration",
    ),
    "packed float": (
        "struct __attribute__((packed)) s { char c; float f; } x;",
        "acc->value = x.c;",
        "Member is not properly aligned",
        "`kvmbpf check` says which declaration",
    ),
    "argument": (
        "static __noinline int f(int a, int) { return a * 3; }",
        "acc->value = f(acc->len, 1);",
        "FUNC f type_id=28 Invalid arg#2",
        "`kvmbpf check` says which declaration",
    ),
    "kernel variable": (
        "extern const int no_such_variable __ksym;",
        "acc->value = (long)&no_such_variable;",
        "extern (var ksym) 'no_such_variable': not found in kernel BTF",
        "",
    ),
    "verifier": (
        "int t[4];",
        "acc->value = t[acc->offset];",
        "",
        "check the index on this path",
    ),
    "pointer": (
        "static int one(void) { return 1; } static int two(void) { return 2; } "
        "int (*volatile f)(void) = one;",
        "f = acc->len ? one : two; acc->value = f();",
        "unknown opcode 8d",
        "write a switch that calls each function",
    ),
    "recursion": (
        "static __noinline int fac(int n) { return n < 2 ? 1 : fac(n - 1) * fac(n - 2) + n; }",
        "acc->value = fac(acc->len);",
        "the call stack of 9 frames is too deep",
        "write the recursion as a loop",
    ),
    "no map": (
        MAP.format(kind=ARRAY, entries=1, more="").replace(' SEC(".maps")', ""),
        LOOK_UP,
        "type=map_value expected=map_ptr",
        'a map is defined with SEC(".maps")',
    ),
    "address": (
        "int x; int *p = &x;",
        "acc->value = *p;",
        "invalid mem access 'scalar'",
        "a number is used as a pointer",
    ),
}

# What goes before or after a cause: none of it may be quoted.
REMARKS = (
    *(".note.kvmbpf", "skipping", "Retrying", "failed to load object", "is mandatory"),
    *("BPF program load failed", "BTF loading error", "BEGIN", "failed to load: "),
)


def built(folder: Path, before: str, use: str) -> Path:
    source = folder / "d.bpf.c"
    source.write_text(
        f"{HEAD}{before}\nKVMBPF_READ(struct kvmbpf_access *acc)\n{{\n\t{use}\n\treturn 0;\n}}\n"
        "KVMBPF_WRITE(struct kvmbpf_access *acc)\n{\n\treturn 0;\n}\n"
    )
    return compile_device(source, folder / "d.bpf.o")


def failure(path: Path) -> KvmBpfError:
    """Open and load what a VMM would call; return what it fails with."""
    with pytest.raises(KvmBpfError) as caught:
        load(path)
    return caught.value


def load(path: Path) -> None:
    with BpfObject.open(path) as obj:
        obj.use_call_entries()
        obj.load()


@pytest.mark.parametrize("name", FAILURES)
def test_the_cause_is_quoted_with_its_mend(name: str, tmp_path: Path) -> None:
    before, use, words, mend_words = FAILURES[name]
    error = failure(built(tmp_path, before, use))
    text = str(error)
    assert "\n" not in text
    assert words in text
    assert mend_words in text
    for remark in REMARKS:
        assert remark not in text
    assert error.log, "all that was said is kept"
    cause = error.sentence if isinstance(error, VerifierError) else words
    assert cause.partition(" (")[0] in error.log


def said(*messages: str) -> str:
    return telling([f"libbpf: {message}\n" for message in messages])


SKIPPED = "elf: skipping section(8) .note.kvmbpf (size 1420)"
AGAIN = "Error in bpf_create_map_xattr(m):Invalid argument(-22). Retrying without BTF."
NO_MAP = "map 'm': failed to create: Invalid argument(-22)"
BTF_LOG = (
    "-- BEGIN BTF LOAD LOG ---\nmagic: 0xeb9f\n[4] VAR a$b Invalid name\n\n-- END BTF LOAD LOG --"
)


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        ((), ""),
        ((SKIPPED,), ""),
        (
            (SKIPPED, "elf: skipping section(14) .data.z (size 0)"),
            "elf: skipping section(14) .data.z (size 0)",
        ),
        ((SKIPPED, AGAIN, NO_MAP, "failed to load object 'd.bpf.o'"), NO_MAP),
        ((NO_MAP, AGAIN, SKIPPED), NO_MAP),
        (
            (BTF_LOG, "Error loading .BTF into kernel: -22. BTF is mandatory, can't proceed."),
            "the kernel refuses the object's types: [4] VAR a$b Invalid name",
        ),
        (
            (BTF_LOG, "Error loading .BTF into kernel: -22. BTF is optional, ignoring.", NO_MAP),
            NO_MAP,
        ),
        (
            (
                "struct_ops kvmbpf_ops: member reset not found in kernel, "
                "skipping it as it's set to zero",
                NO_MAP,
            ),
            NO_MAP,
        ),
        (
            (
                NO_MAP,
                "permission error while running as root; try raising 'ulimit -l'? "
                "current value: 8192 KB",
            ),
            NO_MAP,
        ),
        (
            ("failed to open system Kconfig", "failed to load object 'd'"),
            "failed to open system Kconfig",
        ),
        (
            (
                "prog 'a': BPF program load failed: Invalid argument",
                "prog 'a': -- BEGIN PROG LOAD LOG --\n0: (95) exit\nR0 !read_ok\n"
                "processed 1 insns\n-- END PROG LOAD LOG --",
                "prog 'a': failed to load: -22",
                "failed to load object 'd.bpf.o'",
            ),
            "R0 !read_ok",
        ),
    ],
)
def test_words_of_other_versions(messages: tuple[str, ...], cause: str) -> None:
    assert said(*messages) == cause


def test_a_mend_is_for_what_is_known() -> None:
    assert mend("something of a libbpf to come") == ""
    assert with_mend("something of a libbpf to come") == "something of a libbpf to come"
