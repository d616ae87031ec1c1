# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf build``, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmbpf.model.objfile import read_device
from tests.header_examples import DESIGN_EXAMPLE, DEVICE, READ

NO_NOTE = '#include <kvmbpf.bpf.h>\nchar LICENSE[] SEC("license") = "GPL";\n'
WARNS = DESIGN_EXAMPLE.replace("count += acc->value;", "int unused;\n\tcount += acc->value;")
BROKEN = f"{DESIGN_EXAMPLE}\nint f(void) {{ return missing; }}\n"


def run(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", "build", *arguments],
        cwd=folder,
        env=os.environ | ({} if path is None else {"PATH": path}),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def source(folder: Path, name: str, text: str = DESIGN_EXAMPLE) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_object_is_beside_its_source(tmp_path: Path) -> None:
    source(tmp_path, "some/counter.bpf.c")
    done = run(tmp_path, "some/counter.bpf.c")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "built some/counter.bpf.o\n"
    assert names(tmp_path / "some") == ["counter.bpf.c", "counter.bpf.o"]
    assert read_device(tmp_path / "some" / "counter.bpf.o").name == "counter"


def test_object_gets_the_name_that_is_given(tmp_path: Path) -> None:
    source(tmp_path, "counter.bpf.c")
    done = run(tmp_path, "counter.bpf.c", "-o", "other.o")
    assert (done.returncode, done.stdout) == (0, "built other.o\n")
    assert names(tmp_path) == ["counter.bpf.c", "other.o"]


def test_objects_go_to_a_folder(tmp_path: Path) -> None:
    source(tmp_path, "one.bpf.c")
    source(tmp_path, "two.c")
    (tmp_path / "out").mkdir()
    done = run(tmp_path, "one.bpf.c", "two.c", "-o", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "built out/one.bpf.o\nbuilt out/two.o\n"
    assert names(tmp_path / "out") == ["one.bpf.o", "two.o"]


def test_built_twice_it_has_the_same_bytes_anywhere(tmp_path: Path) -> None:
    found = set()
    for place in ("a", "b/c"):
        path = source(tmp_path, f"{place}/counter.bpf.c")
        for _ in range(2):
            assert run(tmp_path, str(path)).returncode == 0
            found.add(path.with_name("counter.bpf.o").read_bytes())
    assert len(found) == 1


def test_warnings_are_shown_and_the_object_is_built(tmp_path: Path) -> None:
    source(tmp_path, "some/warns.bpf.c", WARNS)
    done = run(tmp_path, "some/warns.bpf.c")
    assert (done.returncode, done.stdout) == (0, "built some/warns.bpf.o\n")
    assert done.stderr.startswith("some/warns.bpf.c:17:6: warning: unused variable 'unused'")


def test_warning_is_an_error_if_asked_for(tmp_path: Path) -> None:
    source(tmp_path, "warns.bpf.c", WARNS)
    done = run(tmp_path, "--werror", "warns.bpf.c")
    assert (done.returncode, done.stdout) == (15, "")
    assert done.stderr.startswith("kvmbpf: warns.bpf.c: warns.bpf.c line 17 column 6: unused")
    assert len(done.stderr.splitlines()) == 1
    assert names(tmp_path) == ["warns.bpf.c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BROKEN, "line 21 column 22: use of undeclared identifier 'missing'"),
        (NO_NOTE, "its object: no section .note.kvmbpf"),
        (f"#include <kvmbpf.bpf.h>\n{DEVICE}\n{READ}\n", "kvmbpf_write"),
        (DESIGN_EXAMPLE.replace(".irqs = 1", ".flags = KVMBPF_RESETS"), "kvmbpf_reset"),
        (DESIGN_EXAMPLE.replace("0x1000", "0"), "line 3 column 69: a region has at least one byte"),
        (DESIGN_EXAMPLE.replace("kvmbpf,counter", "?"), "compatible"),
    ],
    ids=["error", "no device", "no write", "no reset", "sentence", "content"],
)
def test_what_is_no_device_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    source(tmp_path, "wrong.bpf.c", text)
    done = run(tmp_path, "wrong.bpf.c")
    assert (done.returncode, done.stdout) == (15, "")
    assert done.stderr.startswith("kvmbpf: wrong.bpf.c: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert names(tmp_path) == ["wrong.bpf.c"]


def test_files_after_a_wrong_one_are_built(tmp_path: Path) -> None:
    source(tmp_path, "a.bpf.c", BROKEN)
    source(tmp_path, "b.bpf.c")
    done = run(tmp_path, "a.bpf.c", "absent.bpf.c", "b.bpf.c")
    assert (done.returncode, done.stdout) == (15, "built b.bpf.o\n")
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert errors[1] == "kvmbpf: absent.bpf.c: no such file"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "FILE"),
        (["counter.bpf.c", "counter.bpf.c", "-o", "x.o"], 2, "`x.o` is not a folder"),
        (["--frobnicate", "counter.bpf.c"], 2, "frobnicate"),
        (["."], 15, "expected one that ends in .c"),
        (["counter"], 15, "counter: no C file by its name, expected one that ends in .c"),
        (["counter.bpf.c", "-o", "counter.bpf.c"], 15, "the source itself"),
        (["counter.bpf.c", "-o", "./counter.bpf.c"], 15, "the source itself"),
        (["counter.bpf.c", "-o", "absent/x.o"], 15, "absent/x.o: cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_command_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    source(tmp_path, "counter.bpf.c")
    source(tmp_path, "counter")
    done = run(tmp_path, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "counter.bpf.c").read_text() == DESIGN_EXAMPLE
    assert names(tmp_path) == ["counter", "counter.bpf.c"]


def test_missing_clang_is_named(tmp_path: Path) -> None:
    source(tmp_path, "counter.bpf.c")
    done = run(tmp_path, "counter.bpf.c", path=str(tmp_path))
    assert (done.returncode, done.stdout) == (12, "")
    assert done.stderr == (
        "kvmbpf: clang: found nothing, needed 14 or newer; "
        "install clang 14 or newer (Debian: apt install clang)\n"
    )


def test_old_clang_is_named(tmp_path: Path) -> None:
    source(tmp_path, "counter.bpf.c")
    clang = source(tmp_path, "bin/clang", "#!/bin/sh\necho 'clang version 13.0.1'\n")
    clang.chmod(0o755)
    done = run(tmp_path, "counter.bpf.c", path=str(clang.parent))
    assert done.returncode == 12
    assert done.stderr.startswith(f"kvmbpf: clang: found {clang}, version 13, needed 14 or newer;")


# ---- where a source lies, and what it is called --------------------------------

WITH_HEADER = DESIGN_EXAMPLE.replace(
    "#include <kvmbpf.bpf.h>", '#include <kvmbpf.bpf.h>\n#include "mydev.h"'
).replace("0x1000", "SIZE")


def linked(folder: Path, text: str = WITH_HEADER) -> Path:
    """Make real/dev.bpf.c with its header, and link/other.bpf.c that leads to it."""
    source(folder, "real/dev.bpf.c", text)
    source(folder, "real/mydev.h", "#define SIZE 0x1000\n")
    link = folder / "link" / "other.bpf.c"
    link.parent.mkdir()
    link.symlink_to("../real/dev.bpf.c")
    return link


def size(path: Path) -> int:
    return read_device(path).regions[0].size


def test_the_object_of_a_link_is_beside_the_link_and_has_its_name(tmp_path: Path) -> None:
    linked(tmp_path)
    done = run(tmp_path, "link/other.bpf.c")
    assert (done.returncode, done.stdout) == (0, "built link/other.bpf.o\n"), done.stderr
    assert names(tmp_path / "link") == ["other.bpf.c", "other.bpf.o"]
    assert names(tmp_path / "real") == ["dev.bpf.c", "mydev.h"]
    assert size(tmp_path / "link" / "other.bpf.o") == 0x1000


def test_a_header_beside_the_link_comes_before_one_beside_the_file(tmp_path: Path) -> None:
    linked(tmp_path)
    source(tmp_path, "link/mydev.h", "#define SIZE 0x2000\n")
    assert run(tmp_path, "link/other.bpf.c").returncode == 0
    assert size(tmp_path / "link" / "other.bpf.o") == 0x2000
    assert run(tmp_path, "real/dev.bpf.c").returncode == 0
    assert size(tmp_path / "real" / "dev.bpf.o") == 0x1000


def test_a_link_s_errors_and_warnings_are_under_its_own_name(tmp_path: Path) -> None:
    link = linked(tmp_path, WITH_HEADER.replace("count += acc->value;", "int unused;"))
    done = run(tmp_path, "link/other.bpf.c")
    assert done.stderr.startswith("link/other.bpf.c:18:6: warning: unused variable 'unused'")
    source(tmp_path, "real/mydev.h", "#define SIZE nonsense\n")
    done = run(tmp_path, str(link))
    assert done.stderr.startswith(f"kvmbpf: {link}: other.bpf.c line 4 column ")


def test_an_object_of_a_link_says_nothing_of_where_it_was_built(tmp_path: Path) -> None:
    header = "#define SIZE 0x1000\nstatic inline int twice(int x) { return 2 * x; }\n"
    linked(tmp_path, WITH_HEADER.replace("= count;", "= twice(count);"))
    source(tmp_path, "real/mydev.h", header)
    assert run(tmp_path, "link/other.bpf.c").returncode == 0
    content = (tmp_path / "link" / "other.bpf.o").read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"mydev.h" in content


def test_a_linked_folder_is_as_the_folder(tmp_path: Path) -> None:
    linked(tmp_path)
    (tmp_path / "folder").symlink_to("real")
    assert run(tmp_path, "folder/dev.bpf.c").returncode == 0
    through = (tmp_path / "real" / "dev.bpf.o").read_bytes()
    assert run(tmp_path, "real/dev.bpf.c").returncode == 0
    assert (tmp_path / "real" / "dev.bpf.o").read_bytes() == through


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("nowhere.c"), "a link to nowhere.c, which leads to no file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (os.mkfifo, "no regular file, expected a C file"),
    ],
    ids=["dangling", "circle", "fifo"],
)
def test_what_is_no_source_is_told(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path / "d.bpf.c")
    done = run(tmp_path, "d.bpf.c")
    assert (done.returncode, done.stdout) == (15, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("with blank.bpf.c", "-dash.bpf.c", "ger\u00e4t.bpf.c", "%s.bpf.c", "@file.bpf.c"),
        *("a=b/d.bpf.c", "quo'te\".bpf.c", "$HOME.bpf.c", "\udcff.bpf.c", "(x);.bpf.c"),
    ],
)
def test_a_source_of_any_name(tmp_path: Path, name: str) -> None:
    path = source(tmp_path, name, WITH_HEADER)
    source(path.parent, "mydev.h", "#define SIZE 0x1000\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder, given in ((tmp_path, name), (elsewhere, str(path))):
        done = run(folder, "--", given)
        assert (done.returncode, done.stderr) == (0, "")
        output = path.with_suffix(".o")
        assert size(output) == 0x1000
        assert str(tmp_path).encode() not in output.read_bytes()
        output.unlink()
    path.write_text(BROKEN)
    done = run(tmp_path, "--", name)
    assert (done.returncode, done.stdout) == (15, "")
    assert " line 21 column 22: use of undeclared identifier" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The kernel's own read-only folder: to root nothing else is."""
    path = source(tmp_path, "d.bpf.c")
    done = run(tmp_path, str(path), "-o", "/sys/d.bpf.o")
    assert done.returncode == 15
    assert done.stderr.startswith("kvmbpf: /sys/d.bpf.o: cannot be written: ")
    script = (
        "mount -t tmpfs none ro && cp d.bpf.c ro && mount -o remount,ro ro && "
        f"{sys.executable} -m kvmbpf build ro/d.bpf.c; "
        f"{sys.executable} -m kvmbpf build ro/d.bpf.c -o out.o"
    )
    (tmp_path / "ro").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.stderr
        == "kvmbpf: ro/d.bpf.o: cannot be written: Read-only file system; write elsewhere\n"
    )
    assert done.stdout == "built out.o\n"
