# SPDX-License-Identifier: GPL-2.0-or-later
"""What works with an older libbpf, and what says which one it needs, in a real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import fake_libbpf

from .conftest import Compile

pytestmark = pytest.mark.bpf

RUN = """
import sys
from kvmbpf.kernel.libbpf import BpfObject

with BpfObject.open(sys.argv[1]) as obj:
    obj.load()
    print(obj.program("version").test_run(bytes(16)).result, obj.map("entries").id > 0)
"""

LOAD = """
import sys
from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.libbpf import BpfObject, StructOps

try:
    with BpfObject.open(sys.argv[1]) as obj:
        obj.load()
        ops = StructOps(obj, "congestion")
        print("made")
        ops.prepare()
        print("prepared")
except UnsupportedError as error:
    print(error)
"""

NEEDS_1_3 = "needed 1.3 or newer for struct_ops links"


def test_programs_and_maps_need_nothing_new(build: Compile, tmp_path: Path) -> None:
    old = fake_libbpf.make(tmp_path, 1, 1)
    assert fake_libbpf.run_with(old, RUN, build("state")) == "1 True\n"


@pytest.mark.parametrize(
    ("minor", "said"),
    [(2, f"libbpf: found 1.2, {NEEDS_1_3}; "), (4, "made\nprepared\n"), (5, "made\nprepared\n")],
)
def test_struct_ops_say_what_they_need(
    build: Compile, tmp_path: Path, minor: int, said: str
) -> None:
    library = fake_libbpf.make(tmp_path, 1, minor)
    out = fake_libbpf.run_with(library, LOAD, build("congestion"))
    assert out.startswith(said)


def test_a_library_without_a_function_that_is_needed_says_which(
    build: Compile, tmp_path: Path
) -> None:
    library = fake_libbpf.make(tmp_path, 1, 9, without=["bpf_map__initial_value"])
    out = fake_libbpf.run_with(library, LOAD, build("congestion"))
    assert out.startswith("made\nlibbpf: found 1.9 without bpf_map__initial_value(), needed ")
    assert out.count("\n") == 2
