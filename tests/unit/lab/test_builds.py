# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole builds through the command, with a make that obeys: two at once, killed, cleaned."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.lab.fake_lab import FakeLab, alive, eventually, finish, make_tree


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FakeLab]:
    world = FakeLab(tmp_path)
    yield world
    world.close()


def build(lab: FakeLab, *arguments: str, **environment: str) -> Path:
    """Build a kernel; return its tree."""
    done = lab.run("build", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[2])


def status(lab: FakeLab, *arguments: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(lab.run("status", "--json", *arguments).stdout)
    return facts


def test_a_kernel_is_built_once(lab: FakeLab) -> None:
    assert not status(lab)["cached"]
    tree = build(lab)
    assert (tree / "arch/x86/boot/bzImage").read_text() == "first\npatched\nthird\n"
    assert build(lab) == tree
    assert lab.calls("bzImage") == 1
    assert status(lab)["cached"]


def test_the_debug_kernel_is_another_one(lab: FakeLab) -> None:
    plain, debug = build(lab), build(lab, "--debug")
    assert plain != debug
    assert lab.calls("tar") == 2, "another configuration is another base"
    assert "KASAN" not in (plain / ".config").read_text()
    lines = (debug / ".config").read_text().splitlines()
    assert lines == ["CONFIG_TINY=y", "CONFIG_A=y", "CONFIG_B=y", "CONFIG_B=m", "CONFIG_KASAN=y"]
    assert status(lab, "--debug")["fragments"] == ["config.fragment", "debug.fragment"]


def test_a_new_series_starts_from_a_copy(lab: FakeLab) -> None:
    old = build(lab)
    lab.write_series("patched anew")
    new = build(lab)
    assert new != old
    assert lab.calls("tar") == 1
    assert (new / "dir/one.c").read_text() == "first\npatched anew\nthird\n"


def test_of_two_builds_of_one_kernel_the_second_finds_it_finished(lab: FakeLab) -> None:
    lab.hold("bzImage")
    first = lab.start("build")
    lab.await_held()
    second = lab.start("build")
    assert second.stderr is not None
    assert "waiting for another build to end" in second.stderr.readline()
    lab.let_go("bzImage")
    one, two = finish(first), finish(second)
    assert (one.returncode, two.returncode) == (0, 0)
    assert one.stdout == two.stdout
    assert "the other build made kernel 0.0.1-fake" in two.stderr
    assert lab.calls("bzImage") == 1


def test_of_two_builds_of_two_kernels_the_second_waits(lab: FakeLab) -> None:
    lab.hold("bzImage")
    first = lab.start("build")
    lab.await_held()
    second = lab.start("build", "--debug")
    assert second.stderr is not None
    assert "waiting for another build to end" in second.stderr.readline()
    assert lab.calls("tar") == 1
    lab.let_go("bzImage")
    one, two = finish(first), finish(second)
    assert (one.returncode, two.returncode) == (0, 0)
    assert one.stdout != two.stdout


COLD = ("tar", "git", "tinyconfig", "olddefconfig", "bzImage", "modules")


@pytest.mark.parametrize("phase", [*COLD, "cp"])
def test_a_build_killed_in_any_phase_is_not_a_finished_one(lab: FakeLab, phase: str) -> None:
    if phase == "cp":
        build(lab)
        lab.write_series("patched anew")
    finished = len(status(lab)["cached_kernels"])
    lab.hold(phase)
    process = lab.start("build")
    tool = lab.await_held()
    process.kill()
    finish(process)
    eventually(lambda: not alive(tool))
    facts = status(lab)
    assert not facts["cached"]
    assert len(facts["cached_kernels"]) == finished
    lab.let_go(phase)
    done = lab.run("build")
    assert done.returncode == 0, done.stderr
    assert "removing what an interrupted build left" in done.stderr
    assert (Path(done.stdout.split()[2]) / "dir/two.c").read_text() == "new\n"
    assert status(lab)["cached"]


def test_many_kernels_are_mentioned(lab: FakeLab) -> None:
    for number in range(4):
        lab.write_series(f"patched {number}")
        assert "lab clean" not in lab.run("build").stderr
    lab.write_series("patched 4")
    assert "5 kernels of about 2 GB each" in lab.run("build").stderr


# A tree of the user's


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = make_tree(tmp_path / "mine")
    (place / "dir/one.o").write_text("built")
    (place / ".config").write_text("CONFIG_MINE=y\n")
    (place / "dir/link").symlink_to("one.c")
    return place


@pytest.fixture
def work_tree(tree: Path) -> Path:
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("*.o\n.config\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "all")
    return tree


@pytest.mark.parametrize("kind", ["tree", "work_tree"])
def test_a_tree_is_built_from_a_copy(
    lab: FakeLab, kind: str, request: pytest.FixtureRequest
) -> None:
    mine: Path = request.getfixturevalue(kind)
    before = snapshot(mine)
    built = build(lab, "--source", str(mine))
    assert snapshot(mine) == before
    assert (built / "dir/one.c").read_text() == "first\npatched\nthird\n"
    assert (built / "dir/link").is_symlink()
    assert not (built / "dir/one.o").exists()
    assert "MINE" not in (built / ".config").read_text()
    assert not (built / ".git").exists()
    assert lab.calls("tar") == 0
    assert build(lab, KVMBPF_KERNEL_SOURCE=str(mine)) == built
    assert lab.calls("bzImage") == 1


def test_a_change_in_a_tree_makes_another_kernel(lab: FakeLab, tree: Path) -> None:
    keys = {status(lab)["key"]}
    for text in ("first\nsecond\nthird\n", "first\nsecond\nthird\nfourth\n"):
        (tree / "dir/one.c").write_text(text)
        keys.add(status(lab, "--source", str(tree))["key"])
    (tree / "dir/new.c").touch()
    keys.add(status(lab, "--source", str(tree))["key"])
    assert len(keys) == 4
    (tree / "dir/more.o").write_text("a build product changes nothing")
    keys.add(status(lab, "--source", str(tree))["key"])
    assert len(keys) == 4


def test_a_work_tree_is_known_by_head_difference_and_new_files(
    lab: FakeLab, work_tree: Path
) -> None:
    def key() -> str:
        return str(status(lab, "--source", str(work_tree))["key"])

    clean = key()
    one = work_tree / "dir/one.c"
    one.write_text(one.read_text())
    assert key() == clean, "its time is not its text"
    one.write_text("first\nsecond\nthird\nfourth\n")
    (work_tree / "dir/new.c").write_text("a\n")
    first = key()
    (work_tree / "dir/new.c").write_text("b\n")
    second = key()
    git(work_tree, "add", "-A")
    git(work_tree, "commit", "-q", "-m", "more")
    assert len({clean, first, second, key()}) == 4
    built = build(lab, "--source", str(work_tree))
    assert (built / "dir/new.c").read_text() == "b\n"
    assert (built / "dir/one.c").read_text().endswith("fourth\n")


def test_a_tree_that_has_the_series_is_not_patched_twice(lab: FakeLab, tree: Path) -> None:
    subprocess.run(["git", "apply", str(lab.series / "0001-a.patch")], check=True, cwd=tree)
    done = lab.run("build", "--source", str(tree))
    assert done.returncode == 0, done.stderr
    assert f"{tree} has the series already" in done.stderr
    assert "has the series" not in lab.run("build").stderr
    built = Path(done.stdout.split()[2])
    assert (built / "dir/one.c").read_text() == "first\npatched\nthird\n"
    assert (built.parent / "pristine/dir/one.c").read_text() == "first\nsecond\nthird\n"


def test_a_tree_that_changes_while_it_is_copied_is_refused(lab: FakeLab, tree: Path) -> None:
    lab.hold("xargs")
    process = lab.start("build", "--source", str(tree))
    lab.await_held()
    (tree / "dir/one.c").write_text("first\nsecond\nthird\nlate\n")
    lab.let_go("xargs")
    done = finish(process)
    assert done.returncode == 18
    assert "it changed while it was copied; run the command again" in done.stderr


# Cleaning


def cleaned(lab: FakeLab, *arguments: str) -> dict[str, Any]:
    done = lab.run("clean", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def kernels(lab: FakeLab) -> set[str]:
    return {path.name for path in (lab.cache / "kernels").iterdir()}


def gone(facts: dict[str, Any], kind: str = "kernel") -> set[str]:
    return {Path(one["path"]).name for one in facts["removed"] if one["kind"] == kind}


@pytest.fixture
def several(lab: FakeLab) -> list[str]:
    """Build three kernels of old series, the oldest first; then plain and debug."""
    keys = []
    for number in range(3):
        lab.write_series(f"patched {number}")
        keys.append(build(lab).parent.name)
    lab.write_series("patched")
    return [*keys, build(lab).parent.name, build(lab, "--debug").parent.name]


def test_clean_leaves_what_the_series_uses(lab: FakeLab, several: list[str]) -> None:
    old, used = set(several[:3]), set(several[3:])
    would = cleaned(lab, "--dry-run")
    assert gone(would) == old
    assert kernels(lab) == old | used
    did = cleaned(lab)
    assert did == would | {"dry_run": False}
    assert kernels(lab) == used
    assert gone(did, "log") == {f"build-{key}.log" for key in old}
    assert did["freed_bytes"] == sum(one["size_bytes"] for one in did["removed"]) > 0
    assert cleaned(lab)["removed"] == []


def test_clean_keeps_the_newest(lab: FakeLab, several: list[str]) -> None:
    assert gone(cleaned(lab, "--keep", "1")) == set(several[:2])
    assert kernels(lab) == set(several[2:])


def test_clean_all_leaves_nothing(lab: FakeLab, several: list[str]) -> None:
    parts = lab.cache / "parts" / "x"
    parts.mkdir(parents=True)
    assert gone(cleaned(lab, "--all")) == set(several)
    assert kernels(lab) == set()
    assert not parts.exists()
    assert cleaned(lab, "--all")["removed"] == []


def test_clean_removes_what_interrupted_builds_left(lab: FakeLab) -> None:
    lab.hold("bzImage")
    process = lab.start("build")
    tool = lab.await_held()
    process.kill()
    eventually(lambda: not alive(tool))
    (left,) = kernels(lab)
    eventually(lambda: lab.run("clean", "--dry-run").returncode == 0)
    assert gone(cleaned(lab), "unfinished") == {left}
    assert kernels(lab) == set()


def test_clean_removes_a_kernel_with_a_damaged_stamp(lab: FakeLab) -> None:
    key = build(lab).parent.name
    (lab.cache / "kernels" / key / "stamp.json").write_text("{}")
    assert gone(cleaned(lab), "unfinished") == {key}


def test_clean_does_not_wait_for_a_build(lab: FakeLab) -> None:
    lab.hold("bzImage")
    lab.start("build")
    lab.await_held()
    done = lab.run("clean", "--all")
    assert (done.returncode, done.stdout) == (13, "")
    assert "a build is at work in the cache" in done.stderr
    lab.let_go("bzImage")


def test_clean_leaves_what_a_lab_uses(lab: FakeLab, several: list[str]) -> None:
    used = lab.cache / "kernels" / several[0]
    with subprocess.Popen(["flock", "-s", str(used), "sleep", "60"]) as process:
        eventually(lambda: subprocess.run(["flock", "-n", str(used), "true"]).returncode != 0)
        facts = cleaned(lab, "--all")
        assert facts["in_use"] == [str(used)]
        assert kernels(lab) == {several[0]}
        assert "in use" in lab.run("clean", "--all").stdout
        process.terminate()


def test_clean_says_what_it_freed(lab: FakeLab, several: list[str]) -> None:
    lines = lab.run("clean").stdout.splitlines()
    assert len([line for line in lines if " MiB  kernel " in line]) == 3
    assert lines[-1].endswith("  freed")
    assert lab.run("clean", "--dry-run").stdout.splitlines()[-1].endswith("  would be freed")


def test_clean_of_nothing_frees_nothing(lab: FakeLab) -> None:
    assert lab.run("clean").stdout.split() == ["0.0", "MiB", "freed"]
