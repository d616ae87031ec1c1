# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk that Bochs boots has what the tests need, read back by busybox's cpio."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from kvmbpf.errors import LabError
from kvmbpf.lab.vmx_image import init_script, make_image, needed_libraries
from tests.unit.lab.fake_bochs import TESTS, FakeBochs


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBochs:
    made = FakeBochs(tmp_path)
    monkeypatch.setenv("PATH", made.environment()["PATH"])
    return made


def image_of(world: FakeBochs, *programs: Path) -> bytes:
    folder = world.temporary
    make_image(world.find(), world.kernel.bzimage, programs, folder, timeout_s=5)
    return gzip.decompress((folder / "tests.iso").read_bytes())


def listed(archive: bytes) -> set[str]:
    done = subprocess.run(["busybox", "cpio", "-t"], input=archive, capture_output=True, check=True)
    return set(done.stdout.decode().splitlines())


def test_the_initramfs_runs_its_programs_on_its_own(world: FakeBochs, tmp_path: Path) -> None:
    archive = image_of(world, *world.programs)
    names = listed(archive)
    assert {f"tests/{name}" for name in TESTS} <= names
    assert {"init", "bin/busybox", "dev/console", "lib/libc.so.6", "lib/libgcc_s.so.1"} <= names
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(
        ["busybox", "cpio", "-id", *names - {"dev/console"}],
        input=archive,
        capture_output=True,
        check=True,
        cwd=root,
    )
    loader = next(root.glob("lib64/ld-*"))
    command: list[str | Path] = [loader, "--library-path", root / "lib", root / "tests" / TESTS[0]]
    subprocess.run(command, check=True)


def test_what_was_put_into_the_disk_is_not_kept_beside_it(world: FakeBochs) -> None:
    image_of(world, world.programs[0])
    assert [path.name for path in world.temporary.iterdir()] == ["tests.iso"]


def test_the_init_is_a_script_that_a_posix_shell_understands(world: FakeBochs) -> None:
    script = init_script([Path("/out/kvm_bpf_a_test")], 900)
    subprocess.run(["busybox", "sh", "-n"], input=script.encode(), check=True)
    assert "for test in /tests/kvm_bpf_a_test; do" in script
    assert 'timeout -k 5 900 "$test"' in script


def test_programs_without_libraries_take_none_along(world: FakeBochs) -> None:
    assert needed_libraries([world.folder / "tools/xorriso"]) == set()


def test_a_library_that_is_missing_is_named(world: FakeBochs) -> None:
    world.write_tool("ldd", "echo '	libgone.so.1 => not found'")
    with pytest.raises(LabError, match=r"kvm_bpf_access_test: its library libgone\.so\.1 is not"):
        needed_libraries([world.programs[0]])


def test_what_grub_says_is_told(world: FakeBochs) -> None:
    world.write_tool("grub-mkrescue", "echo 'grub-mkrescue: error: no space.' >&2; exit 1")
    with pytest.raises(LabError, match=r"grub-mkrescue failed: grub-mkrescue: error: no space\."):
        image_of(world, world.programs[0])


def test_a_kernel_that_is_gone_is_named(world: FakeBochs) -> None:
    world.kernel.bzimage.unlink()
    with pytest.raises(LabError, match="bzImage: No such file or directory"):
        image_of(world, world.programs[0])
