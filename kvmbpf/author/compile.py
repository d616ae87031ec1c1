# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile C: a device's source into an object, a helper's into a library.

The one place that knows clang's options for devices. The output is the same
for the same source and clang, wherever the source lies: paths are mapped away
from the debug information. A library is for this machine and this process.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.author.diagnostics import Output
from kvmbpf.errors import BadFileError, KernelCallError, UnsupportedError
from kvmbpf.mends import mend
from kvmbpf.writing import write_output

OLDEST_CLANG = 14
_NEWEST_NAMED_CLANG = 30
_MEND = f"install clang {OLDEST_CLANG} or newer (Debian: apt install clang)"

HEADERS = Path(__file__).resolve().parent / "bpf"
SHIPPED = Path(__file__).resolve().parents[1] / "devices"

_NOT_THE_AUTHOR_S = (HEADERS, Path("/usr/include"), Path("/usr/lib"))
_SHELL_SIGNAL = 128  # and above: the compiler's driver passes a signal on so


@dataclass(frozen=True, slots=True)
class Clang:
    """A clang that is new enough.

    :param path: its absolute path.
    :param version: its major version.
    """

    path: Path
    version: int


def find_clang() -> Clang:
    """Find ``clang``, or else the newest ``clang-N``, on PATH.

    :raise UnsupportedError: when there is none, or none new enough.
    """
    names = ["clang", *(f"clang-{n}" for n in range(_NEWEST_NAMED_CLANG, OLDEST_CLANG - 1, -1))]
    found = "nothing"
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        version = _version(path)
        if version is not None and version >= OLDEST_CLANG:
            return Clang(Path(path).absolute(), version)
        if found == "nothing":
            found = f"{path}, version {version or 'unknown'}"
    raise UnsupportedError("clang", found=found, needed=f"{OLDEST_CLANG} or newer", mend=_MEND)


def compile_shipped(name: str, folder: Path) -> Path:
    """Compile a device that comes with kvmbpf; return the object's path.

    :param name: its source in kvmbpf/devices, less the ending, as ``demo/demo_v1``.
    :param folder: where the object goes.
    :raise UnsupportedError: when there is no clang, or only an older one.
    """
    source = SHIPPED / f"{name}.bpf.c"
    return compile_device(source, folder / f"{source.name.removesuffix('.c')}.o")


def header_folders() -> list[Path]:
    """Return the folders that a device's ``#include <...>`` needs, ours first."""
    # Where the distribution keeps <asm/types.h> apart, as Debian does.
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    path = Path("/usr/include") / triplet
    return [HEADERS, path] if path.is_dir() else [HEADERS]


def object_name(source: Path) -> str:
    """Return the name of a source's object: less ``.c``, plus ``.o``.

    :raise BadFileError: when the source's name does not end in ``.c``.
    """
    if source.suffix != ".c" or source.name == ".c":
        raise BadFileError(source, "no C file by its name, expected one that ends in .c")
    return f"{source.stem}.o"


def compile_device(
    source: str | Path,
    output: str | Path,
    *,
    warnings_are_errors: bool = False,
    warn: Callable[[str], None] | None = None,
    check: Callable[[Path, bytes], object] | None = None,
) -> Path:
    """Compile a device's source; return the output's path.

    The output appears whole or not at all; what its name stands for is
    `kvmbpf.writing`'s to find.

    :param source: a C file that includes ``<kvmbpf.bpf.h>``; its own folder is
        searched for ``#include "..."``, and where it is a link, then that of the file.
    :param output: the object to write; its folder exists.
    :param warnings_are_errors: refuse a source that clang warns about.
    :param warn: is given clang's warnings, several lines, if there are any.
    :param check: is called with the output's path and the object before it appears
        there; a `BadFileError` of it is raised as one of the source.
    :raise BadFileError: when the source cannot be read or does not compile (the
        first of clang's errors), or the output cannot be written.
    :raise UnsupportedError: when there is no clang, or only an older one.
    :raise KernelCallError: when it cannot be run for want of something.
    """
    source, output = Path(source), Path(output)
    _check_source(source)
    done = _run(find_clang(), source, warnings_are_errors)
    if done.warnings and warn is not None:
        warn(done.warnings)
    if check is not None:
        try:
            check(output, done.output)
        except BadFileError as error:  # what is wrong with it is wrong with its source
            raise BadFileError(source, f"its object: {error.reason}") from error
    write_output(output, done.output)
    return output


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What a compiler gave on standard output, and what it warned of."""

    output: bytes
    warnings: str


def _check_source(source: Path) -> None:
    """Refuse a source that is no file.

    :raise BadFileError: when it is not.
    """
    if source.is_file():
        return
    if source.is_dir():
        raise BadFileError(source, "a directory, expected a C file")
    try:
        source.stat()
    except OSError as error:
        if not source.is_symlink():
            what = "no such file" if error.errno == errno.ENOENT else error.strerror
            raise BadFileError(source, f"{what}") from error
        raise BadFileError(
            source, f"a link to {source.readlink()}, which leads to no file ({error.strerror})"
        ) from error
    raise BadFileError(source, "no regular file, expected a C file")


def compile_library(source: Path, output: Path, *, warnings_are_errors: bool = False) -> Path:
    """Compile a C source of ours for this process to load; return the output's path.

    :param source: the C file.
    :param output: the library to write; its folder exists.
    :param warnings_are_errors: refuse a source that gcc warns about.
    :raise UnsupportedError: when there is no gcc.
    :raise BadFileError: when the source does not compile (the first of its errors).
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        raise UnsupportedError(
            "gcc",
            found="nothing",
            needed="any",
            mend="install it (Debian: apt install gcc libc6-dev)",
        )
    options = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-shared", "-fPIC"]
    options += ["-Werror"] if warnings_are_errors else []
    _compile([gcc, *options, "-o", str(output.resolve()), f"./{source.name}"], source)
    return output


