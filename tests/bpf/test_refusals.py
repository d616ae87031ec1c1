# SPDX-License-Identifier: GPL-2.0-or-later
"""What the running kernel refuses: one line with the source line and the mend.

Each program is in ``progs/refused_<name>.bpf.c``; the line at fault has ``/* here */``.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import kvmbpf
from kvmbpf.errors import BadFileError, UnsupportedError, VerifierError
from kvmbpf.kernel.libbpf.object import BpfObject

from .build import PROGS
from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

# what the program does wrong, the verifier's sentence (any kernel's), the mend
REFUSED: list[tuple[str, str, str]] = [
    ("loop", "infinite loop detected", "count it up to a constant"),
    ("long_loop", "program is too large", "fewer rounds and fewer branches"),
    ("index", "unbounded min value", "check the index on this path"),
    ("index_by_one", "invalid access to map value, value_size=32 off=32", "check the index"),
    ("length", "R2 min value is negative", "check the length on this path"),
    ("null", "invalid mem access 'map_value_or_null'", "may be NULL: check it"),
    ("unset", "R0 !read_ok", "let each one return a value that was set"),
    ("register", "R7 !read_ok", "set the variable on every path"),
    ("helper", "bpf_xdp_adjust_head#44", "this kind of program has not got it"),
    ("kfunc", "calling kernel function tcp_reno_undo_cwnd is not allowed", "may not call it"),
    ("sleeps", "might sleep in a non-sleepable prog", "KVMBPF_READ_SLEEPABLE"),
    ("reference", "Unreleased reference", "release what was acquired on every path"),
    ("stack", "combined stack size of 2 calls is 6", "in a global variable or a map's element"),
    ("result", "should have been in [0, 1]", "return only the values"),
    ("constant", "write into map forbidden", "it is constant"),
    ("shift", "invalid shift 64", "mask it"),
    ("licence", "GPL-restricted function", 'SEC("license") = "GPL"'),
    ("number", "R1 invalid mem access 'scalar'", "a number is used as a pointer"),
    ("lock", "spin_", "unlock on every path"),
]


def marked(name: str, mark: str = "here") -> int:
    """Return the number of the line that has a mark."""
    lines = (PROGS / f"refused_{name}.bpf.c").read_text().splitlines()
    (found,) = (number for number, line in enumerate(lines, 1) if f"/* {mark} */" in line)
    return found


def refusal(path: Path) -> VerifierError:
    with BpfObject.open(path) as obj:
        with pytest.raises(VerifierError) as caught:
            obj.load()
        assert not obj.loaded
    return caught.value


@pytest.mark.parametrize(("name", "sentence", "mend"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_refusal_names_line_reason_and_mend(
    build: Compile, name: str, sentence: str, mend: str
) -> None:
    path = build(f"refused_{name}")
    error = refusal(path)
    text = str(error)
    assert text.startswith(f"{path}: program ")
    assert f"/refused_{name}.bpf.c:{marked(name)}" in error.source
    assert sentence in error.sentence
    assert mend in error.mend
    assert text.endswith(error.mend)
    assert "\n" not in text
    assert error.sentence.partition(" (")[0] in error.log


def test_the_source_line_is_quoted(build: Compile) -> None:
    error = refusal(build("refused_index"))
    place = f"{PROGS}/refused_index.bpf.c:{marked('index')}"
    assert error.source == f"{place} `return registers[index]; /* here */`"


def test_a_called_function_is_found_by_the_log(build: Compile) -> None:
    error = refusal(build("refused_callee"))
    where = f"refused_callee.bpf.c:{marked('callee')} `return registers[index]; /* here */`"
    assert error.source == where
    assert "program reads" in error.subject


def test_what_is_inlined_from_the_header_is_told_with_the_author_s_line(build: Compile) -> None:
    error = refusal(build("refused_header"))
    assert error.source.endswith("/device.bpf.c:23")
    assert "unbounded min value" in error.sentence


def test_a_kept_reference_is_told_with_its_origin(build: Compile) -> None:
    error = refusal(build("refused_reference"))
    assert f"acquired at {PROGS}/refused_reference.bpf.c:{marked('reference', 'acquired')}" in str(
        error
    )


def test_without_debug_information_there_is_no_line_and_no_harm(
    build: Compile, tmp_path: Path
) -> None:
    path = tmp_path / "bare.bpf.o"
    sections = ("--remove-section=.BTF.ext", "--remove-section=.rel.BTF.ext")
    command = ["llvm-objcopy", *sections, str(build("refused_number")), str(path)]
    subprocess.run(command, check=True)
    error = refusal(path)
    assert error.source == ""
    assert str(error).startswith(f"{path}: program follows: the verifier refused it: R1 invalid")


def test_an_absent_kernel_function_is_named(build: Compile) -> None:
    path = build("refused_absent")
    with BpfObject.open(path) as obj, pytest.raises(UnsupportedError) as caught:
        obj.load()
    assert str(caught.value).startswith(
        f"kernel function kvmbpf_no_such_function(): found a kernel without it, "
        f"loaded modules included, needed by {path}; "
    )
    assert "\n" not in str(caught.value)


def test_a_weak_absent_kernel_function_is_named_where_it_is_called(build: Compile) -> None:
    error = refusal(build("refused_absent", "WEAK"))
    assert "kvmbpf_no_such_function" in error.sentence
    assert f"refused_absent.bpf.c:{marked('absent')}" in error.source
    assert "bpf_ksym_exists()" in error.mend


def test_a_kernel_function_declared_wrongly_is_named(build: Compile) -> None:
    path = build("refused_declaration")
    with BpfObject.open(path) as obj, pytest.raises(BadFileError) as caught:
        obj.load()
    assert str(caught.value).startswith(
        f"{path}: it declares kernel function bpf_task_from_pid() otherwise than this kernel has it"
    )


LOAD = """
import sys
from kvmbpf.errors import KvmBpfError
from kvmbpf.kernel.libbpf.object import BpfObject

