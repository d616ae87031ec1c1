# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that libbpf takes for each load, kept for the next one.

To load an object libbpf reads all the types of the kernel, twice their size in
memory, and frees them. As glibc comes, such blocks go back to the kernel at once,
and the next load has every page of them cleared and mapped anew: a fifth of what it
takes. A process that updates devices again and again may say that it keeps them.
One that loads once has nothing of it, and the setting is the whole process's: so it
is the caller's to make.

Source: mallopt(3); malloc/malloc.h, glibc 2.36.
"""

from __future__ import annotations

import ctypes
import functools

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# The largest that glibc takes on 64 bits. A distribution's kernel has 6 MB of types.
_LARGEST_BLOCK = 32 << 20
# Less than this may stay with the process when all is freed.
_KEPT_BYTES = 48 << 20


@functools.cache
def keep_freed_memory() -> None:
    """Have the process keep freed memory, up to 48 MiB, from now on.

    Another C library than glibc is left as it is.
    """
    # int mallopt(int param, int value);
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
