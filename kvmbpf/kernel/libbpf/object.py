# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects: an ELF file of programs and maps, opened and loaded by libbpf.

`BpfObject.open()` reads the file and needs no privilege; between that and
`load()` programs can be left out, constants set, maps of an older object
reused. Whatever it gave out (maps, programs, types) ends with it.

A device's object has each body twice: as a struct_ops program, for KVM, and as a
``SEC("syscall")`` one, for a VMM to call. `use_kernel_entries()` or
`use_call_entries()` says before the load which kind is wanted.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from kvmbpf.closing import Closing
from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.libbpf import log
from kvmbpf.kernel.libbpf.btf import Btf
from kvmbpf.kernel.libbpf.externs import KCONFIG_SECTION
from kvmbpf.kernel.libbpf.globals import Globals
from kvmbpf.kernel.libbpf.lib import Feature, call_failed, libbpf, need
from kvmbpf.kernel.libbpf.load_errors import load_failed, program_refused
from kvmbpf.kernel.libbpf.messages import not_taken
from kvmbpf.kernel.libbpf.object_map import ObjectMap
from kvmbpf.kernel.libbpf.program import BpfProgram
from kvmbpf.kernel.libbpf.verifier_log import VerifierLogs
from kvmbpf.kernel.uapi import bpf as uapi
from kvmbpf.kernel.uapi import kvmbpf as header
from kvmbpf.mends import OF_ANY_CALL, explain
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.needs import CodeMap

Item = TypeVar("Item")
_KEPT_MESSAGES = 64


