# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel for a guest: had on the host, used in the lab."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from kvmbpf.demo.parts import (
    DEBIAN_VARIABLE,
    DebianParts,
    given_debian_parts,
    make_debian_parts,
)
from kvmbpf.errors import KvmBpfError, LabError, UnsupportedError

# The tests that need it; for others it is not fetched.
DEBIAN_TESTS = ("test_debian_guest.py",)
# Set instead of DEBIAN_VARIABLE: why this machine has none, or what went wrong with it.
LACKS_VARIABLE = "KVMBPF_DEBIAN_LACKS"
FAILED_VARIABLE = "KVMBPF_DEBIAN_FAILED"


def debian_environment(items: Iterable[pytest.Item]) -> dict[str, str]:
    """On the host: return what the tests in the lab must know; fetch the kernel if they need it."""
    if not any(item.path.name in DEBIAN_TESTS for item in items):
        return {}
    try:
        return {DEBIAN_VARIABLE: str(make_debian_parts().folder)}
    except UnsupportedError as error:
        return {LACKS_VARIABLE: str(error)}
    except KvmBpfError as error:
        return {FAILED_VARIABLE: str(error)}


def debian_parts() -> DebianParts:
    """In the lab: return the parts of a guest with Debian's kernel.

    A machine that is no Debian skips the test, which KVMBPF_REQUIRE=1 makes a failure.

    :raise LabError: when the kernel could not be fetched, or its parts did not build.
    """
    if failed := os.environ.get(FAILED_VARIABLE):
        raise LabError(failed)
    if lacks := os.environ.get(LACKS_VARIABLE):
        pytest.skip(lacks)
    return given_debian_parts(os.environ.get(DEBIAN_VARIABLE))
