# SPDX-License-Identifier: GPL-2.0-or-later
"""`TestedDevice`: what every device under test can do, wherever its programs run."""

from __future__ import annotations

from collections.abc import Iterable

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError
from kvmbpf.model.spec import DeviceSpec, Trigger
from kvmbpf.testing.globals import Globals
from kvmbpf.testing.replies import Access, Irq, Reply, require_answer


class TestedDevice(Closing):
    """What all devices under test have: accesses, and what came of them.

    :param spec: what the device says it is.
    """

    __test__ = False  # not a test class, whatever its name says

    def __init__(self, spec: DeviceSpec) -> None:
        self.spec = spec

    # what a kind of device does in its own way

    def access(self, access: Access) -> Reply:
        """Make an access; the reply says what came of it.

        :raise StateError: when no such access could reach the device, or it is closed.
        """
        raise NotImplementedError

    @property
    def irqs(self) -> list[Irq]:
        """The interrupts that the device has set, in order; a test may clear the list."""
        raise NotImplementedError

    @property
    def globals(self) -> Globals:
        """The device's global variables, by name."""
        raise NotImplementedError

    def try_reset(self) -> int:
        """Reset the device; return what its KVMBPF_RESET returned (C ``int``).

        Level-triggered interrupts are deasserted first, as the kernel does.

        :raise StateError: when the device has none, or is closed.
        """
        raise NotImplementedError

    # what follows from that

    def try_peek(self, offset: int, size: int = 4, *, region: int = 0, vcpu: int = 0) -> Reply:
        """Read as the guest does, whatever comes of it; arguments as of `peek`."""
        return self.access(Access(False, offset, size, 0, region, vcpu))

    def try_poke(
        self, offset: int, value: int, size: int = 4, *, region: int = 0, vcpu: int = 0
    ) -> Reply:
        """Write as the guest does, whatever comes of it; arguments as of `poke`."""
        return self.access(Access(True, offset, size, value, region, vcpu))

    def peek(self, offset: int, size: int = 4, *, region: int = 0, vcpu: int = 0) -> int:
        """Read as the guest does; return what it gets.

        :param offset: in the region, in bytes or ports.
        :param size: in bytes, 1 to 8.
        :param region: its index.
        :param vcpu: the id of the vCPU.
        :raise AccessDeclined: when the device leaves the access to the VMM.
        :raise AccessFaulted: when it returns another error.
        :raise StateError: when no such access could reach the device, or it is closed.
        """
        __tracebackhide__ = True
        access = Access(False, offset, size, 0, region, vcpu)
        return require_answer(access, self.access(access))

    def poke(
        self, offset: int, value: int, size: int = 4, *, region: int = 0, vcpu: int = 0
    ) -> None:
        """Write as the guest does; raises as `peek`.

        :param value: what is written: 0 to the most that `size` bytes hold.
        """
        __tracebackhide__ = True
        access = Access(True, offset, size, value, region, vcpu)
        require_answer(access, self.access(access))

    def replay(self, accesses: Iterable[Access]) -> list[Reply]:
        """Make many accesses; return their replies."""
        return [self.access(access) for access in accesses]

    def reset(self) -> None:
        """Reset the device, as the VMM does when the guest is reset.

        :raise StateError: when the device has no KVMBPF_RESET, it returned an
            error, or the device is closed.
        """
        result = self.try_reset()
        if result:
            raise StateError(f"device {self.spec.name}: KVMBPF_RESET returned {result}")

    def level(self, index: int) -> int:
        """Return the state of a level-triggered interrupt's line: 0 or 1.

        :param index: of the interrupt.
        :raise StateError: when the device has none of that index, or it is
            edge-triggered and so has no state: count it in `irqs`.
        """
        if not 0 <= index < len(self.spec.irqs):
            raise StateError(
                f"device {self.spec.name} has {len(self.spec.irqs)} irqs, and no irq {index}"
            )
        if self.spec.irqs[index].trigger is not Trigger.LEVEL:
            raise StateError(f"irq {index} is edge-triggered: it has no level; see irqs")
        return self._lines().get(index, 0)

    def _lines(self) -> dict[int, int]:
        """Return the levels that level-triggered interrupts were set to."""
        raise NotImplementedError

    def _check_access(self, access: Access) -> None:
        """Refuse what KVM would never hand to the device."""
        regions = self.spec.regions
        if not 0 <= access.region < len(regions):
            raise StateError(
                f"device {self.spec.name} has {len(regions)} regions, and no region {access.region}"
            )
        if not 1 <= access.size <= 8:
            raise StateError(f"an access has 1 to 8 bytes, not {access.size}")
        size = regions[access.region].size
        if access.offset < 0 or access.offset + access.size > size:
            raise StateError(
                f"{access}: the region has {size:#x} bytes, and what crosses its end "
                "does not come to the device"
            )
        if not 0 <= access.value < 1 << 8 * access.size:
            raise StateError(f"{access.value:#x} does not fit {access.size} bytes")
