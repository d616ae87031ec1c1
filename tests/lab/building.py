# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that are built beside the tests.

A build takes minutes of two CPUs; the tests before those that need the kernel leave
half of them idle. It goes after everything else, so that no test waits for it. A
kernel that the cache has is found at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TextIO

from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.lab.tools import tied

_LAST = ("nice", "-n", "19")
_POLL_S = 0.5


class Build:
    """One build, in a process of its own that ends with this one.

    :param command: what builds; its progress is on standard error.
    """

    def __init__(self, command: list[str]) -> None:
        self._said = OwnedFd(os.memfd_create("build"), "what a build says")
        self._shown = 0
        self._process = subprocess.Popen(
            tied([*_LAST, *command]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said.fileno(),
        )

    @classmethod
    def of_kernel(cls, *, debug: bool) -> Build:
        """Start the build of the plain or of the debug kernel."""
        command = [sys.executable, "-m", "kvmbpf", "lab", "build"]
        return cls([*command, "--debug"] if debug else command)

    def running(self) -> bool:
        """Return whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, stream: TextIO) -> None:
        """Wait for its end, and show its progress from the beginning.

        Whether it went well is seen by who asks for the kernel then: one that is not
        there is built once more, by who needs it, and it is told why that fails.
        """
        while self.running():
            self._show(stream)
            time.sleep(_POLL_S)
        self._show(stream)

    def close(self) -> None:
        """End it if it runs; closing twice is fine."""
        self._process.terminate()
        self._process.wait()
        self._said.close()

    def _show(self, stream: TextIO) -> None:
        # Not read(): the descriptor's place in the file is where the process writes.
        new = os.pread(self._said.fileno(), 1 << 20, self._shown)
        self._shown += len(new)
        stream.write(new.decode("utf-8", "replace"))
        stream.flush()
