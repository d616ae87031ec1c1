# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects: opening, loading, running, and every way in which that fails."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import kvmbpf
from kvmbpf.errors import BadFileError, KernelCallError, StateError, UnsupportedError, VerifierError
from kvmbpf.kernel.libbpf.object import BpfObject

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]


def test_open_shows_programs_and_maps_before_load(build: Compile) -> None:
    with BpfObject.open(build("state", name="thing")) as obj:
        assert list(obj.programs) == ["step", "remember", "version"]
        assert set(obj.maps) == {"entries", "per_cpu", "thing.rodata", "thing.data", "thing.bss"}
        assert obj.program("step").section == "syscall"
        assert obj.program("step").insn_count > 10
        assert not obj.loaded
        with pytest.raises(StateError, match="program step is not loaded"):
            _ = obj.program("step").fd
        with pytest.raises(StateError, match="map entries is not loaded"):
            _ = obj.map("entries").fd


def test_test_run_copies_context_in_and_out(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        assert obj.loaded
        run = obj.program("step").test_run(struct.pack("=QQ", 4, 99))
        assert (run.result, run.context) == (0, struct.pack("=QQ", 4, 4))
        run = obj.program("step").test_run(struct.pack("=QQ", 2, 99))
        assert (run.result, run.context) == (-7, struct.pack("=QQ", 2, 6))


def test_test_run_with_a_short_context_is_refused(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        with pytest.raises(KernelCallError, match=r"BPF_PROG_TEST_RUN\(step\): EINVAL") as caught:
            obj.program("step").test_run(b"\0" * 4)
        assert caught.value.errno == errno.EINVAL


def test_a_program_left_out_is_not_loaded(build: Compile) -> None:
    with BpfObject.open(build("refused")) as obj:
        obj.program("out_of_bounds").autoload = False
        obj.load()
        assert obj.program("good").test_run().result == 0
        with pytest.raises(StateError, match="program out_of_bounds is not loaded"):
            obj.program("out_of_bounds").test_run(bytes(16))
        with pytest.raises(StateError, match="loaded already"):
            obj.program("good").autoload = False


def test_refusal_names_the_program_and_has_the_log(build: Compile) -> None:
    path = build("refused")
    with BpfObject.open(path) as obj:
        with pytest.raises(VerifierError) as caught:
            obj.load()
        assert caught.value.subject == f"{path}: program out_of_bounds"
        assert "return table[index];" in caught.value.log
        assert "unbounded min value" in caught.value.log
        assert "processed" in caught.value.log.splitlines()[-1]
        assert not obj.loaded


def test_a_long_log_is_whole(build: Compile) -> None:
    with BpfObject.open(build("refused", "LONG_LOG")) as obj:
        with pytest.raises(VerifierError) as caught:
            obj.load()
        assert len(caught.value.log) > 4 << 20
        assert caught.value.log.startswith(("func#0", "Live regs", "0: R1=ctx"))
        assert "processed" in caught.value.log.splitlines()[-1]


def test_unknown_struct_ops_type_is_named(build: Compile) -> None:
    with (
        BpfObject.open(build("absent_ops")) as obj,
        pytest.raises(UnsupportedError, match="this kernel has no struct kvmbpf_absent_ops"),
    ):
        obj.load()


def test_a_struct_ops_left_out_does_not_hinder_the_load(build: Compile) -> None:
    with BpfObject.open(build("absent_ops")) as obj:
        obj.map("absent").autocreate = False
        obj.program("answer").autoload = False
        obj.load()
        assert obj.loaded


@pytest.mark.parametrize("content", [b"", b"not an ELF file", b"\x7fELF" + bytes(60)])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.bpf.o"
    path.write_bytes(content)
    with pytest.raises(BadFileError) as caught:
        BpfObject.open(path)
    assert str(caught.value).startswith(f"{path}: not an eBPF object")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="cannot be read: No such file"):
        BpfObject.open(tmp_path / "absent.bpf.o")
    with pytest.raises(BadFileError, match="cannot be read: Is a directory"):
        BpfObject.open(tmp_path)


def test_load_twice_is_refused(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        with pytest.raises(StateError, match="was called before"):
            obj.load()
        assert obj.program("version").test_run(bytes(16)).result == 1


def test_what_an_object_gave_out_ends_with_it(build: Compile) -> None:
    obj = BpfObject.open(build("state"))
    obj.load()
    step, entries, variables = obj.program("step"), obj.map("entries"), obj.globals
    assert variables["count"] == 0
    obj.close()
    obj.close()
    assert obj.closed
    for use in (
        lambda: step.test_run(bytes(16)),
        lambda: step.fd,
        lambda: entries.lookup(bytes(4)),
        lambda: variables["count"],
        lambda: obj.globals,
        obj.load,
    ):
        with pytest.raises(StateError, match="the object is closed"):
            use()


def test_unknown_names_say_what_there_is(build: Compile) -> None:
    with BpfObject.open(build("refused")) as obj:
        with pytest.raises(BadFileError, match="no program `none`; it has: good, out_of_bounds"):
            obj.program("none")
        with pytest.raises(BadFileError, match=r"no map `none`; it has: prog\.bss"):
            obj.map("none")


LOAD = """
import sys
from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.libbpf.object import BpfObject

with BpfObject.open(sys.argv[1]) as obj:
    try:
        obj.load()
    except KernelCallError as error:
        print(error)
"""


def test_missing_capabilities_are_named(build: Compile) -> None:
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-c", LOAD]
    command.append(str(build("state")))
    root = Path(kvmbpf.__file__).parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    assert "EPERM" in done.stdout
    assert "needs CAP_BPF and CAP_PERFMON" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_messages_are_kept_not_printed(build: Compile, capfd: pytest.CaptureFixture[str]) -> None:
    with BpfObject.open(build("absent_ops")) as obj:
        with pytest.raises(UnsupportedError):
            obj.load()
        assert any("kvmbpf_absent_ops" in message for message in obj.messages)
    assert capfd.readouterr() == ("", "")
