# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.author.opening: libbpf's own word on an object, asked of a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.author import opening
from kvmbpf.author.compile import compile_device
from kvmbpf.author.opening import check_object
from kvmbpf.model.check import Finding, Severity
from tests import fake_libbpf
from tests.places import ROOT
from tests.unit.model.test_check_externs import CASES, build

STATIC_MAP = (
    "static struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); "
    '__type(key, __u32); __type(value, __u64); } m SEC(".maps");'
)
ODD_FIELD = STATIC_MAP.replace("static ", "").replace("} m", "__uint(colour, 3); } m")
LOOK_UP = "__u32 k = 0; acc->value = !bpf_map_lookup_elem(&m, &k);"


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert "\n" not in findings[0].sentence + findings[0].mend
    return findings[0]


@pytest.mark.parametrize(
    ("before", "use", "place", "sentence", "mend"),
    [
        (STATIC_MAP, LOOK_UP, "map m", "map 'm': unsupported map linkage static", "without static"),
        (ODD_FIELD, LOOK_UP, "map m", "map 'm': unknown field 'colour'", "take the field away"),
        (
            "int x __attribute__((common));",
            "acc->value = x;",
            "section .relstruct_ops/kvmbpf_read",
            "invalid section #65522",
            "without __attribute__((common))",
        ),
        (
            "struct s { int a; }; extern struct s LINUX_X __kconfig __weak;",
            "acc->value = LINUX_X.a;",
            "symbol LINUX_X",
            "type is unsupported",
            "declare it as int",
        ),
    ],
    ids=["static map", "odd field", "common", "kconfig struct"],
)
def test_what_only_libbpf_knows(
    before: str, use: str, place: str, sentence: str, mend: str, tmp_path: Path
) -> None:
    finding = only(check_object(build(tmp_path, before, use)))
    assert (finding.severity, finding.rule, finding.place) == (Severity.ERROR, "libbpf", place)
    assert "does not open the object: " in finding.sentence
    assert sentence in finding.sentence
    assert ".note.kvmbpf" not in finding.sentence
    assert mend in finding.mend


@pytest.mark.parametrize("section", ["kprobee/x", "nosuch"])
def test_programs_of_unknown_sections(section: str, tmp_path: Path) -> None:
    path = build(tmp_path, f'SEC("{section}") int odd(void *ctx) {{ return 0; }}', "")
    finding = only(check_object(path))
    assert (finding.severity, finding.place) == (Severity.NOTE, "program odd")
    assert f"in section {section}, which is none of a device's" in finding.sentence


@pytest.mark.parametrize("case", ["legacy", "noksymweak"])
def test_what_a_rule_has_told_is_not_told_again(case: str, tmp_path: Path) -> None:
    path = compile_device(CASES / f"{case}.bpf.c", tmp_path / "d.bpf.o")
    errors = [item for item in check_object(path) if item.severity is Severity.ERROR]
    assert [item.rule.value for item in errors] == ["libbpf"]
    assert errors[0].source is not None


def test_nothing_is_found_in_a_good_object(demo_v1: Path) -> None:
    assert check_object(demo_v1) == []


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert only(check_object(tmp_path / "absent.o")).sentence == "no such file"


def with_library(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str | None) -> None:
    """Let the child find another libbpf, whose open function is C code; None: no library."""
    library = folder / "libbpf.so.1"
    if body is None:
        library.write_text("")
    else:
        source = folder / "fake.c"
        source.write_text(
            "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
            "unsigned int libbpf_major_version(void) { return 1; }\n"
            "unsigned int libbpf_minor_version(void) { return 4; }\n"
            "void *libbpf_set_print(void *f) { return f; }\n"
            f"void *bpf_object__open_mem(void) {{ {body} }}\n"
        )
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


def test_without_libbpf_a_note_says_that_it_was_not_looked_at(
    demo_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_library(tmp_path, monkeypatch, None)
    finding = only(check_object(demo_v1))
    assert (finding.severity, finding.rule) == (Severity.NOTE, "libbpf")
    assert finding.sentence == "whether libbpf opens it was not looked at"
    assert "apt install libbpf1" in finding.mend


def test_without_libbpf_the_rules_still_find_what_they_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compile_device(CASES / "legacy.bpf.c", tmp_path / "d.bpf.o")
    with_library(tmp_path, monkeypatch, None)
    assert [item.rule.value for item in check_object(path)][:1] == ["libbpf"]
    done = subprocess.run(
        [sys.executable, "-m", "kvmbpf", "check", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (15, "")


def test_a_libbpf_that_is_too_old_for_any_device_has_no_word(
    demo_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_libbpf.make(tmp_path, 1, 2)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    finding = only(check_object(demo_v1))
    assert (finding.severity, finding.rule) == (Severity.NOTE, "libbpf")
    assert "found 1.2, needed 1.3 or newer for struct_ops links" in finding.mend


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise(SIGSEGV); return 0;", "it crashed (SIGSEGV)"),
        ("abort();", "it crashed (SIGABRT)"),
        ("for (;;) if (!malloc(1 << 20)) raise(SIGKILL);", "it crashed (SIGKILL)"),
        ("_exit(3);", "it ended with status 3 (no word)"),
    ],
    ids=["segv", "abort", "memory", "exit"],
)
def test_a_crash_of_the_child_is_told(
    body: str, words: str, demo_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_library(tmp_path, monkeypatch, body)
    finding = only(check_object(demo_v1))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "libbpf")
    assert finding.sentence.endswith(words)


def test_a_child_that_does_not_end_is_ended(
    demo_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_library(tmp_path, monkeypatch, "for (;;) pause();")
    monkeypatch.setattr(opening, "_LONGEST_S", 2.0)
    assert only(check_object(demo_v1)).sentence.endswith("it did not end within 2 s")


def test_the_child_has_limits_and_is_nobody(
    demo_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake library writes down who it is, which is all that it can write to."""
    with_library(
        tmp_path,
        monkeypatch,
        'printf("\\n%d %d ", geteuid() != 0, setuid(0) != 0 || geteuid() != 0); '
        "fflush(stdout); "
        'char line[256]; FILE *f = fopen("/proc/self/limits", "r"); '
        "while (fgets(line, sizeof(line), f)) fputs(line, stderr); raise(SIGTERM); return 0;",
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kvmbpf.kernel.libbpf.trial"],
        input=demo_v1.read_bytes(),
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split()[:2] == [b"1", b"1"]
    limits = done.stderr.decode()
    assert f"Max address space         {1 << 30}" in limits
    assert "Max core file size        0 " in limits
    assert "Max file size             0 " in limits


def test_the_child_needs_no_right(tmp_path: Path) -> None:
    path = build(tmp_path, STATIC_MAP, LOOK_UP)
    code = (
        "import sys; from kvmbpf.author.opening import check_object; "
        "print([f.sentence for f in check_object(sys.argv[1])])"
    )
    done = subprocess.run(
        ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-c", code, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "unsupported map linkage static" in done.stdout


def test_modules_where_it_is_run_are_not_taken(demo_v1: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "kvmbpf").mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kvmbpf", "check", "--json", str(demo_v1)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["files"][0]["findings"] == []
