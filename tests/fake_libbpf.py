# SPDX-License-Identifier: GPL-2.0-or-later
"""A libbpf of any version, made by gcc: the real one behind a chosen version number.

Each function jumps to the real library's, but for those that are left out; so
a test can see what a process does that finds an older libbpf.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import kvmbpf
from kvmbpf.kernel.libbpf.protos import PROTOTYPES

_VERSIONS = ("libbpf_major_version", "libbpf_minor_version")
_JUMPS = {
    "x86_64": "jmp *slot_{name}(%rip)",
    "aarch64": "adrp x16, slot_{name}\\n ldr x16, [x16, :lo12:slot_{name}]\\n br x16",
}
_HEAD = """
#include <dlfcn.h>
unsigned int libbpf_major_version(void) {{ return {major}; }}
unsigned int libbpf_minor_version(void) {{ return {minor}; }}
"""
_SLOT = """
__attribute__((used, visibility("hidden"))) void *slot_{name};
__asm__(".pushsection .text\\n.globl {name}\\n.type {name}, %function\\n"
        "{name}: {jump}\\n.popsection\\n");
"""
_TAIL = """
static __attribute__((constructor)) void fill(void)
{{
    void *real = dlopen("{real}", RTLD_NOW | RTLD_LOCAL);
    {fills}
}}
"""


def _real() -> str:
    listing = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True)
    for line in listing.stdout.splitlines():
        name, _, path = line.partition(" => ")
        if name.split()[:1] == ["libbpf.so.1"]:
            return path
    raise FileNotFoundError("libbpf.so.1")


def make(folder: Path, major: int, minor: int, without: Sequence[str] = ()) -> Path:
    """Make a libbpf.so.1.

    :param folder: where.
    :param without: names of functions that it does not have.
    :return: the library.
    """
    names = [name for name in PROTOTYPES if name not in without]
    text = "".join(
        _SLOT.format(name=name, jump=_JUMPS[platform.machine()].format(name=name))
        for name in names
        if name not in _VERSIONS
    )
    fills = "\n    ".join(
        f'if (real) slot_{name} = dlsym(real, "{name}");' for name in names if name not in _VERSIONS
    )
    source, library = folder / "fake.c", folder / "libbpf.so.1"
    head = _HEAD.format(major=major, minor=minor)
    source.write_text(head + text + _TAIL.format(real=_real(), fills=fills))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def run_with(library: Path, code: str, *arguments: str | Path) -> str:
    """Run Python code in a process that finds this libbpf; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(kvmbpf.__file__).parents[1],
        env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)},
    )
    assert done.stderr == ""
    return done.stdout
