# SPDX-License-Identifier: GPL-2.0-or-later
"""What an object refers to outside its own code: told with the line and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.model.check import Finding, Severity, check_file
from kvmbpf.model.objfile import EntryKind, read_object
from kvmbpf.model.objfile.describe import needs

CASES = Path(__file__).parent / "cases"
HEAD = (
    "#include <kvmbpf.bpf.h>\n"
    'KVMBPF_DEVICE(d, .compatible = "acme,d", .regions = { KVMBPF_MMIO(16) });\n'
)


def build(folder: Path, before: str, use: str) -> Path:
    """Compile a device; what uses it is on line 6."""
    source = folder / "d.bpf.c"
    source.write_text(
        f"{HEAD}{before}\nKVMBPF_READ(struct kvmbpf_access *acc)\n{{\n\t{use}\n\treturn 0;\n}}\n"
        "KVMBPF_WRITE(struct kvmbpf_access *acc)\n{\n\treturn 0;\n}\n"
    )
    return compile_device(source, folder / "d.bpf.o")


def found(path: Path) -> list[Finding]:
    findings = [item for item in check_file(path) if item.rule != "irq-never-raised"]
    for item in findings:
        assert "\n" not in f"{item.sentence}{item.mend}"
    return findings


def case(folder: Path, name: str) -> list[Finding]:
    return found(compile_device(CASES / f"{name}.bpf.c", folder / "d.bpf.o"))


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_the_kernel_s_version_is_no_function(tmp_path: Path) -> None:
    assert case(tmp_path, "kver") == []


def test_the_kernel_s_configuration_is_noted_with_where_it_has_to_be(tmp_path: Path) -> None:
    finding = only(case(tmp_path, "khz"))
    assert (finding.severity, finding.rule) == (Severity.NOTE, "kconfig")
    assert finding.where == "khz.bpf.c line 7"
    assert "/boot/config-$(uname -r) or /proc/config.gz has to be there" in finding.sentence
    assert "with CONFIG_HZ in it" in finding.sentence


def test_inspect_tells_configuration_from_functions(tmp_path: Path) -> None:
    path = compile_device(CASES / "khz.bpf.c", tmp_path / "d.bpf.o")
    content = needs(read_object(path), EntryKind.KERNEL)
    assert content is not None
    assert content["kconfig"] == [{"name": "CONFIG_HZ", "optional": False}]
    assert "CONFIG_HZ" not in {item["name"] for item in content["functions"]}


@pytest.mark.parametrize(
    ("declaration", "severity", "words"),
    [
        ("extern int CONFIG_X __kconfig __weak;", Severity.NOTE, "has to be there"),
        ("extern char CONFIG_X[8] __kconfig;", Severity.NOTE, "has to be there"),
        ("extern _Bool LINUX_HAS_BPF_COOKIE __kconfig;", None, ""),
        ("extern _Bool LINUX_HAS_SYSCALL_WRAPPER __kconfig;", None, ""),
        ("extern int LINUX_OF_TOMORROW __kconfig __weak;", None, ""),
        ("extern int LINUX_OF_TOMORROW __kconfig;", Severity.ERROR, "no value that libbpf has"),
        ("extern int OTHER __kconfig;", Severity.ERROR, "no value that libbpf has"),
        ("extern int OTHER __kconfig __weak;", Severity.ERROR, "no value that libbpf has"),
    ],
)
def test_kconfig(declaration: str, severity: Severity | None, words: str, tmp_path: Path) -> None:
    name = declaration.split()[2].partition("[")[0]
    use = f"acc->value = {name}{'[acc->len & 7]' if '[' in declaration else ''};"
    findings = found(build(tmp_path, declaration, use))
    if severity is None:
        assert findings == []
        return
    finding = only(findings)
    assert (finding.severity, finding.rule, finding.where) == (
        severity,
        "kconfig",
        "d.bpf.c line 6",
    )
    assert words in finding.sentence


def test_maps_of_old_libbpf(tmp_path: Path) -> None:
    finding = only(case(tmp_path, "legacy"))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "libbpf")
    assert finding.place == "map mine"
    assert finding.where == "legacy.bpf.c line 13"
    assert 'SEC(".maps")' in finding.mend


def test_a_weak_function_that_is_not_marked_as_the_kernel_s(tmp_path: Path) -> None:
    finding = only(case(tmp_path, "noksymweak"))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "libbpf")
    assert finding.place == "symbol bpf_something"
    assert finding.where == "noksymweak.bpf.c line 8"
    assert "__ksym __weak" in finding.mend


OLD_MAP = (
    "struct old { unsigned int type, key_size, value_size, max_entries, flags; }; "
    'SEC("maps/x") struct old m = { 2, 4, 8, 2 };'
)


@pytest.mark.parametrize(
    ("before", "use", "place", "mend"),
    [
        ("extern int f(int);", "acc->value = f(1);", "symbol f", "define it"),
        ("extern int v;", "acc->value = v;", "symbol v", "define it"),
        ("extern int v __attribute__((weak));", "acc->value = v;", "symbol v", "define it"),
        (
            "void *memset(void *, int, unsigned long); char b[8];",
            "memset(b, acc->len, acc->len);",
            "symbol memset",
            "there is no C library",
        ),
        (
            "char b[8];",
            "acc->value = __builtin_strlen(b);",
            "symbol strlen",
            "there is no C library",
        ),
        ('SEC("mine") int x;', "acc->value = x;", "variable x", "take its SEC() away"),
        (
            OLD_MAP,
            "__u32 k = 0; acc->value = !bpf_map_lookup_elem(&m, &k);",
            "map m",
            'SEC(".maps")',
        ),
    ],
)
def test_what_libbpf_does_not_open(
    before: str, use: str, place: str, mend: str, tmp_path: Path
) -> None:
    finding = only(found(build(tmp_path, before, use)))
    assert (finding.severity, finding.rule, finding.place) == (Severity.ERROR, "libbpf", place)
    assert finding.where == "d.bpf.c line 6"
    assert finding.source is not None
    assert finding.source.text == use
    assert mend in finding.mend


@pytest.mark.parametrize(
    ("before", "use"),
    [
        ('SEC(".data.mine") int x;', "acc->value = x;"),
        ('SEC(".bss.mine") int x;', "acc->value = x;"),
        ('SEC(".rodata.mine") const volatile int x = 1;', "acc->value = x;"),
        ("extern const int v __ksym __weak;", "acc->value = (long)&v;"),
    ],
)
def test_what_libbpf_opens(before: str, use: str, tmp_path: Path) -> None:
    assert found(build(tmp_path, before, use)) == []


@pytest.mark.parametrize(
    ("before", "use", "name"),
    [
        ("int x; int *p = &x;", "acc->value = *p;", "p"),
        (
            'static const char *const names[] = { "ab", "cd" };',
            "acc->value = names[acc->len & 1][0];",
            "names",
        ),
    ],
)
def test_addresses_that_nobody_fills_in(before: str, use: str, name: str, tmp_path: Path) -> None:
    finding = only(found(build(tmp_path, before, use)))
    assert (finding.severity, finding.rule) == (Severity.WARNING, "address")
    assert finding.place == f"variable {name}"
    assert finding.where == "d.bpf.c line 6"


@pytest.mark.parametrize(
    ("before", "use"),
    [
        (
            "static int one(void) { return 1; } static int two(void) { return 2; } "
            "int (*volatile f)(void) = one;",
            "f = acc->len ? one : two; acc->value = f();",
        ),
        (
            "static __noinline int one(int a) { return a * 3; } "
            "static __noinline int two(int a) { return a * 2; } "
            "static int (*const f[])(int) = { one, two };",
            "acc->value = f[acc->len & 1](acc->offset);",
        ),
    ],
    ids=["variable", "table"],
)
def test_calls_through_a_pointer(before: str, use: str, tmp_path: Path) -> None:
    finding = only(found(build(tmp_path, before, use)))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "call")
    assert finding.where == "d.bpf.c line 6"
    assert "write a switch" in finding.mend


FACULTY = "static __noinline int f(int n) { return n < 2 ? 1 : f(n - 1) * f(n - 2) + n; }"
EACH_OTHER = (
    "static __noinline int g(int n); static __noinline int h(int n) "
    "{ return n < 2 ? 1 : g(n - 1) * g(n - 3) + n; } static __noinline int g(int n) "
    "{ return n < 3 ? 2 : h(n - 1) * h(n - 2) + n; }"
)


@pytest.mark.parametrize(
    ("before", "use"),
    [(FACULTY, "acc->value = f(acc->len);"), (EACH_OTHER, "acc->value = g(acc->len);")],
    ids=["itself", "each other"],
)
def test_recursion(before: str, use: str, tmp_path: Path) -> None:
    finding = only(found(build(tmp_path, before, use)))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "call")
    assert finding.where == "d.bpf.c line 3"
    assert "as a loop" in finding.mend


def test_a_function_that_is_called_twice_is_no_recursion(tmp_path: Path) -> None:
    before = "static __noinline int f(int n) { return n * 3; } "
    before += "static __noinline int g(int n) { return f(n) + f(n + 1); }"
    assert found(build(tmp_path, before, "acc->value = g(acc->len) + f(acc->offset);")) == []
