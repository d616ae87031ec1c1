# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the manager finds what earlier managers left: pins and records.

    <bpffs>/kvmbpf/<vm>/<device>/link          the attachment
    <bpffs>/kvmbpf/<vm>/<device>/maps/<name>   the state
    <run>/<vm>/<device>.json                   what the kernel does not keep
    <run>/<vm>.lock                            held by whoever changes the VM

bpffs is /sys/fs/bpf or $KVMBPF_BPFFS, run is /run/kvmbpf or $KVMBPF_RUN_DIR.
Both are entered by their owner only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.libbpf import BpfLink, BpfMap
from kvmbpf.manager.record import DeviceRecord, read_record

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")


def check_name(what: str, name: str) -> str:
    """Return a VM's or device's name that is fit for a path.

    :raise StateError: when it is not.
    """
    if not _NAME.fullmatch(name):
        raise StateError(
            f"{what} name {name!r}: use up to 63 letters, digits, `_` and `-`, not `-` first"
        )
    return name


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
        """
        try:
            for path in (*reversed(self.directory.parents[:2]), self.directory, self.maps):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise KernelCallError(
                f"mkdir({self.maps})",
                error.errno or 0,
                "is bpffs there? mount -t bpf bpf /sys/fs/bpf",
            ) from error

    def pin_map(self, name: str, found: BpfMap) -> None:
        """Pin a map under its state's name."""
        found.pin(self.maps / _escape(name))

    def open_maps(self, stack: contextlib.ExitStack) -> dict[str, BpfMap]:
        """Open all pinned maps, by the names they were pinned under."""
        return {
            path.name: stack.enter_context(BpfMap.open_pinned(path))
            for path in sorted(self.maps.iterdir())
        }

    def unpin_map(self, name: str) -> None:
        """Remove a map's pin; no such pin is fine."""
        (self.maps / _escape(name)).unlink(missing_ok=True)

    def open_link(self) -> BpfLink | None:
        """Open the link; None where there is no pin."""
        return BpfLink.open_pinned(self.link) if self.link.exists() else None

    def remove(self) -> None:
        """Remove every pin, the link's first: with it goes the attachment."""
        self.link.unlink(missing_ok=True)
        if self.maps.is_dir():
            for path in self.maps.iterdir():
                path.unlink()
            self.maps.rmdir()
        if self.directory.is_dir():
            self.directory.rmdir()


class Store:
    """All pins and records.

    :param run_dir: where records and locks are.
    :param bpffs: a mounted bpffs.
    """

    def __init__(self, run_dir: Path | None = None, bpffs: Path | None = None) -> None:
        self.run_dir = run_dir or Path(os.environ.get("KVMBPF_RUN_DIR", "/run/kvmbpf"))
        bpffs = bpffs or Path(os.environ.get("KVMBPF_BPFFS", "/sys/fs/bpf"))
        self.pin_dir = bpffs / "kvmbpf"

    @contextlib.contextmanager
    def lock(self, vm: str) -> Iterator[None]:
        """Hold the right to change a VM's devices.

        :raise StateError: when another process holds it.
        """
        self._make_run_dir(self.run_dir)
        path = self.run_dir / f"{check_name('VM', vm)}.lock"
        with contextlib.ExitStack() as stack:
            while True:
                file = stack.enter_context(path.open("a"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise StateError(
                        f"VM {vm}: another kvmbpf is changing it just now; try again after it"
                    ) from error
                # A sweep may have removed the file after we had opened it.
                if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    break
            yield

    def vms(self) -> list[str]:
        """Return the names of the VMs that have pins or records."""
        names = {path.name for path in _children(self.pin_dir)}
        names |= {path.name for path in _children(self.run_dir) if path.is_dir()}
        return sorted(names)

    def devices(self, vm: str) -> list[str]:
        """Return the names of a VM's devices that have pins or records."""
        names = {path.name for path in _children(self.pin_dir / vm)}
        names |= {path.stem for path in _children(self.run_dir / vm) if path.suffix == ".json"}
        return sorted(names)

    def pins(self, vm: str, device: str) -> DevicePins:
        """Return where a device's pins are."""
        return DevicePins(self.pin_dir / check_name("VM", vm) / check_name("device", device))

    def record_path(self, vm: str, device: str) -> Path:
        """Return where a device's record is."""
        return self.run_dir / check_name("VM", vm) / f"{check_name('device', device)}.json"

    def read(self, vm: str, device: str) -> DeviceRecord:
        """Read a device's record.

        :raise BadFileError: when there is none, or it is not one.
        """
        return read_record(self.record_path(vm, device))

    def write(self, record: DeviceRecord) -> None:
        """Write a device's record, whole or not at all."""
        path = self.record_path(record.vm, record.device)
        self._make_run_dir(path.parent)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record.to_json(), indent=1) + "\n")
        partial.replace(path)

    def forget(self, vm: str, device: str) -> None:
        """Remove all of a device; what was attached is detached by it."""
        self.pins(vm, device).remove()
        self.record_path(vm, device).unlink(missing_ok=True)
        self.record_path(vm, device).with_suffix(".partial").unlink(missing_ok=True)
        for directory in (self.pin_dir / vm, self.run_dir / vm):
            with contextlib.suppress(OSError):  # not there, or other devices in it
                directory.rmdir()

    def sweep(self, vm: str) -> None:
        """Remove what is left of devices that are no more; hold `lock`.

        A device is one only while its link is attached: a VM that has gone, or
        a manager that died before it had attached, leaves the rest behind.
        """
        for device in self.devices(vm):
            link = self.pins(vm, device).open_link()
            if link is not None:
                with link:
                    if not link.info().defunct:
                        continue
            self.forget(vm, device)

    def sweep_all(self) -> None:
        """Sweep every VM that nobody is changing."""
        for vm in self.vms():
            with contextlib.suppress(StateError), self.lock(vm):
                self.sweep(vm)
                if not self.devices(vm):
                    (self.run_dir / f"{vm}.lock").unlink(missing_ok=True)

    def find(self, device: str, vm: str | None = None) -> str:
        """Return the name of the VM that has a device.

        :param device: the device's name.
        :param vm: the VM's name; when None the device's must be unique.
        :raise StateError: when there is none, or more than one.
        """
        found = [name for name in self.vms() if device in self.devices(name)]
        if vm is not None:
            found = [name for name in found if name == vm]
        if not found:
            where = f"VM {vm}" if vm else "any VM"
            raise StateError(f"no device {device} is attached to {where}; see `kvmbpf list`")
        if len(found) > 1:
            raise StateError(f"device {device} is in VMs {', '.join(found)}: say which with --vm")
        return found[0]

    def _make_run_dir(self, path: Path) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KernelCallError(f"mkdir({path})", error.errno or 0) from error


def _children(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _escape(name: str) -> str:
    """Return a map's name for bpffs, which takes no dots: ``.bss`` is ``@bss``."""
    return name.replace(".", "@")
