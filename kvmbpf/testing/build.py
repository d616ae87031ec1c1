# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile a device for a test: natively, and for BPF, once for each content.

The object for BPF says what the device is and what its variables and maps are;
the library is what runs. Both stay in the cache ($KVMBPF_CACHE, or kvmbpf in the
user's cache) together with the list of all files that went into them: while
each has its content of then, they are used again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.author.compile import (
    HEADERS,
    compile_device,
    compile_native,
    find_clang,
    header_folders,
)
from kvmbpf.caches import user_cache
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile import read_device

_KEPT = 256
# What another folder mends.
_OF_THE_FOLDER = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_GUARD = Path(__file__).with_name("guard.c")
_NATIVE = HEADERS / "kvmbpf_native.h"

_CHECKS = "integer-divide-by-zero,bounds,shift"
# As BPF has it: char is signed, arithmetic wraps. The checks end in a trap.
_OPTIONS = (
    *("-O1", "-Werror=implicit-function-declaration", "-fvisibility=hidden"),
    *("-fsigned-char", "-fwrapv", "-fno-strict-aliasing", "-fno-builtin"),
    *(f"-fsanitize={_CHECKS}", f"-fsanitize-trap={_CHECKS}"),
    *("-Wl,-z,now,-z,defs", f"-include{_NATIVE}"),
)


@dataclass(frozen=True, slots=True)
class Built:
    """A compiled device.

    :param source: what it was made of.
    :param object: for BPF.
    :param library: for this machine.
    """

    source: Path
    object: Path
    library: Path


def build(source: str | Path) -> Built:
    """Compile a device, or find it compiled.

    :param source: a C file that includes ``<kvmbpf.bpf.h>``.
    :raise BadFileError: when it cannot be read or does not compile.
    :raise UnsupportedError: when there is no clang, or only an older one.
    """
    source = Path(source).absolute()
    if not source.is_file():
        raise BadFileError(
            source, "a directory, expected a C file" if source.is_dir() else "no such file"
        )
    clang = find_clang()
    key = _digest(f"{source} {clang.path} {clang.version} {_OPTIONS}".encode())
    folder = _cache() / key
    if not _is_fresh(folder):
        _make(source, folder)
    with contextlib.suppress(OSError):  # a cache that is only read has nothing to prune
        os.utime(folder)
    return Built(source, folder / "device.bpf.o", folder / "device.so")


@functools.cache
def guard_library() -> Path:
    """Compile guard.c, or find it compiled; return the library."""
    folder = _cache() / f"guard-{_digest(_GUARD.read_bytes())}"
    if not folder.is_dir():
        with _kept(folder), _new_folder(folder) as work:
            compile_native(_GUARD, Path(work) / "guard.so", ("-O2",))
            _put(Path(work), folder)
    return folder / "guard.so"


def _cache() -> Path:
    folder = user_cache().absolute() / "devices"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadFileError(
            folder, f"cannot make the cache folder: {error.strerror}; set KVMBPF_CACHE to another"
        ) from error
    return folder


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Say of a cache that takes no file how to get another one."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_FOLDER:
            raise
        raise BadFileError(
            folder, f"cannot be written: {error.strerror}; set KVMBPF_CACHE to another folder"
        ) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _is_fresh(folder: Path) -> bool:
    """Tell whether all that went into a folder's files is as it was."""
    try:
        inputs: dict[str, str] = json.loads((folder / "inputs.json").read_bytes())
        return all(_digest(Path(path).read_bytes()) == was for path, was in inputs.items())
    except (OSError, ValueError):
        return False


def _make(source: Path, folder: Path) -> None:
    with _kept(folder), _new_folder(folder) as name:
        work = Path(name)
        inputs = {str(path): _digest(path.read_bytes()) for path in _inputs(source)}
        compile_device(source, work / "device.bpf.o", check=read_device)
        compile_native(source, work / "device.so", _OPTIONS)
        (work / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")
        _put(work, folder)
    _prune(folder.parent)


def _new_folder(folder: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(
        prefix=".new-", dir=folder.parent, ignore_cleanup_errors=True
    )


def _put(work: Path, folder: Path) -> None:
    """Move a folder's content to its place; two at once do no harm."""
    folder.mkdir(exist_ok=True)
    for path in sorted(work.iterdir()):  # inputs.json is what counts: it comes last
        path.replace(folder / path.name)


def _inputs(source: Path) -> set[Path]:
    """Return all files that a compilation for either machine reads."""
    found = {source}
    for options in (("-target", "bpf"), (f"-include{_NATIVE}",)):
        folders = [f"-I{path}" for path in header_folders()]
        done = subprocess.run(
            [
                str(find_clang().path),
                *options,
                *folders,
                "-ffreestanding",
                "-M",
                "-MG",
                f"./{source.name}",
            ],
            cwd=source.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        names = done.stdout.decode(errors="replace").partition(":")[2].replace("\\\n", " ")
        found |= {source.parent / name for name in names.split()}
    return {path for path in found if path.is_file()}


def _prune(cache: Path) -> None:
    """Let the devices go that were used longest ago."""
    folders = [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]
    try:
        folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:  # another process prunes as well
        return
    for path in folders[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
