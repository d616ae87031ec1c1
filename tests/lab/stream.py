# SPDX-License-Identifier: GPL-2.0-or-later
"""Hot updates while four vCPUs read a port as fast as KVM can answer them.

The VMM is a C program of its own, stream_vmm.c. The manager knows its process id.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.closing import Closing
from tests.lab.objects import OBJECTS_VARIABLE

# What needs the VMM compiled.
STREAM_TESTS = "test_stream.py"
PORT = 0x600
SOURCE = Path(__file__).parent / "stream_vmm.c"
BAD = ("wrong", "lost", "back", "mixed")
# What a vCPU reads before it looks at the replies: REPLIES in stream_vmm.c.
BATCH = 0x2000
_ENDS_S = 30


def compile_vmm(folder: Path) -> None:
    """Compile the VMM into a folder."""
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += ["-D_GNU_SOURCE", str(SOURCE), "-o", str(folder / SOURCE.stem)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Seen:
    """What the vCPUs have seen so far.

    :param vcpus: of each vCPU: ``reads``, ``changes`` of the version that answers, and
        the names in BAD.
    """

    vcpus: tuple[dict[str, int], ...]

    @property
    def reads(self) -> int:
        """Of all vCPUs."""
        return sum(vcpu["reads"] for vcpu in self.vcpus)

    @property
    def bad(self) -> dict[str, int]:
        """Replies that are not as they should be, by what is wrong with them."""
        return {name: sum(vcpu[name] for vcpu in self.vcpus) for name in BAD}


class StreamVmm(Closing):
    """The VMM's process; leaving the context ends it.

    :param vcpus: how many it has.
    """

    def __init__(self, vcpus: int) -> None:
        program = Path(os.environ[OBJECTS_VARIABLE]) / SOURCE.stem
        self._process = subprocess.Popen(
            [program, str(vcpus), hex(PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid
        assert self._heard() == "ready"

    def go(self) -> None:
        """Have all vCPUs begin, or go on."""
        assert self._tell("go") == "gone"

    def look(self) -> Seen:
        """Return what they have seen while they go on."""
        return Seen(tuple(json.loads(self._tell("look"))))

    def stop(self) -> Seen:
        """Have them stand still; return what they have seen."""
        return Seen(tuple(json.loads(self._tell("stop"))))

    def await_all(self) -> None:
        """Wait until each vCPU has read a batch that it began after now."""
        # The next one that it is done with may have been read before.
        wanted = [vcpu["reads"] + 2 * BATCH for vcpu in self.look().vcpus]
        while any(self.look().vcpus[i]["reads"] < reads for i, reads in enumerate(wanted)):
            time.sleep(0.05)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=_ENDS_S)

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        return self._heard()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the VMM has ended with {self._process.wait(_ENDS_S)}"
        return line.strip()
