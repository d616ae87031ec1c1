# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile C: a device's source into an object, a helper's into a library.

The one place that knows clang's options for devices. The output is the same
for the same source and clang, wherever the source lies: paths are mapped away
from the debug information. A library is for this machine and this process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import BadFileError, UnsupportedError

OLDEST_CLANG = 14
_NEWEST_NAMED_CLANG = 30
_MEND = f"install clang {OLDEST_CLANG} or newer (Debian: apt install clang)"

HEADERS = Path(__file__).resolve().parent / "bpf"
SHIPPED = Path(__file__).resolve().parents[1] / "devices"

_DIAGNOSTIC = re.compile(
    r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?:fatal )?error: (?P<text>.*)"
)
# What clang says around a sentence of the header's: _Static_assert, attribute "error".
_SENTENCE = re.compile(
    r'static_assert failed(?: due to requirement \'.*\')? "(?P<old>.*)"'
    r"|static assertion failed(?: due to requirement '.*')?: (?P<new>.*)"
    r"|call to \w+ declared with 'error' attribute: (?P<call>.*)"
)


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
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Compile a device's source; return the output's path.

    The output appears whole or not at all.

    :param source: a C file that includes ``<kvmbpf.bpf.h>``; its own folder is
        searched for ``#include "..."``.
    :param output: the object to write; its folder exists.
    :param warnings_are_errors: refuse a source that clang warns about.
    :param warn: is given clang's warnings, several lines, if there are any.
    :param check: is called with the object before it appears under its name; a
        `BadFileError` of it is raised as one of the source.
    :raise BadFileError: when the source cannot be read or does not compile (the
        first of clang's errors), or the output cannot be written.
    :raise UnsupportedError: when there is no clang, or only an older one.
    """
    source, output = Path(source), Path(output)
    if source.is_dir():
        raise BadFileError(source, "a directory, expected a C file")
    if not source.is_file():
        raise BadFileError(source, "no such file")
    clang = find_clang()
    try:
        work = tempfile.TemporaryDirectory(prefix=".kvmbpf-", dir=output.parent)
    except OSError as error:
        raise BadFileError(output, f"cannot be written: {error.strerror}") from error
    with work as folder:
        result = Path(folder).resolve() / "device.o"
        warnings = _run(clang, source, result, warnings_are_errors)
        if warnings and warn is not None:
            warn(warnings)
        if check is not None:
            _check(check, result, source)
        try:
            result.replace(output)
        except OSError as error:
            raise BadFileError(output, f"cannot be written: {error.strerror}") from error
    return output


def _check(check: Callable[[Path], object], result: Path, source: Path) -> None:
    """Check an object; what is wrong with it is wrong with its source."""
    try:
        check(result)
    except BadFileError as error:
        raise BadFileError(source, f"its object: {error.reason}") from error


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
        *(*options, f"-I{HEADERS}", "-o", str(output.resolve()), f"./{source.name}"),
    ]
    _compile(command, source)
    return output


def _run(clang: Clang, source: Path, result: Path, warnings_are_errors: bool) -> str:
    folder = source.resolve().parent
    command = [
        str(clang.path),
        # Freestanding: <stdint.h>, which headers as <linux/virtio_ring.h> include, is
        # then clang's own; that of the C library does not know this machine.
        *("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-ffreestanding"),
        *("-Wall", "-Wextra", "-Werror=implicit-function-declaration"),
        *(["-Werror"] if warnings_are_errors else []),
        f"-ffile-prefix-map={folder}=.",
        f"-ffile-prefix-map={HEADERS}=kvmbpf",
        "-fdebug-compilation-dir=.",
        *(f"-I{path}" for path in header_folders()),
        *("-c", f"./{source.name}", "-o", str(result)),
    ]
    return _compile(command, source)


def _compile(command: list[str], source: Path) -> str:
    """Run a compiler in its source's folder; return its warnings, with the source's path."""
    done = subprocess.run(
        command,
        cwd=source.resolve().parent,
        env=os.environ | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        compiler = Path(command[0]).name
        raise BadFileError(source, _first_error(done.stderr, done.returncode, compiler))
    return re.sub(
        rf"^\./{re.escape(source.name)}:", lambda _: f"{source}:", done.stderr, flags=re.M
    )


def _first_error(log: str, status: int, compiler: str) -> str:
    """Return the first error of a compiler's output, with its place."""
    for line in log.splitlines():
        match = _DIAGNOSTIC.match(line)
        if match:
            place = f"{match['file'].removeprefix('./')} line {match['line']}"
            return f"{place} column {match['column']}: {_plain(match['text'])}"
    for line in log.splitlines():
        if "error:" in line:
            return line.strip()
    return f"{compiler} failed with status {status}: {' '.join(log.split())[-200:] or 'no output'}"


def _plain(text: str) -> str:
    """Return a diagnostic, less what clang says around a sentence of the header's."""
    match = _SENTENCE.fullmatch(text)
    return text if match is None else match["old"] or match["new"] or match["call"]


def _version(path: str) -> int | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    match = re.search(r"clang version (\d+)", done.stdout)
    return int(match[1]) if match else None
