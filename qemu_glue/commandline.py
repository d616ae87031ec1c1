# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QEMU command line says, as QEMU itself reads it.

An option begins with one dash or two, and its value is the next argument,
whatever that looks like; so the options without a value have to be known. Most
values are a list, ``name=value,...``, whose first item may leave its name out,
and in which ``,,`` stands for a comma.

Source: qemu_init() in QEMU's softmmu/vl.c (7.2), system/vl.c (10.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.model.irqchip import IrqChip
from qemu_glue.address import AbstractSocket, Address

# The options without a value, of 7.2 and of 10.0.
FLAGS = frozenset(
    {
        "S",
        "async-teardown",
        "audio-help",
        "daemonize",
        "enable-kvm",
        "enable-sync-profile",
        "full-screen",
        "h",
        "help",
        "jitdump",
        "mem-prealloc",
        "no-acpi",
        "no-fd-bootchk",
        "no-hpet",
        "no-reboot",
        "no-shutdown",
        "no-user-config",
        "nodefaults",
        "nographic",
        "only-migratable",
        "perfmap",
        "portrait",
        "preconfig",
        "s",
        "singlestep",
        "snapshot",
        "usb",
        "version",
        "win2k-hack",
        "xen-attach",
        "xen-domid-restrict",
    }
)

# What QEMU runs when it is told no machine.
DEFAULT_MACHINE = "pc"
_UNIX = "unix:"
_CHARDEV = "chardev:"
_AGENT = "org.qemu.guest_agent"
_NOT_QMP = {"monitor": ", the human monitor"}

# What kernel-irqchip may say.
_IRQCHIP = "kernel-irqchip"
_IRQCHIPS = {"on": IrqChip.KERNEL, "split": IrqChip.SPLIT, "off": IrqChip.NONE}


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its name without dashes, and its value if it takes one."""

    name: str
    value: str | None


class CommandLine:
    """A QEMU command line.

    :param command: the program and its arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.program = command[0] if command else ""
        self.options = _options(command[1:])

    def has(self, name: str) -> bool:
        """Tell whether an option is there."""
        return any(option.name == name for option in self.options)

    def last(self, *names: str) -> str | None:
        """Return the value of the last option of any of these names, which is QEMU's choice."""
        values = self.values(*names)
        return values[-1] if values else None

    def values(self, *names: str) -> list[str]:
        """Return the values of all options of these names, in their order."""
        return [
            option.value
            for option in self.options
            if option.name in names and option.value is not None
        ]

    def machine(self) -> str:
        """Return the machine's name; the last one counts, however it was said."""
        return self._given_machine() or DEFAULT_MACHINE

    def _given_machine(self) -> str | None:
        given = [
            name
            for value in self.values("M", "machine")
            if (name := key_values(value, "type").get("type"))
        ]
        return given[-1] if given else None

    def guest_name(self) -> str | None:
        """Return the guest's name, of ``-name``."""
        given = [
            name
            for value in self.values("name")
            if (name := key_values(value, "guest").get("guest"))
        ]
        return given[-1] if given else None

    def kernel(self) -> Path | None:
        """Return the guest's kernel."""
        value = self.last("kernel")
        return Path(value) if value is not None else None

    def irqchip(self) -> IrqChip:
        """Return where the interrupt controllers are, where it says so outright.

        What a machine has by default changes from version to version.
        """
        said = self._accel_irqchip()
        for value in self.values("M", "machine") if said is None else ():
            # Of a machine's properties QEMU takes an underscore for a dash.
            properties = key_values(value, "type")
            said = properties.get(_IRQCHIP, properties.get("kernel_irqchip", said))
        return _IRQCHIPS.get(said or "", IrqChip.UNKNOWN)

    def irqchip_option(self) -> str:
        """Return the option that would put all interrupt controllers into KVM."""
        if self._accel_irqchip() is not None:
            return f"{_IRQCHIP}=on, as -accel kvm,{_IRQCHIP}=on"
        machine = self._given_machine()
        return f"{_IRQCHIP}=on, as -M {machine + ',' if machine else ''}{_IRQCHIP}=on"

    def _accel_irqchip(self) -> str | None:
        """Return what -accel says, which counts more than -machine; the first that works does."""
        for value in self.values("accel"):
            properties = key_values(value, "accel")
            if properties.get("accel") == "kvm":
                return properties.get(_IRQCHIP)
        return None

    def qmp_sockets(self) -> list[Address]:
        """Return the UNIX sockets on which it serves QMP, as they are written there."""
        chardevs = self._chardevs()
        found = []
        for value in self.values("qmp", "qmp-pretty"):
            if value.startswith(_UNIX):
                found.append(unix_address(value.removeprefix(_UNIX)))
            elif value.startswith(_CHARDEV):
                found.append(chardevs.get(value.removeprefix(_CHARDEV)))
        for value in self.values("mon"):
            monitor = key_values(value, "chardev")
            if monitor.get("mode") == "control":
                found.append(chardevs.get(monitor.get("chardev", "")))
        return [address for address in found if address is not None]

    def use_of_socket(self, name: str) -> str:
        """Say what a socket is for that is none of QMP; empty where nothing tells.

        :param name: its path as it is written there, or @ and its abstract name.
        """
        for option in self.options:
            value = option.value or ""
            if value.startswith(_UNIX) and _is_called(unix_address(value[len(_UNIX) :]), name):
                return f"that is what -{option.name} is for" + _NOT_QMP.get(option.name, "")
        ids = {one for one, address in self._chardevs().items() if _is_called(address, name)}
        for value in self.values("device"):
            device = key_values(value, "driver")
            if device.get("chardev") in ids:
                port = device.get("name", "")
                if port.startswith(_AGENT):
                    return "that is the guest agent's, which does not greet"
                return f"that is a {device.get('driver', 'device')}'s"
        for value in self.values("mon"):
            if key_values(value, "chardev").get("chardev") in ids:
                return "that is a human monitor (-mon without mode=control)"
        return ""

    def _chardevs(self) -> dict[str, Address]:
        found = {}
        for value in self.values("chardev"):
            address = unix_address(value, "backend")
            if address is not None:
                found[key_values(value, "backend").get("id", "")] = address
        return found


