# SPDX-License-Identifier: GPL-2.0-or-later
"""Why an object was not loaded, as one error with its mend.

The verifier refuses a program in its log; all else libbpf says in its messages,
of which `kvmbpf.kernel.libbpf.messages` picks the telling one, and known causes get an
error of their own. Each error has all that was said as its log.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from kvmbpf.errors import BadFileError, KvmBpfError, UnsupportedError, VerifierError
from kvmbpf.kernel.libbpf.btf import kernel_struct_home
from kvmbpf.kernel.libbpf.capabilities import load_hint
from kvmbpf.kernel.libbpf.externs import extern_failed
from kvmbpf.kernel.libbpf.lib import Feature, call_failed, need
from kvmbpf.kernel.libbpf.messages import telling, with_mend
from kvmbpf.kernel.libbpf.refusal import explain
from kvmbpf.kernel.libbpf.source_lines import source_lookup
from kvmbpf.kernel.rights import lacking
from kvmbpf.mends import OF_ANY_CALL

_NO_FUNCTION = re.compile(r"extern \(func ksym\) '(?P<name>\w+)': not found")
_OTHER_FUNCTION = re.compile(r"extern \(func ksym\) '(?P<name>\w+)': func_proto .* incompatible")


def program_refused(path: Path, name: str, log: str, messages: Sequence[str]) -> VerifierError:
    """Build the error of a program that the verifier refused.

    :param path: the object file.
    :param name: the program's.
    :param log: the verifier's log, whole.
    :param messages: what libbpf said.
    """
    found = explain(log, source_lookup(path, name))
    mend = found.mend or "`kvmbpf --verbose` shows the verifier's whole log"
    if lacking("CAP_PERFMON"):
        mend = "without CAP_PERFMON it takes less: run as root, or " + mend
    return VerifierError(
        f"{path}: program {name}",
        log,
        source=str(found.source or ""),
        sentence=found.sentence or telling(messages),
        mend=mend,
    )


def load_failed(
    path: Path,
    result: int,
    messages: Sequence[str],
    struct_ops: Iterable[str],
    options: Sequence[str] = (),
) -> KvmBpfError:
    """Build the error of an object that was not loaded for another reason.

    :param path: the object file.
    :param result: of ``bpf_object__load()``: a negative errno.
    :param messages: what libbpf said.
    :param struct_ops: the names of the struct_ops types that it needs.
    :param options: the names of its variables in ``.kconfig``.
    :raise UnsupportedError: when one is in a module, and libbpf too old for that.
    """
    return _cause(path, result, messages, struct_ops, options).with_log("\n".join(messages))


def _cause(
    path: Path,
    result: int,
    messages: Sequence[str],
    struct_ops: Iterable[str],
    options: Sequence[str],
) -> KvmBpfError:
    if -result in OF_ANY_CALL:
        return call_failed(f"bpf_object__load({path})", result)
    for name in struct_ops:
        home = kernel_struct_home(f"bpf_struct_ops_{name}")
        if home is None:
            return _no_struct(name)
        if home != "vmlinux":
            need(Feature.MODULE_STRUCT_OPS)
    for message in messages:
        if (found := _NO_FUNCTION.search(message)) is not None:
            return _no_function(path, found["name"])
        if (found := _OTHER_FUNCTION.search(message)) is not None:
            return BadFileError(
                path,
                f"it declares kernel function {found['name']}() otherwise than this kernel "
                "has it: declare it as in `bpftool btf dump file /sys/kernel/btf/vmlinux format c`",
            )
    if (missing := extern_failed(path, messages, options)) is not None:
        return missing
    hint = load_hint() if result == -errno.EPERM else with_mend(telling(messages))
    return call_failed(f"bpf_object__load({path})", result, hint)


def _no_struct(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"struct {name}",
        found="a kernel without it, loaded modules included",
        needed="a kernel that has it as a struct_ops type",
        mend=f"this kernel has no struct {name}: boot a kernel with the series, "
        "or load its kvm module",
    )


def _no_function(path: Path, name: str) -> UnsupportedError:
    return UnsupportedError(
        f"kernel function {name}()",
        found="a kernel without it, loaded modules included",
        needed=f"by {path}",
        mend="boot a kernel with the series, or declare it __weak and ask "
        "bpf_ksym_exists() before the call",
    )
