# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.manager.store: its files are its own, and none is left half written."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.manager import Store
from kvmbpf.manager.lock import hold
from tests.places import ROOT
from tests.scarce import left_there, limited, on_full_disk
from tests.unit.manager.test_record import RECORD

WRITE = """
import dataclasses, sys
from pathlib import Path
from kvmbpf.errors import KvmBpfError
from kvmbpf.manager import Store
from tests.unit.manager.test_record import RECORD

store = Store(Path(sys.argv[1]), Path(sys.argv[2]))
try:
    with store.lock("vm"):
        store.write(dataclasses.replace(RECORD, reason="x" * int(sys.argv[3])))
except KvmBpfError as error:
    sys.exit(str(error))
"""


def make_store(folder: Path) -> Store:
    return Store(folder / "run", folder / "bpf")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_record_is_written_whole_and_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write(RECORD)
    store.write(RECORD)
    assert store.read("vm", "dev") == RECORD
    assert names(tmp_path / "run" / "vm") == ["dev.json"]


def test_a_record_never_goes_through_a_link(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write(RECORD)
    (tmp_path / "victim").write_text("left")
    for name in ("dev.json", "dev.partial"):
        path = tmp_path / "run" / "vm" / name
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / "victim")
    store.write(RECORD)
    assert store.read("vm", "dev") == RECORD
    assert not (tmp_path / "run" / "vm" / "dev.json").is_symlink()
    assert (tmp_path / "victim").read_text() == "left"


def test_a_lock_is_never_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("left")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(KernelCallError, match="ELOOP"), hold(tmp_path / "lock", "VM a", "waits"):
        pass
    assert (tmp_path / "victim").read_text() == "left"


@pytest.mark.parametrize("name", ["run", "run/vm"])
def test_a_folder_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path = tmp_path / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match=f"{name} is a link to .*: name the folder itself"):
        make_store(tmp_path).write(RECORD)
    assert names(tmp_path / "elsewhere") == []


def write(folder: Path, reason: int) -> list[str]:
    return [sys.executable, "-c", WRITE, str(folder / "run"), str(folder / "bpf"), str(reason)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_full_disk_keeps_the_old_record(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    first = shlex.join(write(disk, 1))
    script = f"{first}; cat /dev/zero >filler 2>/dev/null; cat run/vm/dev.json >../old"
    check = ["sh", "-c", '"$@"; code=$?; cat run/vm/dev.json; exit $code', "sh", *write(disk, 5000)]
    done = run(on_full_disk(disk, 64, check, first=script))
    assert done.returncode == 1
    assert done.stderr == (
        f"write({disk}/run/vm/dev.json): ENOSPC (No space left on device); "
        "make room there, or write elsewhere\n"
    )
    assert done.stdout == (tmp_path / "old").read_text()
    assert left_there(disk) == ["filler", "run", "run/vm", "run/vm.lock", "run/vm/dev.json"]


def test_on_a_full_disk_a_lock_is_held_though_without_a_name(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    code = """
import sys
from pathlib import Path
from kvmbpf.manager import lock
with lock.hold(Path("lock"), "VM a", "waits"):
    print(lock.holder(Path("lock")), Path("lock").stat().st_size)
"""
    command = [sys.executable, "-c", code]
    done = run(on_full_disk(disk, 8, command, first="cat /dev/zero >filler 2>/dev/null"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0\n", "")


def test_a_limit_of_files_leaves_nothing_of_a_record(tmp_path: Path) -> None:
    done = run(limited("-f", 1, write(tmp_path, 5000)))
    assert "EFBIG (File too large); let files be larger" in done.stderr
    assert done.stderr.count("\n") == 1
    assert names(tmp_path / "run" / "vm") == []


def test_a_record_that_no_descriptor_is_left_for_is_not_taken_for_a_bad_one(
    tmp_path: Path,
) -> None:
    make_store(tmp_path).write(RECORD)
    code = """
import os, resource, sys
from pathlib import Path
from kvmbpf.errors import KvmBpfError
from kvmbpf.manager import Store
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    Store(Path(sys.argv[1]), Path(sys.argv[2])).read("vm", "dev")
except KvmBpfError as error:
    sys.stderr.write(f"{type(error).__name__} {error}")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "bpf")]
    done = run(command)
    assert done.stderr == (
        f"KernelCallError open({tmp_path}/run/vm/dev.json): EMFILE (Too many open files); "
        "let it have more descriptors: ulimit -n 256"
    )
