# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest says its machine is: whether KVM runs on VMX there, and in which modes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VENDOR, FLAG = "GenuineIntel", "vmx"
# Of kvm_intel's parameters, those that say how guests are run.
_MODES = ("ept", "unrestricted_guest", "vpid", "flexpriority", "nested", "enable_apicv")


@dataclass(frozen=True)
class Machine:
    """A machine, in its own words.

    :param vendor: its CPU's, as in /proc/cpuinfo.
    :param model: likewise.
    :param flags: likewise.
    :param cpus: how many there are.
    :param has_kvm: whether there is a /dev/kvm, which is made by the half of KVM that fits
        the CPU.
    :param kvm_intel: that module's parameters; empty when the kernel has no such module.
    :param emulator: what emulates it, as in ``Bochs 2.7``; empty where that is not known.
    """

    vendor: str
    model: str
    flags: frozenset[str]
    cpus: int
    has_kvm: bool
    kvm_intel: Mapping[str, str]
    emulator: str = ""

    @property
    def problems(self) -> list[str]:
        """Why KVM does not run on VMX here; empty when it does."""
        found = []
        if self.vendor != VENDOR:
            found.append(f"its CPU is of {self.vendor or 'no vendor'}, not {VENDOR}")
        if FLAG not in self.flags:
            found.append("its CPU shows no VMX")
        if not self.kvm_intel:
            found.append("its kernel has no kvm_intel")
        if not self.has_kvm:
            found.append("it has no /dev/kvm")
        return found

    def __str__(self) -> str:
        on = [name for name in _MODES if self.kvm_intel.get(name) == "Y"]
        off = [name for name in _MODES if self.kvm_intel.get(name) == "N"]
        modes = f"with {', '.join(on) or 'no mode'}" + (f"; off: {', '.join(off)}" if off else "")
        cpus = f"{self.cpus} CPU{'s' if self.cpus != 1 else ''}"
        emulated = f", emulated by {self.emulator}" if self.emulator else ""
        return f"{self.vendor}, {self.model}, {cpus}{emulated}; kvm_intel {modes}"


def read_machine(text: str) -> Machine:
    """Read the lines that the guest's init writes of its machine (`kvmbpf.lab.vmx_image`)."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts[name.strip()] = value.strip()
    cpus = facts.get("cpus", "")
    return Machine(
        vendor=facts.get("vendor_id", ""),
        model=facts.get("model name", ""),
        flags=frozenset(facts.get("flags", "").split()),
        cpus=int(cpus) if cpus.isdigit() else 0,
        has_kvm="kvm" in facts,
        kvm_intel={
            name.removeprefix("kvm_intel."): value
            for name, value in facts.items()
            if name.startswith("kvm_intel.")
        },
    )
