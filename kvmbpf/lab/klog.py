# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a kernel log for what no kernel should say.

Used on the lab's log after a run: a test whose assertions hold while the
kernel under it warned has not passed.
"""

from __future__ import annotations

import re

_COMPLAINT = re.compile(
    r"""
    \bBUG:\ | \bWARNING:\ | \bOops\b | \bKernel\ panic\b | kernel\ BUG\ at
    | general\ protection\ fault
    | KASAN: | UBSAN: | KCSAN: | KFENCE: | kmemleak:.*new\ suspected
    | possible\ (circular|recursive)\ locking | suspicious\ RCU\ usage | inconsistent\ lock\ state
    | held\ lock\ freed | sleeping\ function\ called | scheduling\ while\ atomic
    | INFO:\ task\ .*\ blocked | rcu:\ INFO: | soft\ lockup | hard\ LOCKUP | refcount_t:
    | unregister_netdevice:\ waiting | Unable\ to\ handle\ kernel | unable\ to\ handle\ page\ fault
    | double\ fault | stack\ segment: | list_(add|del)\ corruption
    """,
    re.VERBOSE,
)

# What the lab's init writes to the log: of a program that this machine lacks, say.
_NOT_THE_KERNELS = re.compile(r"\bvirtme-(ng-)?init: ")


def kernel_complaints(text: str) -> list[str]:
    """Return the lines of a kernel log that report a bug, a warning or a lock-up."""
    return [
        line
        for line in text.splitlines()
        if _COMPLAINT.search(line) and not _NOT_THE_KERNELS.search(line)
    ]


def last_lines(console: str, count: int) -> list[str]:
    """Return the last lines of a console's text, with blanks for tabs."""
    return console.expandtabs().rstrip().splitlines()[-count:]
