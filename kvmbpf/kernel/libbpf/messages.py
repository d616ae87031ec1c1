# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of libbpf's messages is the cause of a failure, and what to do about it.

libbpf goes on talking after the cause: each caller says that it failed, too. And it
talks before it: of sections that it leaves out, of attempts that it repeats in another
way. `telling()` picks the cause; the kernel's log of types that it refuses is part of a
message, and its last line is the cause.

    libbpf: elf: skipping section(8) .note.kvmbpf (size 1420)            <- a remark
    libbpf: BTF loading error: -22
    libbpf: -- BEGIN BTF LOAD LOG ---
    ...
    [41] VAR a$b type_id=2 linkage=1 Invalid name                        <- the cause
    -- END BTF LOAD LOG --
    libbpf: Error loading .BTF into kernel: -22. BTF is mandatory, can't proceed.
    libbpf: failed to load object 'dev.bpf.o'

Source: libbpf 1.0 to 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kvmbpf.kernel.libbpf.lib import error_text

# What goes on all the same; the second part of each is said of what was left out.
_REMARK = re.compile(
    r"elf: skipping |sec '[^']*': skipping|.*\. [Rr]etrying without BTF\.?$|"
    r".* is optional, ignoring\.?$|struct_ops \S+: member \S+ not found in kernel, skipping|"
    r"Error in \w+\(.*\):.*[Rr]etrying|"
    r"permission error while running as root; try raising|"
    r"kernel doesn't support |loading kernel BTF |sanitiz|.*: skipping CO-RE relocation|"
    r".*: (?:deprecated|ignoring|found section|autoload is disabled)"
)
# What repeats that something failed.
_ECHO = re.compile(
    r"failed to load object|failed to open (?!system)|prog '[^']*': failed to load: |"
    r"prog '[^']*': BPF program load failed: |"
    r"Error loading \.?BTF|BTF loading error: |-- (?:BEGIN|END) |"
    r"map '[^']*': failed to auto-attach|failed to (?:guess|finalize) "
)
_LOG = re.compile(r"-- BEGIN (?P<kind>BTF|PROG) LOAD LOG -*\n(?P<log>.*?)-- END ", re.DOTALL)
_STATISTICS = re.compile(r"processed \d+ insns|verification time|stack depth|$")

_EXTERN = (
    "it is declared and not there: define it, or, if it is one of the kernel's, declare it "
    "with __ksym __weak"
)
_MAPS = (
    'define the map as `struct { __uint(type, BPF_MAP_TYPE_ARRAY); ... } name SEC(".maps")`, '
    "without static"
)
_KCONFIG_TYPE = "declare it as int, bool, char, enum libbpf_tristate, or an array of char"
_KCONFIG_NAME = "a name with __kconfig begins with CONFIG_, or is LINUX_KERNEL_VERSION"
_DATA = "let it be in .data, .bss or .rodata, as it is without SEC()"
_PROGRAM = 'a program for KVM or a VMM is made by KVMBPF_READ() and the like; else SEC("syscall")'
_TYPES = "`kvmbpf check` says which declaration of the source it is"
_MAP_REFUSED = (
    "the kernel refuses its type, its sizes or its max_entries: compare them with what that "
    "type takes"
)
_COMMON = "define it without __attribute__((common)), and without -fcommon"
_TOO_NEW = "a newer libbpf may know it"

_MENDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), mend)
    for pattern, mend in (
        (r"legacy map definitions", _MAPS),
        (r"map relo against .* in section 'maps", _MAPS),
        (r"unsupported map linkage", _MAPS),
        (r"map relo against .* in section", _DATA),
        (r"failed to find BTF (?:info )?for (?:\w+ )?extern", _EXTERN),
        (r"extern \(kcfg\) .*type", _KCONFIG_TYPE),
        (r"unrecognized virtual (?:kconfig )?extern|extern \(kcfg\) .*unrecognized", _KCONFIG_NAME),
        (r"missing BPF prog type", _PROGRAM),
        (r"map '[^']*': unknown field", f"take the field away; {_TOO_NEW}"),
        (r"map '[^']*': failed to create", _MAP_REFUSED),
        (r"pointing to invalid section #655", _COMMON),
        (r"^the kernel refuses the object's types", _TYPES),
    )
)


def telling(messages: Sequence[str]) -> str:
    """Return the message that tells the cause, one line, or empty.

    :param messages: what libbpf said, in its order.
    """
    remark = ""
    for message in reversed(messages):
        text = message.removeprefix("libbpf: ").strip()
        log = _LOG.search(text)
        if log is not None and (last := _last_line(log["log"])):
            return (
                f"the kernel refuses the object's types: {last}" if log["kind"] == "BTF" else last
            )
        text = text.splitlines()[0] if text else ""
        if not text or _ECHO.match(text):
            continue
        if not _REMARK.match(text):
            return text
        remark = remark or text
    # Only remarks: better than nothing, unless it is of a section of our own.
    return "" if ".note.kvmbpf" in remark else remark


def mend(said: str) -> str:
    """Return what to do about a message, or empty where it is not known.

    :param said: as `telling` gives it.
    """
    for pattern, found in _MENDS:
        if pattern.search(said):
            return found
    return ""


def with_mend(said: str) -> str:
    """Return a message with what to do about it, one line."""
    found = mend(said)
    return f"{said}; {found}" if found else said


def not_taken(code: int, messages: Sequence[str]) -> str:
    """Return why libbpf did not open an object, one line.

    :param code: the errno, or one of libbpf's own.
    :param messages: what libbpf said.
    """
    said = telling(messages)
    reason = f"{error_text(code)} ({said})" if said else error_text(code)
    found = mend(said)
    reason = f"not an eBPF object that libbpf takes: {reason}"
    return f"{reason}; {found}" if found else reason


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line and not _STATISTICS.match(line)), "")