class BpfObject(Closing):
    """An opened object file.

    :param path: the file.
    :param handle: the ``struct bpf_object *``; this object owns it from now on.
    :param messages: what libbpf said so far.
    """

    def __init__(self, path: Path, handle: int, messages: deque[str]) -> None:
        self.path = path
        self._object: int | None = handle
        self._messages = messages
        self._load_called = False
        self._loaded = False
        lib = libbpf()
        types = lib.bpf_object__btf(handle)
        self.btf = Btf(self._guard(types)) if types else None
        self.maps: dict[str, ObjectMap] = {}
        self.programs: dict[str, BpfProgram] = {}
        this = lib.bpf_object__next_map(handle, None)
        while this:
            found = ObjectMap(self.btf, self._guard(this))
            self.maps[found.name] = found
            this = lib.bpf_object__next_map(handle, this)
        this = lib.bpf_object__next_program(handle, None)
        while this:
            program = BpfProgram(self._guard(this))
            self.programs[program.name] = program
            this = lib.bpf_object__next_program(handle, this)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an object file; nothing goes to the kernel yet.

        :param path: an ELF file of eBPF programs, little-endian, with BTF.
        :raise BadFileError: when it cannot be read, or libbpf does not take it.
        :raise UnsupportedError: when libbpf is missing or too old.
        """
        path = Path(path)
        try:
            path.open("rb").close()
        except OSError as error:
            raise BadFileError(path, f"cannot be read: {explain(error)}") from error
        messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        with log.quiet():
            handle, code = _open_file(path)
        if not handle:  # once more, for what libbpf says
            with log.capture(messages):
                handle, code = _open_file(path)
        if not handle:
            if code in OF_ANY_CALL:
                raise call_failed(f"bpf_object__open_file({path})", -code)
            raise BadFileError(path, not_taken(code, messages)).with_log("\n".join(messages))
        return cls(path, handle, messages)

    def _guard(self, address: int) -> Callable[[], int]:
        """Return a function that gives an address while this object is open."""
        return functools.partial(self._while_open, address)

    def _while_open(self, address: int) -> int:
        if self._object is None:
            raise StateError(f"{self.path}: the object is closed")
        return address

    @property
    def closed(self) -> bool:
        """Tell whether the object was closed."""
        return self._object is None

    @property
    def loaded(self) -> bool:
        """Tell whether the object is in the kernel."""
        return self._loaded

    @property
    def messages(self) -> tuple[str, ...]:
        """What libbpf said about this object, warnings and information.

        What it said as it opened the object is there only when the load has failed.
        """
        return tuple(self._messages)

    def map(self, name: str) -> ObjectMap:
        """Return a map by name.

        :raise BadFileError: when the object has none of that name.
        :raise UnsupportedError: when it is a struct_ops map, and libbpf too old for it.
        """
        if name not in self.maps and self.btf is not None:
            ops = self.btf.find(".struct_ops.link", uapi.BTF_KIND_DATASEC)
            if ops is not None and any(v.name == name for v in self.btf.variables(ops)):
                need(Feature.STRUCT_OPS)
        return _named(self.path, "map", self.maps, name)

    def program(self, name: str) -> BpfProgram:
        """Return a program by name.

        :raise BadFileError: when the object has none of that name.
        """
        return _named(self.path, "program", self.programs, name)

    @property
    def globals(self) -> Globals:
        """The programs' global variables, by name.

        Before the load a write sets the initial value, of constants too. Of a
        section that is carried over it reads and writes the present value.

        :raise StateError: when the object is closed.
        """
        self._while_open(0)
        return Globals(self.maps.values(), str(self.path))

    def use_kernel_entries(self, code: CodeMap | None = None) -> None:
        """Load what KVM calls, and leave out what a VMM would.

        Maps of the author's header that the programs left do not refer to are
        left out too, and are not in `maps` any more. Programs of the author's
        own are loaded in either case.

        :param code: what the programs refer to, where the caller has read that already.
        :raise StateError: when the object is loaded or closed.
        :raise BadFileError: when the file is damaged.
        """
        for program in self.programs.values():
            if program.name in header.CALLS:
                program.autoload = False
        self._leave_out_maps(code, struct_ops=True)

    def use_call_entries(self) -> None:
        """Load what a VMM calls, and leave out what KVM would: as on a stock kernel.

        The struct_ops maps are left out, and of the other maps those that
        `use_kernel_entries()` would leave out for these programs.

        :raise StateError: when the object is loaded or closed.
        :raise BadFileError: when the file is damaged.
        """
        for program in self.programs.values():
            if program.section.startswith("struct_ops"):
                program.autoload = False
        self._leave_out_maps(None, struct_ops=False)

    def _leave_out_maps(self, code: CodeMap | None, *, struct_ops: bool) -> None:
        left_out = set()
        if not struct_ops:
            ops = uapi.BPF_MAP_TYPE_STRUCT_OPS
            left_out = {name for name, found in self.maps.items() if found.type == ops}
        for name in left_out | self._unused_own_maps(code):
            self.maps.pop(name).autocreate = False

    def _unused_own_maps(self, code: CodeMap | None) -> set[str]:
        """Return the maps of the author's header that no program refers to."""
        unused: set[str] = set()
        owners: dict[str, str] = {}
        for name, found in self.maps.items():
            if name.startswith(header.OWN_MAPS) and found.type != uapi.BPF_MAP_TYPE_STRUCT_OPS:
                unused.add(name)
                # a data section is used by its variables
                owners |= dict.fromkeys((name, *(item.name for item in found.variables)), name)
        if unused:
            wanted = [program.name for program in self.programs.values() if program.autoload]
            for variable in (code or CodeMap(ElfImage(self.path))).variables(wanted):
                unused.discard(owners.get(variable, ""))
                if not unused:  # the rest of the code has nothing to tell
                    break
        return unused

    def load(self) -> None:
        """Load the programs and maps, those left out excepted.

        :raise VerifierError: when the verifier refuses a program.
        :raise UnsupportedError: when the kernel lacks a struct_ops type, a kernel function or
            an option of its configuration that the object needs, that configuration
            cannot be read, or libbpf is too old.
        :raise BadFileError: when the object declares a kernel function or option
            otherwise than the kernel has it.
        :raise KernelCallError: when the kernel refuses for another reason.
        :raise StateError: when the object was loaded before, or is closed.
        """
        handle = self._while_open(self._object or 0)
        if self._load_called:
            raise StateError(f"{self.path}: load() was called before: open the file anew")
        wanted = [program for program in self.programs.values() if program.autoload]
        if any(program.section.startswith("struct_ops") for program in wanted):
            need(Feature.STRUCT_OPS)
        self._load_called = True
        with VerifierLogs(wanted) as logs, log.capture(self._messages):
            result: int = libbpf().bpf_object__load(handle)
            refused = logs.failed() if result < 0 else None
        if result < 0:
            self._messages = deque([*_said_at_open(self.path), *self._messages], _KEPT_MESSAGES)
        if refused is not None:
            raise program_refused(self.path, *refused, self.messages)
        if result < 0:
            wanted_ops = (found for found in self.maps.values() if _is_wanted_ops(found))
            types = [self.struct_ops_type(found) for found in wanted_ops]
            raise load_failed(self.path, result, self.messages, types, self._options())
        self._loaded = True

    def _options(self) -> list[str]:
        """Return the names of the variables that libbpf takes from the kernel's configuration."""
        section = self.btf.find(KCONFIG_SECTION, uapi.BTF_KIND_DATASEC) if self.btf else None
        if self.btf is None or section is None:
            return []
        return [variable.name for variable in self.btf.variables(section)]

    def struct_ops_type(self, ops: ObjectMap) -> str:
        """Return the struct's name of a struct_ops map, as in ``kvm_bpf_ops``.

        :raise BadFileError: when the object's types do not have it.
        """
        return self.struct_ops_struct(ops)[0]

    def struct_ops_struct(self, ops: ObjectMap) -> tuple[str, int]:
        """Return name and type id of a struct_ops map's struct: that of its variable."""
        if self.btf is not None:
            found = self.btf.find(ops.name, uapi.BTF_KIND_VAR)
            if found is not None:
                type_id = self.btf.resolve(self.btf.get(found).type_id)
                # ___suffix: a flavour of the struct, as CO-RE has it
                return self.btf.get(type_id).name.partition("___")[0], type_id
        raise BadFileError(self.path, f"no type for struct_ops map {ops.name}")

    def close(self) -> None:
        """Unload what nothing else holds; closing twice is fine."""
        handle = self._object
        if handle is None:
            return
        for found in self.maps.values():
            found.release()
        self._object = None
        with log.capture(self._messages):
            libbpf().bpf_object__close(handle)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "loaded" if self._loaded else "open"
        return f"<BpfObject {self.path}: {state}>"


def _open_file(path: Path) -> tuple[int | None, int]:
    """Have libbpf open a file; return the ``struct bpf_object *``, and an errno without one."""
    handle: int | None = libbpf().bpf_object__open_file(os.fsencode(path), None)
    return handle, 0 if handle else ctypes.get_errno()


def _said_at_open(path: Path) -> list[str]:
    """Return what libbpf says as it opens a file that it has opened before."""
    messages: list[str] = []
    with log.capture(messages):
        handle, _ = _open_file(path)
    if not handle:  # it was changed meanwhile
        return []
    libbpf().bpf_object__close(handle)
    return messages


def _named(path: Path, what: str, items: dict[str, Item], name: str) -> Item:
    try:
        return items[name]
    except KeyError:
        names = ", ".join(items) or "none"
        raise BadFileError(path, f"no {what} `{name}`; it has: {names}") from None


def _is_wanted_ops(found: ObjectMap) -> bool:
    return found.type == uapi.BPF_MAP_TYPE_STRUCT_OPS and found.autocreate