with BpfObject.open(sys.argv[1]) as obj:
    try:
        obj.load()
    except KvmBpfError as error:
        print(error)
"""


def load_with(capabilities: str, path: Path) -> str:
    command = ["setpriv", f"--inh-caps={capabilities}", f"--bounding-set={capabilities}"]
    done = subprocess.run(
        [*command, sys.executable, "-c", LOAD, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(kvmbpf.__file__).parents[1],
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("capabilities", "lacks"),
    [
        ("-all", "this process lacks CAP_PERFMON, CAP_BPF, CAP_SYS_ADMIN: run as root"),
        ("-all,+perfmon", "this process lacks CAP_BPF, CAP_SYS_ADMIN: run as root"),
    ],
)
def test_the_missing_capabilities_are_named(build: Compile, capabilities: str, lacks: str) -> None:
    said = load_with(capabilities, build("state"))
    assert re.search(r"bpf_object__load\(.*\): EPERM \(Operation not permitted\)", said)
    assert said.count("\n") == 1
    assert lacks in said


def test_a_verifier_that_is_stricter_for_want_of_a_capability_says_so(build: Compile) -> None:
    said = load_with("-all,+bpf", build("refused_index_by_one"))
    assert "without CAP_PERFMON it takes less: run as root, or check the index" in said
    assert load_with("-all,+bpf,+perfmon", build("state")) == ""


def test_the_command_shows_the_whole_log_only_when_asked(build: Compile, tmp_path: Path) -> None:
    path = build("refused_null")
    code = (
        "import click, sys\n"
        "from kvmbpf import cli\n"
        "from kvmbpf.kernel.libbpf.object import BpfObject\n"
        "@click.command\n"
        "def load():\n"
        f"    with BpfObject.open({str(path)!r}) as obj:\n"
        "        obj.load()\n"
        "cli.cli.add_command(load)\n"
        "cli.COMMANDS['load'] = ('__main__', 'load', '')\n"
        "cli.main()\n"
    )
    script = tmp_path / "command.py"
    script.write_text(code)

    def run(*options: str, **variables: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, str(script), *options, "load"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(kvmbpf.__file__).parents[1]), **variables},
        )
        return done.returncode, done.stderr.splitlines()

    code_plain, plain = run()
    assert (code_plain, len(plain)) == (11, 1)
    assert plain[0].startswith(f"kvmbpf: {path}: program looks_up: ")
    for shown in (run("--verbose"), run(KVMBPF_VERBOSE="1")):
        assert shown[0] == 11
        assert shown[1][-1] == plain[0]
        assert any(line.startswith("processed ") for line in shown[1])


def test_a_program_that_is_taken_still_runs(build: Compile) -> None:
    with BpfObject.open(build("refused_null")) as obj:
        obj.program("looks_up").autoload = False
        obj.load()
        assert obj.map("table").lookup(struct.pack("=Q", 1)) is None
