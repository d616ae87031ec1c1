# SPDX-License-Identifier: GPL-2.0-or-later
"""Where what can be made again is kept: the lab's kernels, tests' devices."""

from __future__ import annotations

import os
from pathlib import Path

from kvmbpf.errors import UnsupportedError


def user_cache() -> Path:
    """Return the cache folder: $KVMBPF_CACHE, else kvmbpf in the user's cache.

    :raise UnsupportedError: when the user has no home, nor said where it is.
    """
    own = os.environ.get("KVMBPF_CACHE")
    if own:
        return Path(own).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg:
        return Path(xdg) / "kvmbpf"
    try:
        return Path.home() / ".cache" / "kvmbpf"
    except RuntimeError as error:  # neither HOME, nor a line of that user in passwd
        raise UnsupportedError(
            "cache folder",
            found="no home folder",
            needed="a folder for it",
            mend="set KVMBPF_CACHE to one that you may write to",
        ) from error