def unix_address(text: str, first: str = "path") -> Address | None:
    """Return the address of a list with a ``path``; None when there is no path in it.

    :param first: the name of the list's first item, where it has none.
    """
    found = key_values(text, first)
    path = found.get("path", "")
    if not path:
        return None
    # Until QEMU 7 a switch may stand without its value.
    abstract = found.get("abstract", "on" if "abstract" in text.split(",")[1:] else "off")
    return AbstractSocket(path) if abstract in ("on", "yes", "true", "y") else Path(path)


def _is_called(address: Address | None, name: str) -> bool:
    return address is not None and str(address) == name


def key_values(text: str, first: str) -> dict[str, str]:
    """Read a list of ``name=value``; a later one of a name counts.

    :param text: as ``q35,accel=kvm``.
    :param first: the name of the first item where it has none. Others without a
        name are switches, and left out.
    """
    found: dict[str, str] = {}
    for index, item in enumerate(text.replace(",,", "\0").split(",")):
        name, equals, value = item.replace("\0", ",").partition("=")
        if equals:
            found[name] = value
        elif index == 0 and name:
            found[first] = name
    return found


def quoted(value: str | Path) -> str:
    """Return a value that is fit for such a list."""
    return str(value).replace(",", ",,")


def _options(arguments: Sequence[str]) -> list[Option]:
    found = []
    left = iter(arguments)
    for argument in left:
        # A word by itself is a disk's image; a single dash is one too.
        if not argument.startswith("-") or argument == "-":
            continue
        name = argument.removeprefix("-").removeprefix("-")
        found.append(Option(name, None if name in FLAGS else next(left, None)))
    return found
