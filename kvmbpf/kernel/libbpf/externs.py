# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that libbpf looks up as it loads an object, and what is wrong where it cannot.

A variable in ``.kconfig`` is an option of the kernel's configuration, which libbpf reads
by itself from a file of the host, or one of three that it makes up. One in ``.ksyms``
without a type is an address in /proc/kallsyms.

Source: bpf_object__resolve_externs() and bpf_object__read_kconfig_file(), libbpf 1.4 to 1.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from kvmbpf.errors import BadFileError, KvmBpfError, UnsupportedError

KCONFIG_SECTION = ".kconfig"
_NO_CONFIG = "failed to open system Kconfig"
_UNRESOLVED = re.compile(r"extern '(?P<name>\w+)' \(strong\): not resolved")
_UNKNOWN = re.compile(r"extern \(kcfg\) '(?P<name>\w+)': unrecognized virtual extern")
_MISFIT = re.compile(r"extern \(kcfg\) '(?P<name>\w+)': (?P<why>value .*)")


def config_files() -> tuple[Path, Path]:
    """Return where libbpf looks for the running kernel's configuration, the first first."""
    return Path(f"/boot/config-{os.uname().release}"), Path("/proc/config.gz")


def extern_failed(
    path: Path, messages: Sequence[str], options: Sequence[str]
) -> KvmBpfError | None:
    """Build the error of an object whose externs could not be resolved; None if they could.

    :param path: the object file.
    :param messages: what libbpf said.
    :param options: the names of the variables in ``.kconfig``.
    """
    wanted = ", ".join(name for name in options if name.startswith("CONFIG_"))
    for message in messages:
        if _NO_CONFIG in message:
            return _no_config(path, wanted)
        if (found := _UNRESOLVED.search(message)) is not None:
            return _unresolved(path, found["name"], is_option=found["name"] in options)
        if (found := _UNKNOWN.search(message)) is not None:
            return BadFileError(
                path,
                f"{found['name']} in {KCONFIG_SECTION} is no option of the kernel's: there are "
                "CONFIG_*, LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and "
                "LINUX_HAS_SYSCALL_WRAPPER",
            )
        if (found := _MISFIT.search(message)) is not None:
            return BadFileError(
                path,
                f"{found['name']} is declared as another type than it has in the kernel's "
                f"configuration: {found['why']}: declare it so",
            )
    return None


def _no_config(path: Path, wanted: str) -> UnsupportedError:
    release = os.uname().release
    return UnsupportedError(
        f"{wanted} is not known",
        found=_how_they_are(config_files()),
        needed=f"one of them, by {path}",
        mend=f"put the configuration of kernel {release} where the first is looked for, boot a "
        "kernel with CONFIG_IKCONFIG_PROC, or say the value when the device is compiled (-D)",
    )


def _how_they_are(files: tuple[Path, Path]) -> str:
    reasons = []
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            reasons.append((file, error.strerror))
    if all(isinstance(why, str) and why == os.strerror(2) for _, why in reasons):
        return f"neither {' nor '.join(map(str, files))}"
    return ", and ".join(f"{file}: {why}" for file, why in reasons)


def _unresolved(path: Path, name: str, *, is_option: bool) -> UnsupportedError:
    if is_option:
        return UnsupportedError(
            name,
            found="a kernel whose configuration does not set it",
            needed=f"one that does, by {path}",
            mend="declare it __kconfig __weak: where it is not set it is 0 then",
        )
    return UnsupportedError(
        f"kernel symbol {name}",
        found="a kernel without it, loaded modules included",
        needed=f"by {path}",
        mend="declare it __ksym __weak: where it is not there its address is 0 then",
    )
