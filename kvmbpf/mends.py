# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user can do when something is scarce: room, descriptors, memory.

The kernel says only what there was none of. One table, so that each command says
the same of it.
"""

from __future__ import annotations

import errno
import os
from typing import Final

_MORE_FILES: Final = "let it have more descriptors: ulimit -n 256"
# Of these the cause is the same whichever call met it.
OF_ANY_CALL: Final[dict[int, str]] = {
    errno.EMFILE: _MORE_FILES,
    errno.ENFILE: "end what has many files open on this host, or raise sysctl fs.file-max",
}
_OF_FILES: Final[dict[int, str]] = {
    **OF_ANY_CALL,
    errno.ENOSPC: "make room there, or write elsewhere",
    errno.EDQUOT: "make room in your quota there, or write elsewhere",
    errno.EFBIG: "let files be larger: ulimit -f unlimited",
    errno.EROFS: "write elsewhere",
    errno.ENOMEM: "let it have more memory: ulimit -v unlimited, or end what else takes it",
    errno.EAGAIN: "let it have more processes: ulimit -u, or end some",
}


def mend(code: int | None) -> str:
    """Return what to do about an errno of a call on a file or a process, or ""."""
    return _OF_FILES.get(code or 0, "")


def explain(error: OSError) -> str:
    """Return the words of an error of a call on a file, with what to do about it."""
    words = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    what = mend(error.errno)
    return f"{words}; {what}" if what else words


def scarce(text: str) -> int | None:
    """Return the errno of something scarce that a library's sentence tells of, or None.

    :param text: as of dlopen(3), which has no errno of its own.
    """
    codes = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return next((code for code in codes if os.strerror(code) in text), None)
