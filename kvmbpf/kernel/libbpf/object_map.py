# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of an opened object.

It may not be loaded yet, its descriptor is libbpf's, and it ends with its object. It is
never one that another object has, unless it is told to use that by `reuse`: a pin
that its definition asks for is neither looked for nor made.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.btf import Btf, KernelTypes
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.plain_map import MapSpec


class ObjectMap(BpfMap):
    """A map of an opened object; made by `BpfObject` only.

    :param btf: the object's types, or None where it has none.
    :param handle: gives the ``struct bpf_map *``, or refuses when the object is closed.
    """

    def __init__(self, btf: Btf | None, handle: Callable[[], int]) -> None:
        self._object_types = btf
        self._handle = handle
        self._owned = None
        self._types = KernelTypes()  # the object has them
        self._shares_types = False
        self._memories = {}
        self.reused = False
        lib, this = libbpf(), handle()
        # LIBBPF_PIN_BY_NAME would have all objects with a map of that name share one.
        lib.bpf_map__set_pin_path(this, None)
        self.name = lib.bpf_map__name(this).decode(errors="replace")
        self.spec = MapSpec(
            lib.bpf_map__type(this),
            lib.bpf_map__key_size(this),
            lib.bpf_map__value_size(this),
            lib.bpf_map__max_entries(this),
            lib.bpf_map__map_flags(this),
            lib.bpf_map__btf_key_type_id(this),
            lib.bpf_map__btf_value_type_id(this),
        )

    @property
    def fd(self) -> int:
        """The descriptor (C ``int``), libbpf's: valid until the object is closed.

        :raise StateError: when the object is not loaded, or closed.
        """
        fd: int = libbpf().bpf_map__fd(self._handle())
        if fd < 0:
            raise StateError(f"map {self.name} is not loaded")
        return fd

    @property
    def loaded(self) -> bool:
        """Tell whether the map is in the kernel, or is to be one that is."""
        return int(libbpf().bpf_map__fd(self._handle())) >= 0

    @property
    def btf(self) -> Btf | None:
        """The object's types, or None where it has none."""
        return self._object_types

    @property
    def autocreate(self) -> bool:
        """Whether loading the object makes this map.

        :raise StateError: (set) when the object is loaded or closed.
        """
        return bool(libbpf().bpf_map__autocreate(self._handle()))

    @autocreate.setter
    def autocreate(self, value: bool) -> None:
        if libbpf().bpf_map__set_autocreate(self._handle(), value) < 0:
            raise StateError(f"map {self.name} is loaded already")

    def reuse(self, old: BpfMap) -> None:
        """Let the object use a map that exists, in place of making one.

        :param old: the map; it may be closed afterwards.
        :raise StateError: when the object is loaded, or either is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        if self.loaded:
            raise StateError(f"map {self.name} is loaded already")
        result: int = libbpf().bpf_map__reuse_fd(self._handle(), old.fd)
        if result < 0:
            raise call_failed(f"bpf_map__reuse_fd({self.name})", result)
        self.reused = True

    def image(self) -> memoryview | None:
        """Return the initial value of a data section or struct_ops map.

        :return: libbpf's memory: use and release it before the object is
            closed; None where the map (or an old libbpf) has none.
        """
        size = ctypes.c_size_t()
        address: int | None = libbpf().bpf_map__initial_value(self._handle(), ctypes.byref(size))
        if address is None:
            return None
        return memoryview((ctypes.c_char * size.value).from_address(address)).cast("B")

    def memory(self, *, write: bool) -> AbstractContextManager[memoryview]:
        """Give a data section's memory: the initial image until it is loaded.

        Raises as the map's own, and a StateError when the map holds no variables.
        """
        if not self.loaded:
            image = self.image()
            if image is None:
                raise StateError(f"map {self.name} holds no variables")
            return image
        return super().memory(write=write)

    def release(self) -> None:
        """Let go of the map's memory: the object calls it before it is closed."""
        self._release()

    def close(self) -> None:
        """Refuse: a map of an object ends with its object.

        :raise StateError: always.
        """
        raise StateError(f"map {self.name} belongs to its object: close that")
