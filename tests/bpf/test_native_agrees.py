# SPDX-License-Identifier: GPL-2.0-or-later
"""The native build and the running kernel's give the same answers, access by access.

Each device gets random accesses, odd widths among them; each reply, interrupts
included, and the variables afterwards are compared. The seed is printed when
they differ. Left out is what depends on time or needs a guest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmbpf.errors import StateError
from kvmbpf.testing import Access, Device
from tests.kit import KIT, SOURCES, Op
from tests.places import ROOT

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

SEED = 0x6B766D62
ACCESSES = 10_000
SHIPPED = ROOT / "kvmbpf" / "devices"

# goldfish-rtc's time, and what starts its timer
_RTC_LEFT_OUT = (0x00, 0x04, 0x08)
_NOTIFY = (0x50,)  # of virtio: serves buffers in guest memory
# The demo device's tick; and what starts its work, which is in guest memory.
_DEMO_LEFT_OUT = (0x28, 0x44, 0x48)
_KIT_LEFT_OUT = (
    *(Op.TIMER, Op.TIMER_CANCEL, Op.OTHER_TIMER, Op.WORK),
    *(Op.GUEST, Op.KICK, Op.UCLAMP, Op.RANDOM, Op.CLOCK, Op.TAI, Op.LOG),
)


def anywhere(dev: Device, rng: random.Random) -> Access:
    """Return a random access, three in four of them in the first 64 bytes."""
    region = rng.randrange(len(dev.spec.regions))
    end = dev.spec.regions[region].size
    size = min(rng.randint(1, 8), end)
    end = min(end, 64) if rng.random() < 0.75 else end
    write = rng.random() < 0.5
    value = rng.getrandbits(8 * size) if write else 0
    return Access(write, rng.randint(0, max(end - size, 0)), size, value, region)


def avoiding(offsets: tuple[int, ...]) -> Callable[[Device, random.Random], Access]:
    """Return accesses anywhere but there."""

    def choose(dev: Device, rng: random.Random) -> Access:
        while (access := anywhere(dev, rng)).offset in offsets:
            pass
        return access

    return choose


def kit_access(dev: Device, rng: random.Random) -> Access:
    """Return an access that does one of the kit's things, with a small number."""
    op = rng.choice([item for item in Op if item not in _KIT_LEFT_OUT])
    write = rng.random() < 0.8
    value = rng.choice([rng.randrange(6), rng.randrange(6) << 8 | 1, rng.getrandbits(64)])
    size = rng.randint(1, 8)
    return Access(write, int(op), size, value & ((1 << 8 * size) - 1) if write else 0)


CASES: dict[str, tuple[Path, Callable[[Device, random.Random], Access]]] = {
    **{
        path.name: (path, avoiding(_DEMO_LEFT_OUT) if path.parent.name == "demo" else anywhere)
        for path in sorted(SHIPPED.glob("*/*.bpf.c"))
    },
    "goldfish_rtc": (SOURCES / "goldfish_rtc.bpf.c", avoiding(_RTC_LEFT_OUT)),
    "virtio_rng": (SOURCES / "virtio_rng.bpf.c", avoiding(_NOTIFY)),
    "ns16550a": (SOURCES / "ns16550a.bpf.c", anywhere),
    "kit": (KIT, kit_access),
}


@pytest.mark.parametrize("name", CASES)
def test_native_and_kernel_agree(name: str) -> None:
    source, choose = CASES[name]
    rng = random.Random(SEED)  # noqa: S311 - to be the same each time
    with Device(source) as native, Device.on_kernel(source) as kernel:
        outcomes = set()
        for number in range(ACCESSES):
            access = choose(native, rng)
            ours, theirs = native.access(access), kernel.access(access)
            assert ours == theirs, f"seed {SEED:#x}, access {number}: {access}"
            outcomes.add((access.write, ours.result))
        assert len(outcomes) >= 2  # both kinds, at least
        assert dict(native.globals) == dict(kernel.globals)
        assert native.irqs == kernel.irqs


def test_reset_is_the_same() -> None:
    with Device(KIT) as native, Device.on_kernel(KIT) as kernel:
        for dev in (native, kernel):
            dev.poke(Op.IRQ, 0x101, 8)
            assert dev.level(1) == 1
            dev.reset()
            assert (dev.level(1), dev.irqs) == (0, [(1, 1), (1, 0)])
            dev.globals["tiny"] = -5
            with pytest.raises(StateError, match="KVMBPF_RESET returned -5"):
                dev.reset()


def test_what_needs_a_guest_fails_on_a_stock_kernel() -> None:
    with Device.on_kernel(KIT) as dev:
        for op in (Op.GUEST, Op.KICK, Op.UCLAMP):
            dev.poke(op, 0, 8)
            assert dev.globals["result"] == -95
        assert dev.peek(Op.FREQ, 8) == 0
        assert dev.try_peek(Op.GUEST, 8).declined


def test_variables_are_the_same_by_name_and_type() -> None:
    with Device(KIT) as native, Device.on_kernel(KIT) as kernel:
        assert dict(native.globals) == dict(kernel.globals)
        for dev in (native, kernel):
            dev.globals["point"] = {"high": 5, "x": -7}
            dev.globals["table"] = [1, 2, 3, 4]
            with pytest.raises(StateError):
                dev.globals["limit"] = 1
        assert dict(native.globals) == dict(kernel.globals)


def test_an_object_will_do_on_the_kernel(tmp_path: Path) -> None:
    from kvmbpf.author.compile import compile_device

    made = compile_device(SHIPPED / "demo" / "demo_v1.bpf.c", tmp_path / "demo.bpf.o")
    with Device.on_kernel(made) as dev:
        assert dev.peek(4) == 1


def test_a_closed_kernel_device_says_so() -> None:
    dev = Device.on_kernel(KIT)
    dev.close()
    dev.close()
    for use in (lambda: dev.peek(0), lambda: dev.globals["tiny"], dev.reset):
        with pytest.raises(StateError, match="closed"):
            use()
