# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the manager finds what earlier managers left: pins and records.

    <bpffs>/kvmbpf/<home>/<device>/link          the attachment
    <bpffs>/kvmbpf/<home>/<device>/maps/<name>   the state
    <run>/<home>/<device>.json                   what the kernel does not keep
    <run>/<home>.lock                            held by whoever changes the VM

A VM's home is its name where that is plain (`kvmbpf.model.vm_name`); what is called
`home` below is always one, and the name itself is in the records.
bpffs is /sys/fs/bpf or $KVMBPF_BPFFS, run is /run/kvmbpf or $KVMBPF_RUN_DIR.
Both are entered by their owner only; folders of another user, or that others may
enter, are refused, and so are links: whoever can write there could have the manager
attach something else. Files whose names are none of ours are left alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.kernel.libbpf import BpfLink, BpfMap
from kvmbpf.kernel.libbpf.btf import KernelTypes
from kvmbpf.kernel.process import ProcessId
from kvmbpf.kernel.rights import refused, user_name
from kvmbpf.manager import lock
from kvmbpf.manager.record import DeviceRecord, read_record
from kvmbpf.mends import mend
from kvmbpf.model.vm_name import check_vm_name, home_of, is_home, name_of_home, shown
from kvmbpf.writing import PARTIAL, write_own

_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
# For who only looks, and tidies up: it has the lock for a moment.
_PATIENCE_S = 2.0


def check_device_name(name: str) -> str:
    """Return a device's name that is fit for a path.

    :raise StateError: when it is not.
    """
    if not _DEVICE.fullmatch(name):
        raise StateError(
            f"device name {name!r}: use up to 63 letters, digits, `_` and `-`, not `-` first"
        )
    return name


def _checked_home(home: str) -> str:
    if not is_home(home):
        raise StateError(f"{home!r} is no VM's home: take a record's, or `home_of` its name")
    return home


class DevicePins:
    """The pins of one device.

    :param directory: its directory in bpffs.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.link = directory / "link"
        self.maps = directory / "maps"

    def make(self) -> None:
        """Make the directories, for their owner only.

        :raise KernelCallError: when bpffs is not there, or not writable.
        :raise StateError: when one is there and is not its owner's only.
        """
        for path in (*reversed(self.directory.parents[:2]), self.directory, self.maps):
            _make_private(path, "is bpffs there? mount -t bpf bpf /sys/fs/bpf")

    def free_name(self, state: str) -> str:
        """Return a name for a new pin of a state: its own, or one with a number.

        A state may be pinned twice for a moment, while an update replaces its map.
        """
        numbered = (f"{state}~{number}" for number in itertools.count(2))
        names = itertools.chain([state], numbered)
        return next(name for name in names if not (self.maps / _escape(name)).exists())

    def pin_map(self, name: str, found: BpfMap) -> None:
        """Pin a map under a name that is free."""
        found.pin(self.maps / _escape(name))

    def open_maps(self, stack: contextlib.ExitStack) -> dict[str, BpfMap]:
        """Open all pinned maps, by their states' names."""
        types = stack.enter_context(KernelTypes())
        return {
            state_of(name): stack.enter_context(self.open_pin(name, types))
            for name in self.map_names()
        }

    def open_pin(self, name: str, types: KernelTypes) -> BpfMap:
        """Open a map by its pin's name; the caller owns it."""
        return BpfMap.open_pinned(self.maps / _escape(name), types)

    def open_map(self, state: str) -> BpfMap | None:
        """Open a pinned map by its state's name, the caller's; None where there is no pin."""
        for name in self.map_names():
            if state_of(name) == state:
                return BpfMap.open_pinned(self.maps / _escape(name))
        return None

    def map_names(self) -> list[str]:
        """Return the names of the maps' pins."""
        return [_unescape(name) for name in _children(self.maps)]

    def lost(self, names: Iterable[str]) -> list[str]:
        """Return, of the names of maps' pins, those that are not there: nobody of ours did it.

        :raise KernelCallError: when the folder is not permitted.
        """
        return sorted({*names} - {*self.map_names()})

    def unpin_map(self, name: str) -> None:
        """Remove a map's pin by its name; no such pin is fine."""
        _unlink(self.maps / _escape(name))

    def open_link(self) -> BpfLink | None:
        """Open the link; None where there is no pin.

        :raise KernelCallError: when it is not permitted.
        """
        try:
            return BpfLink.open_pinned(self.link) if self.link.exists() else None
        except PermissionError as error:
            raise refused("open", self.link, error) from error

    def remove(self) -> None:
        """Remove every pin, the link's first: with it goes the attachment."""
        _unlink(self.link)
        for name in _children(self.maps):
            path = self.maps / name
            if not path.is_dir():
                _unlink(path)
        for directory in (self.maps, self.directory):
            with contextlib.suppress(OSError):  # not there, or something of others in it
                directory.rmdir()


