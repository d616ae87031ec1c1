# SPDX-License-Identifier: GPL-2.0-or-later
"""`KernelDevice`: a device's programs in the running kernel, driven by a test.

They are the ones that a VMM would call (``SEC("syscall")``), run by
BPF_PROG_TEST_RUN: the kernel's verifier, JIT and maps are the real ones, and any
kernel will do. There is no guest: what needs one fails with EOPNOTSUPP, time is
the kernel's, and of each interrupt only its last level in an access is seen.
Needs CAP_BPF and CAP_PERFMON.
"""

from __future__ import annotations

from pathlib import Path

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.uapi.kvmbpf import CALL_READ, CALL_RESET, CALL_WRITE, CALLS, kvmbpf_call
from kvmbpf.testing.build import build
from kvmbpf.testing.describe import describe
from kvmbpf.testing.globals import Globals
from kvmbpf.testing.replies import Access, Irq, Reply, make_reply
from kvmbpf.testing.tested import TestedDevice
from kvmbpf.testing.types import Variable


class KernelDevice(TestedDevice):
    """A device's programs, loaded; they end with this object.

    :param source: a device's C file, or an object that was made of one.
    :raise BadFileError: when it is neither.
    :raise VerifierError: when the verifier refuses a program.
    :raise KernelCallError: when the kernel refuses for another reason, as
        without CAP_BPF.
    """

    def __init__(self, source: str | Path) -> None:
        path = Path(source)
        path = path if path.suffix == ".o" else build(path).object
        description = describe(path, Path(source))
        super().__init__(description.spec)
        self._irqs: list[Irq] = []
        self._levels: dict[int, int] = {}
        self._object = BpfObject.open(path)
        try:
            for program in self._object.programs.values():
                if program.name not in CALLS:  # nothing enters it: see the manager
                    program.autoload = False
            self._object.use_call_entries()
            self._object.load()
        except BaseException:
            self._object.close()
            raise
        self._sections = {
            item.section: item for item in self._object.maps.values() if item.section is not None
        }
        self._globals = Globals(description.variables, self)

    def access(self, access: Access) -> Reply:
        """Make an access; the reply says what came of it.

        :raise StateError: when no such access could reach the device, or it is closed.
        """
        self._check_access(access)
        call = self._object.program(CALL_WRITE if access.write else CALL_READ).call(
            kvmbpf_call(
                region=access.region,
                len=access.size,
                vcpu=access.vcpu,
                offset=access.offset,
                value=access.value,
            ),
        )
        return make_reply(access, call.result, call.value, self._note(call))

    def try_reset(self) -> int:
        """Reset the device; return what its KVMBPF_RESET returned (C ``int``)."""
        if CALL_RESET not in self._object.programs:
            raise StateError(f"device {self.spec.name} has no KVMBPF_RESET")
        self._irqs += [Irq(index, 0) for index, level in self._levels.items() if level]
        self._levels.clear()
        call = self._object.program(CALL_RESET).call(kvmbpf_call())
        self._note(call)
        return int(call.result)

    def _note(self, call: kvmbpf_call) -> dict[int, int]:
        """Remember the interrupts of a call; return index to last level."""
        irqs = {index: call.levels >> index & 1 for index in range(32) if call.irqs >> index & 1}
        self._irqs += [Irq(index, level) for index, level in irqs.items()]
        self._levels |= irqs
        return irqs

    @property
    def irqs(self) -> list[Irq]:
        """The interrupts that were set; of those of one access in the order of their index."""
        return self._irqs

    def _lines(self) -> dict[int, int]:
        return self._levels

    @property
    def globals(self) -> Globals:
        """The device's global variables by name, to read and to write."""
        return self._globals

    def load(self, variable: Variable) -> bytes:
        """Read a variable's bytes: for `Globals`."""
        with self._section(variable).memory(write=False) as memory:
            return bytes(memory[variable.offset : variable.offset + variable.type.size])

    def store(self, variable: Variable, content: bytes) -> None:
        """Write a variable's bytes: for `Globals`."""
        with self._section(variable).memory(write=True) as memory:
            memory[variable.offset : variable.offset + len(content)] = content

    def _section(self, variable: Variable) -> BpfMap:
        section = self._sections.get(variable.section)
        if section is None:
            raise StateError(f"global `{variable.name}`: {variable.section} is not loaded")
        return section

    def close(self) -> None:
        """Unload the programs; closing twice is fine."""
        self._object.close()
