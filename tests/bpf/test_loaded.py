# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.kernel.libbpf.loaded: what is attached is found by id, and its runs are counted."""

from __future__ import annotations

import errno
import json
import subprocess
from typing import Any

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.libbpf.loaded import (
    LoadedProgram,
    enable_run_statistics,
    open_map_id,
    program_ids,
)

from .conftest import Compile
from .test_struct_ops import call_init, loaded

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]
ABSENT = 0x7FFFFFFF


def bpftool(kind: str, number: int) -> dict[str, Any]:
    command = ["bpftool", "-j", kind, "show", "id", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_link_leads_to_its_programs(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        ops.prepare()
        with ops.attach() as link, open_map_id(link.info().map_id) as found:
            ids = program_ids(found)
            assert sorted(ids) == ["cong_avoid", "init", "ssthresh", "undo_cwnd"]
            assert bpftool("prog", ids["init"])["name"] == "cc_init"


def test_a_map_that_was_not_prepared_has_no_programs(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        assert program_ids(ops.map) == {}
        whole = ops.map.lookup(bytes(4))
        assert whole is not None
        assert len(whole) == bpftool("map", ops.map.id)["bytes_value"], "the kernel's size"
        assert len(whole) > ops.map.value_size, "not the object's own"


def test_a_program_tells_what_bpftool_does(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        ops.prepare()
        number = program_ids(ops.map)["init"]
        with LoadedProgram.open_id(number) as program:
            info = program.info()
        other = bpftool("prog", number)
    assert (info.id, info.name, info.tag) == (number, other["name"], other["tag"])
    assert info.instructions * 8 == other["bytes_xlated"]
    assert info.jited_bytes == other["bytes_jited"]
    assert info.uid == other["uid"]
    assert info.loaded_ns > 0


def test_runs_are_counted_while_it_is_on(build: Compile) -> None:
    with loaded(build("congestion")) as (obj, ops):
        ops.prepare()
        with ops.attach(), LoadedProgram.open_id(program_ids(ops.map)["init"]) as program:
            call_init()
            before = program.info()
            with enable_run_statistics(), enable_run_statistics():
                call_init()
                call_init()
                during = program.info()
            call_init()
            after = program.info()
        assert obj.globals["inits"] == 4
    assert during.run_count - before.run_count == 2
    assert during.run_ns > before.run_ns
    assert (after.run_count, after.run_ns) == (during.run_count, during.run_ns)


def test_what_is_not_there() -> None:
    for opening in (LoadedProgram.open_id, open_map_id):
        with pytest.raises(KernelCallError, match="it has been unloaded") as caught:
            opening(ABSENT)
        assert caught.value.errno == errno.ENOENT


def test_a_closed_program_tells_nothing(build: Compile) -> None:
    with loaded(build("congestion")) as (_, ops):
        ops.prepare()
        program = LoadedProgram.open_id(program_ids(ops.map)["init"])
        program.close()
        program.close()
        with pytest.raises(StateError, match="closed"):
            program.info()
