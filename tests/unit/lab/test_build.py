# SPDX-License-Identifier: GPL-2.0-or-later
"""Building: the configuration is checked, patches are exchanged, failures say why."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, LabError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.lab import build
from kvmbpf.lab.cache import build_lock, cache_folder, make_cache_folder
from kvmbpf.lab.config import check_survived, read_options
from kvmbpf.lab.kernel import LabKernel, find_kernel, finished_kernels, read_kernel, require_kernel
from kvmbpf.lab.make import make
from kvmbpf.lab.source import copy_files, restore_files


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVMBPF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KVMBPF_LAB_KERNEL", raising=False)


def test_a_dropped_option_is_named(tmp_path: Path) -> None:
    fragment, config = tmp_path / "config.fragment", tmp_path / ".config"
    fragment.write_text("# comment\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_C=y\n")
    config.write_text("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n")
    check_survived([fragment], config)
    config.write_text("CONFIG_A=y\n# CONFIG_C is not set\n")
    with pytest.raises(LabError, match="CONFIG_C=y came out as n"):
        check_survived([fragment], config)
    config.write_text("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n")
    with pytest.raises(LabError, match="CONFIG_B=n came out as y"):
        check_survived([fragment], config)


def test_of_two_fragments_the_later_holds(tmp_path: Path) -> None:
    first, second, config = tmp_path / "1", tmp_path / "2", tmp_path / ".config"
    first.write_text("CONFIG_A=y\nCONFIG_B=y\n")
    second.write_text("CONFIG_A=n\nCONFIG_C=7\n")
    config.write_text("CONFIG_B=y\nCONFIG_C=7\n")
    check_survived([first, second], config)
    with pytest.raises(LabError, match="1: CONFIG_A=y came out as n"):
        check_survived([second, first], config)
    config.write_text("CONFIG_B=y\nCONFIG_C=8\n")
    with pytest.raises(LabError, match="2: CONFIG_C=7 came out as 8"):
        check_survived([first, second], config)


def test_a_line_that_is_no_option_is_refused_by_number(tmp_path: Path) -> None:
    fragment = tmp_path / "config.fragment"
    fragment.write_text("CONFIG_A=y\nCONFIG_B\n")
    with pytest.raises(BadFileError, match="line 2"):
        read_options(fragment)


def test_patches_are_exchanged_and_unchanged_files_keep_their_time(tmp_path: Path) -> None:
    tree, pristine = tmp_path / "tree", tmp_path / "pristine"
    tree.mkdir()
    for name in ("same", "other"):
        (tree / name).write_text(f"{name} 0\n")
    copy_files(tree, pristine, ("same", "other", "created"))
    for name in ("same", "other", "created"):
        (tree / name).write_text(f"{name} 1\n")
        os.utime(tree / name, ns=(1_000, 1_000))
    before = {name: build._Before(tree / name) for name in ("same", "other", "created")}
    restore_files(pristine, tree, ("same", "other", "created"))
    assert (tree / "other").read_text() == "other 0\n"
    assert not (tree / "created").exists()
    (tree / "same").write_text("same 1\n")
    (tree / "other").write_text("other 2\n")
    for name, was in before.items():
        was.give_time_back(tree / name)
    assert (tree / "same").stat().st_mtime_ns == 1_000
    assert (tree / "other").stat().st_mtime_ns != 1_000


def _make(tree: Path, log: Path) -> None:
    with OwnedFd(os.open(os.devnull, os.O_RDONLY), "no lock") as lock:
        make(tree, ["all"], "key", log, lock=lock.fileno())


def test_a_failed_build_gives_the_first_error_and_the_log(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all:\n\t@echo '  CC a.o'\n\t@echo 'a.c:1:2: error: what is this'\n"
        "\t@echo 'b.c:1:2: error: later'\n\t@false\n"
    )
    log = tmp_path / "log"
    with pytest.raises(LabError, match=r"a\.c:1:2: error: what is this; log: .*/log$"):
        _make(tmp_path, log)
    assert "later" in log.read_text()


def test_a_disk_that_fills_up_is_the_reason_whatever_came_first(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all:\n\t@echo 'a.c:1:2: error: cannot write'\n"
        "\t@echo 'fatal error: b.o: No space left on device'\n\t@false\n"
    )
    with pytest.raises(LabError, match=r"b\.o: No space left .*make room .* KVMBPF_CACHE"):
        _make(tmp_path, tmp_path / "log")


def test_the_cache_is_its_owners_only(tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    assert stat.S_IMODE(make_cache_folder().stat().st_mode) == 0o700


def test_the_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVMBPF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "kvmbpf"


def test_two_builds_do_not_meet() -> None:
    waited: list[str] = []
    with build_lock(lambda: waited.append("first")):
        pid = os.fork()
        if pid == 0:
            with build_lock(lambda: os._exit(7)):
                os._exit(0)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    with build_lock(lambda: waited.append("second")):
        pass
    assert waited == []


def _kernel(folder: Path) -> LabKernel:
    kernel = LabKernel(folder, folder.name, "base", "6.0-kvmbpf", ("a.c",), 1.5)
    kernel.bzimage.parent.mkdir(parents=True)
    kernel.bzimage.write_bytes(b"image")
    return kernel


def test_a_kernel_counts_only_once_it_is_stamped() -> None:
    folder = cache_folder() / "kernels" / "k1"
    kernel = _kernel(folder)
    assert read_kernel(folder) is None
    assert list(finished_kernels()) == []
    kernel.write_stamp()
    assert read_kernel(folder) == kernel
    assert list(finished_kernels()) == [kernel]
    kernel.bzimage.unlink()
    assert read_kernel(folder) is None


def test_a_damaged_stamp_says_what_to_remove() -> None:
    folder = cache_folder() / "kernels" / "k1"
    _kernel(folder)
    (folder / "stamp.json").write_text("{}")
    with pytest.raises(LabError, match=f"damaged; remove {folder}"):
        read_kernel(folder)


def test_in_the_lab_the_kernel_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = _kernel(cache_folder() / "kernels" / "k1")
    kernel.write_stamp()
    monkeypatch.setenv("KVMBPF_LAB_KERNEL", str(kernel.folder))
    assert find_kernel() == kernel
    kernel.bzimage.unlink()
    with pytest.raises(StateError, match="kvmbpf lab build"):
        require_kernel()
