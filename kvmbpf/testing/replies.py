# SPDX-License-Identifier: GPL-2.0-or-later
"""What an access gives: a reply, or an error that says who refused it.

`Reply` is the whole result of one access. The errors are for tests that expect
an answer: they carry the error number that the program returned.

    StateError
     `-- AccessError        the program did not answer
          |-- AccessDeclined  it returned KVMBPF_DECLINE: the VMM would be asked
          `-- AccessFaulted   it returned another error
"""

from __future__ import annotations

import errno as _errno
from dataclasses import dataclass, field
from typing import NamedTuple

from kvmbpf.errors import StateError

DECLINE = -_errno.EOPNOTSUPP


class Irq(NamedTuple):
    """One call of kvmbpf_irq().

    :param irq: its index in the device (C ``__u32``).
    :param level: what was asked for: 0, or 1 for any other number.
    """

    irq: int
    level: int


@dataclass(frozen=True, slots=True)
class Access:
    """One access of the guest.

    :param write: a write; a read otherwise.
    :param offset: in the region, in bytes or ports.
    :param size: in bytes, 1 to 8.
    :param value: what is written; 0 for a read.
    :param region: its index.
    :param vcpu: the id of the vCPU.
    """

    write: bool
    offset: int
    size: int = 4
    value: int = 0
    region: int = 0
    vcpu: int = 0

    def __str__(self) -> str:
        kind = f"write of {self.value:#x}," if self.write else "read,"
        return f"{kind} {self.size} bytes at {self.offset:#x} of region {self.region}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an access.

    :param value: what the guest has read; 0 for a write or a declined read, all
        ones after a fault.
    :param result: what the program returned (C ``int``): 0, or a negative error number.
    :param irqs: the interrupts that the program set meanwhile: index to last level.
    """

    value: int
    result: int
    irqs: dict[int, int] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Tell whether the device answered."""
        return self.result == 0

    @property
    def declined(self) -> bool:
        """Tell whether the access goes on to the VMM."""
        return self.result == DECLINE

    @property
    def faulted(self) -> bool:
        """Tell whether the program failed."""
        return not self.answered and not self.declined


def make_reply(access: Access, result: int, value: int, irqs: dict[int, int]) -> Reply:
    """Make a reply as the kernel would: see "Accesses" in bpf.rst.

    :param result: what the program returned (C ``int``).
    :param value: what it left in ``acc->value``.
    """
    ones = (1 << 8 * access.size) - 1
    if access.write or result == DECLINE:
        value = 0
    elif result != 0:
        value = ones
    return Reply(value & ones, result, irqs)


class AccessError(StateError):
    """An access that was not answered.

    :param access: which.
    :param result: what the program returned (C ``int``), negative.
    """

    verb = "was not answered"

    def __init__(self, access: Access, result: int) -> None:
        super().__init__(access, result)
        self.access = access
        self.errno = -result

    def __str__(self) -> str:
        name = _errno.errorcode.get(self.errno, "no error number")
        name = "EOPNOTSUPP" if self.errno == _errno.EOPNOTSUPP else name
        return f"{self.access}: {self.verb} ({-self.errno}, {name})"


class AccessDeclined(AccessError):  # noqa: N818 - a result, as its siblings are
    """The program returned KVMBPF_DECLINE: the access goes on to the VMM."""

    verb = "the device declined"


class AccessFaulted(AccessError):  # noqa: N818 - a result, as its siblings are
    """The program returned an error: a read gives all ones, a write is dropped."""

    verb = "the device failed"


def require_answer(access: Access, reply: Reply) -> int:
    """Return what was read.

    :raise AccessDeclined: when the program declined.
    :raise AccessFaulted: when it returned another error.
    """
    __tracebackhide__ = True  # pytest shows the test's line
    if reply.declined:
        raise AccessDeclined(access, reply.result)
    if reply.faulted:
        raise AccessFaulted(access, reply.result)
    return reply.value
