# SPDX-License-Identifier: GPL-2.0-or-later
"""Have libbpf open an object, in a process of its own: `python -m kvmbpf.kernel.libbpf.trial`.

To open an object libbpf asks the kernel for nothing. But it is C that reads a file
which is not trusted, and `kvmbpf check` may be run by root: so this process takes
limits, gives up what it may be, and only then reads the object from standard input.
On standard output it says what libbpf said, as one JSON object:

    {"libbpf": "1.4", "opened": false, "reason": "...", "mend": "...", "said": [...]}

`kvmbpf.author.opening` starts it. A libbpf that is not there or too old is told as
``{"absent": "..."}``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
from typing import Any

from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.libbpf import log
from kvmbpf.kernel.libbpf.lib import Feature, error_text, libbpf, need
from kvmbpf.kernel.libbpf.messages import mend, telling

_MEMORY_BYTES = 1 << 30
_CPU_S = 10
_NOBODY = 65534
_NO_NEW_PRIVS = 38  # PR_SET_NO_NEW_PRIVS


def limit() -> None:
    """Take limits, and give up what a process of root may be; for good."""
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):  # it is lower already
            resource.setrlimit(what, (most, most))
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # a user namespace may have no other user
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def try_open(content: bytes) -> dict[str, Any]:
    """Have libbpf open an object; return what it said.

    :param content: of the object file.
    :raise UnsupportedError: when libbpf is missing or too old.
    """
    messages: list[str] = []
    with log.capture(messages):
        handle = libbpf().bpf_object__open_mem(content, len(content), None)
        code = 0 if handle else ctypes.get_errno()
        if handle:
            libbpf().bpf_object__close(handle)
    said = "" if handle else telling(messages) or error_text(code)
    return {
        "libbpf": ".".join(map(str, libbpf().version)),
        "opened": bool(handle),
        "reason": said,
        "mend": mend(said),
        "said": messages,
    }


def main() -> None:
    """Open what is on standard input, and say what came of it."""
    try:
        need(Feature.STRUCT_OPS)  # an older one makes nothing of what each device has
        limit()
        found = try_open(sys.stdin.buffer.read())
    except UnsupportedError as error:
        found = {"absent": str(error)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