def compile_native(source: Path, output: Path, options: Sequence[str] = ()) -> Path:
    """Compile a C source by clang for this machine; return the library's path.

    :param source: the C file; a device's may include ``<kvmbpf.bpf.h>``.
    :param output: the library to write; its folder exists.
    :param options: clang's, besides those for any library.
    :raise BadFileError: when the source does not compile (the first of clang's errors).
    :raise UnsupportedError: when there is no clang, or only an older one.
    """
    command = [
        *(str(find_clang().path), "-shared", "-fPIC", "-g", "-std=gnu11", "-Wall", "-Wextra"),
        *options,
        *(f"-iquote{folder}" for folder in _folders(source)[1:]),
        *(f"-I{HEADERS}", "-o", str(output.resolve()), f"./{source.name}"),
    ]
    _compile(command, source)
    return output


def _run(clang: Clang, source: Path, warnings_are_errors: bool) -> _Compiled:
    folders = _folders(source)
    command = [
        str(clang.path),
        # Freestanding: <stdint.h>, which headers as <linux/virtio_ring.h> include, is
        # then clang's own; that of the C library does not know this machine.
        *("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-ffreestanding"),
        *("-Wall", "-Wextra", "-Werror=implicit-function-declaration"),
        *(["-Werror"] if warnings_are_errors else []),
        # What it cannot compile is the source's fault: no files for a bug report in /tmp.
        "-fno-crash-diagnostics",
        *(f"-ffile-prefix-map={folder}=." for folder in folders),
        f"-ffile-prefix-map={HEADERS}=kvmbpf",
        "-fdebug-compilation-dir=.",
        *(f"-iquote{folder}" for folder in folders[1:]),
        *(f"-I{path}" for path in header_folders()),
        # Not to a file: it would need a folder, and room there, before it has its name.
        *("-c", f"./{source.name}", "-o", "-"),
    ]
    try:
        return _compile(command, source)
    except BadFileError as error:
        raise _with_place(error, command, source) from None


def _with_place(error: BadFileError, command: list[str], source: Path) -> BadFileError:
    """Return an error of a backend that named no line with one, where it can be found.

    Its words about arrays of a variable size have no place; a warning about one does.
    """
    if not re.search(r"dynamic stack alloc", error.reason, re.IGNORECASE) or " line " in (
        error.reason
    ):
        return error
    warns = [*command[:-4], "-Werror=vla", "-Werror=alloca", "-fsyntax-only"]
    try:
        _compile([*warns, f"./{source.name}"], source)
    except BadFileError as found:
        place = found.reason.partition(": ")[0]
        return BadFileError(source, f"{place}: {error.reason}").with_log(error.log)
    return error


def _folders(source: Path) -> list[Path]:
    """Return the author's folders: the source's, and that of what it is a link to."""
    folder, target = source.parent.absolute(), source.resolve().parent
    return [folder] if folder.resolve() == target else [folder, target]


def _compile(command: list[str], source: Path) -> _Compiled:
    """Run a compiler in its source's folder; its warnings get the source's path."""
    try:
        done = subprocess.run(
            command,
            cwd=source.parent,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise _not_run(command[0], error) from error
    text = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        said = Output(text, _folders(source), _NOT_THE_AUTHOR_S)
        reason = said.reason() or _no_reason(Path(command[0]).name, done.returncode, said)
        raise BadFileError(source, reason).with_log(text)
    warnings = re.sub(rf"^\./{re.escape(source.name)}:", lambda _: f"{source}:", text, flags=re.M)
    return _Compiled(done.stdout, warnings)


def _no_reason(compiler: str, status: int, said: Output) -> str:
    """Return what is known of a compiler that failed without an error."""
    crashed = status < 0 or status >= _SHELL_SIGNAL
    what = "crashed" if crashed else f"failed with status {status}"
    place = f" in function {said.function}" if said.function else ""
    if crashed:
        return (
            f"{compiler} {what}{place}: it cannot compile something there; leave out what BPF "
            "has not, as __builtin_return_address()"
        )
    return f"{compiler} {what}{place}: {' '.join(said.text.split())[-200:] or 'no output'}"


def _not_run(program: str, error: OSError) -> KernelCallError:
    return KernelCallError(f"run {program}", error.errno or 0, mend(error.errno))


def _version(path: str) -> int | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOEXEC, errno.EACCES):
            raise _not_run(path, error) from error  # which says nothing of its version
        return None
    match = re.search(r"clang version (\d+)", done.stdout)
    return int(match[1]) if match else None