class Store:
    """All pins and records.

    :param run_dir: where records and locks are.
    :param bpffs: a mounted bpffs.
    """

    def __init__(self, run_dir: Path | None = None, bpffs: Path | None = None) -> None:
        self.run_dir = run_dir or Path(os.environ.get("KVMBPF_RUN_DIR", "/run/kvmbpf"))
        bpffs = bpffs or Path(os.environ.get("KVMBPF_BPFFS", "/sys/fs/bpf"))
        self.pin_dir = bpffs / "kvmbpf"
        # Of each device, as they are asked for; to put a path together takes its time.
        self._pins: dict[tuple[str, str], DevicePins] = {}
        self._records: dict[tuple[str, str], Path] = {}

    @contextlib.contextmanager
    def lock(self, home: str, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        """Hold the right to change a VM's devices.

        :param home: the VM's.
        :param patience_s: how long to wait for another process that has it, in seconds.
        :raise HeldError: when another process still holds it then; it is named.
        :raise KernelCallError: when the run directory is not permitted.
        """
        self._make_run_dir(self.run_dir)
        path = self.run_dir / f"{_checked_home(home)}.lock"
        doing = "is changing it just now; try again after it"
        with lock.hold(path, lambda: f"VM {shown(self.name_of(home))}", doing, patience_s):
            try:
                yield
            finally:
                if not self.devices(home):
                    _unlink(path)

    def vms(self) -> list[str]:
        """Return the homes of the VMs that have pins, records or a lock."""
        names = set(_children(self.pin_dir))
        for name in _children(self.run_dir):
            if name.endswith(".lock"):
                names.add(name.removesuffix(".lock"))
            elif (self.run_dir / name).is_dir():
                names.add(name)
        return sorted(filter(is_home, names))

    def name_of(self, home: str) -> str:
        """Return a VM's name: of its records, else as its home tells it."""
        with contextlib.suppress(KernelCallError):  # it may not be looked into
            for record in self.records(home):
                return record.vm
        return name_of_home(home) or home

    def devices(self, home: str) -> list[str]:
        """Return the names of a VM's devices that have pins or records."""
        names = set(_children(f"{self.pin_dir}/{home}"))
        for name in _children(f"{self.run_dir}/{home}"):
            if name.endswith(".json"):
                names.add(name.removesuffix(".json"))
        return sorted(filter(_DEVICE.fullmatch, names))

    def pins(self, home: str, device: str) -> DevicePins:
        """Return where a device's pins are."""
        found = self._pins.get((home, device))
        if found is None:
            folder = self.pin_dir / _checked_home(home) / check_device_name(device)
            found = self._pins[home, device] = DevicePins(folder)
        return found

    def record_path(self, home: str, device: str) -> Path:
        """Return where a device's record is."""
        found = self._records.get((home, device))
        if found is None:
            folder = self.run_dir / _checked_home(home)
            found = self._records[home, device] = folder / f"{check_device_name(device)}.json"
        return found

    def read(self, home: str, device: str) -> DeviceRecord:
        """Read a device's record.

        :raise BadFileError: when there is none, or it is not one.
        """
        path = self.record_path(home, device)
        found = read_record(path)
        if found.device != device or home not in (
            home_of(found.vm),
            home_of(found.vm, found.pid),
        ):
            raise BadFileError(
                path,
                f"not its device's record: of device {found.device} of VM {shown(found.vm)}",
            )
        return dataclasses.replace(found, home=home)

    def records(self, home: str) -> list[DeviceRecord]:
        """Return those of a VM's records that can be read."""
        found = []
        for device in self.devices(home):
            with contextlib.suppress(BadFileError):  # it may be detached at this moment
                found.append(self.read(home, device))
        return found

    def home_for(self, name: str, process: ProcessId) -> str:
        """Return the home of a VM that has devices, or the one that it is to have.

        :param name: the VM's.
        :param process: its VMM.
        """
        first = home_of(name)
        second = home_of(name, process.pid)
        for home in (first, second):
            if any(record.process.may_be(process) for record in self.records(home)):
                return home
        return second if self.devices(first) else first

    def write(self, record: DeviceRecord) -> None:
        """Write a device's record, whole or not at all."""
        path = self.record_path(record.home, record.device)
        self._make_run_dir(path.parent)
        try:
            write_own(path, json.dumps(record.to_json()) + "\n")
        except PermissionError as error:
            raise refused("write", path, error) from error
        except OSError as error:
            raise KernelCallError(f"write({path})", error.errno or 0, mend(error.errno)) from error

    def forget(self, home: str, device: str) -> None:
        """Remove all of a device; what was attached is detached by it."""
        self.pins(home, device).remove()
        for suffix in (".json", ".log.lock"):
            _unlink(self.record_path(home, device).with_suffix(suffix))
        self._remove_empty(home)

    def sweep(self, home: str) -> None:
        """Finish what a manager that died has begun; hold `lock`.

        A device is one only while its link is attached: a VM that has gone, or
        a manager that died before it had attached, leaves the rest behind. An
        update that died leaves state that no version uses, before its switch or
        after it. What cannot be read is left alone: nobody knows what it is.
        """
        for device in self.devices(home):
            map_id = self._answering(home, device)
            if map_id is None:
                continue
            if not map_id:
                self.forget(home, device)
                continue
            record, surplus = self._surplus(home, device, map_id)
            for name in surplus:
                self.pins(home, device).unpin_map(name)
            if record is not None:
                self.write(record)
        for path in self._partial(home):
            _unlink(path)
        self._remove_empty(home)

    def sweep_all(self) -> None:
        """Sweep every VM that has something to sweep and that nobody is changing.

        What cannot be removed of one VM stays, and costs the others nothing.
        """
        for home in self.vms():
            if self._is_tidy(home):
                continue
            with (
                contextlib.suppress(lock.HeldError),
                self.lock(home, 0.0),
                contextlib.suppress(KernelCallError),
            ):
                self.sweep(home)

    def _answering(self, home: str, device: str) -> int | None:
        """Return the id of the map that a device's link has attached; 0 for none.

        :return: None where that cannot be known: the pin cannot be opened, or is no link.
        """
        try:
            link = self.pins(home, device).open_link()
            if link is None:
                return 0
            with link:
                return link.info().map_id
        except (BadFileError, KernelCallError):
            return None

    def _surplus(
        self, home: str, device: str, map_id: int
    ) -> tuple[DeviceRecord | None, list[str]]:
        """Return what an update that died has left of an attached device.

        :return: the record as it should be and is not, or None; and the names of the
            state that no version uses.
        """
        try:
            record = self.read(home, device)
        except BadFileError:  # not ours to mend: what reads it says so
            return None, []
        version = record.attached(map_id)
        if version is None:
            return None, []
        try:
            pinned = self.pins(home, device).map_names()
        except KernelCallError:
            return None, []
        surplus = [name for name in pinned if name not in version.maps]
        if record.versions == (version,):
            return None, surplus
        return dataclasses.replace(record, versions=(version,)), surplus

    def _partial(self, home: str) -> list[Path]:
        """Return the records that were not written to the end."""
        names = _children(f"{self.run_dir}/{home}")
        return [self.run_dir / home / name for name in names if name.endswith(PARTIAL)]

    def _remove_empty(self, home: str) -> None:
        for directory in (self.pin_dir / home, self.run_dir / home):
            with contextlib.suppress(OSError):  # not there, or other devices in it
                directory.rmdir()

    def _is_tidy(self, home: str) -> bool:
        """Tell whether a sweep would find nothing; without the lock, so only perhaps."""
        try:
            devices = self.devices(home)
            if not devices or self._partial(home):
                return False
        except KernelCallError:  # nor could it be swept
            return True
        ids = [self._answering(home, device) for device in devices]
        return all(
            map_id is None or (map_id and self._surplus(home, device, map_id) == (None, []))
            for device, map_id in zip(devices, ids, strict=True)
        )

    def find(self, device: str, vm: str | None = None, pid: int | None = None) -> str:
        """Return the home of the VM that has a device.

        :param device: the device's name.
        :param vm: the VM's name; when None the device's must be unique.
        :param pid: of its VMM, where VMs of one name have it; None for any.
        :raise StateError: when there is none, or more than one.
        :raise KernelCallError: when there is none, and a VM that cannot be looked into.
        """
        check_device_name(device)
        found, closed = {}, None
        for home in self.vms():
            try:
                if device not in self.devices(home):
                    continue
            except KernelCallError as error:
                closed = error
                continue
            owner = self._owner(home, device)
            if vm in (None, owner[0]) and pid in (None, owner[1]):
                found[home] = owner
        if not found and closed is not None:
            raise closed
        if not found:
            where = "any VM" if vm is None else f"VM {shown(check_vm_name(vm))}"
            where += "" if pid is None else f" of process {pid}"
            raise StateError(f"no device {device} is attached to {where}; see `kvmbpf list`")
        if len(found) > 1:
            raise StateError(f"device {device} is in {_which(list(found.values()))}")
        return next(iter(found))

    def _owner(self, home: str, device: str) -> tuple[str, int | None]:
        """Return the VM that a device is in: its name, and its process where that is known."""
        with contextlib.suppress(BadFileError):
            record = self.read(home, device)
            return record.vm, record.pid
        return self.name_of(home), None

    def _make_run_dir(self, path: Path) -> None:
        if path != self.run_dir:
            _make_private(self.run_dir)
        _make_private(path)


def _which(vms: list[tuple[str, int | None]]) -> str:
    """Say which VMs there are, and how one is told from the others."""
    names = [name for name, _ in vms]
    if len(set(names)) == len(names):
        return f"VMs {', '.join(map(shown, names))}: say which with --vm"
    listed = (shown(name) if pid is None else f"{shown(name)} (pid {pid})" for name, pid in vms)
    return f"VMs {', '.join(listed)}: say which with --pid"


def _make_private(path: Path, hint: str = "") -> None:
    """Make a folder that only its owner enters, or make sure that it is one.

    :raise StateError: when it is another user's, others may enter it, or it is a link.
    """
    try:
        path.mkdir(mode=0o700, parents=not hint, exist_ok=True)
        found = path.lstat()
    except PermissionError as error:
        raise refused("mkdir", path, error) from error
    except OSError as error:
        raise KernelCallError(
            f"mkdir({path})", error.errno or 0, hint or mend(error.errno)
        ) from error
    if stat.S_ISLNK(found.st_mode):
        raise StateError(f"{path} is a link to {path.readlink()}: name the folder itself")
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StateError(
            f"{path} is {user_name(found.st_uid)}'s, mode {found.st_mode & 0o7777:o}: "
            f"it must be {user_name(os.geteuid())}'s, mode 700"
        )


def _children(directory: Path | str) -> list[str]:
    """Return the names of what is in a folder; none where there is no such folder.

    :raise KernelCallError: when it is not permitted.
    """
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise refused("open", Path(directory), error) from error


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise refused("unlink", path, error) from error


def state_of(name: str) -> str:
    """Return the state's name of a pin's: `DevicePins.free_name` backwards."""
    return name.partition("~")[0]


def _escape(name: str) -> str:
    """Return a map's name for bpffs, which takes no dots: ``.bss`` is ``@bss``."""
    return name.replace(".", "@")


def _unescape(name: str) -> str:
    return name.replace("@", ".")
