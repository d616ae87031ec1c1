# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m kvmbpf.demo``: build what is missing, boot the lab, tell the story."""

from __future__ import annotations

import sys
import time

from kvmbpf.demo.parts import PARTS_VARIABLE, make_parts
from kvmbpf.errors import KvmBpfError, LabError
from kvmbpf.lab import LabRun, ensure_kernel, kernel_complaints

_TIMEOUT_S = 600


def demonstrate() -> int:
    """Run the demonstration; return its exit status.

    :raise KvmBpfError: when something is missing, or does not build or boot.
    """
    begin = time.monotonic()
    kernel = ensure_kernel()
    parts = make_parts(kernel)
    print(f"the patched kernel is {kernel.release}; it boots now", flush=True)
    with LabRun(
        kernel,
        [sys.executable, "-m", "kvmbpf.demo.story"],
        environment={PARTS_VARIABLE: str(parts.folder)},
    ) as run:
        result = run.wait(_TIMEOUT_S)
    complaints = kernel_complaints(result.dmesg)
    if complaints:
        raise LabError(f"the host kernel complained: {complaints[0]}")
    if result.status == 0:
        print(f"   the host's kernel log has no complaint; {time.monotonic() - begin:.0f} s in all")
    return result.status


def main() -> None:
    """Run the demonstration and exit with its status."""
    try:
        sys.exit(demonstrate())
    except KvmBpfError as error:
        print(f"kvmbpf: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


main()
