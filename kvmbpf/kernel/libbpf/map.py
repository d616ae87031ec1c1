# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps: the state that programs share with user space and with their successors.

`BpfMap` is a map by descriptor, as opened from a pin, perhaps in a process that
never saw its object, with what it holds by key and by variable.
"""

from __future__ import annotations

from pathlib import Path

from kvmbpf.kernel.libbpf import pinning
from kvmbpf.kernel.libbpf.btf import KernelTypes
from kvmbpf.kernel.libbpf.elements import Elements
from kvmbpf.kernel.libbpf.globals import Globals
from kvmbpf.kernel.libbpf.plain_map import PlainMap


class BpfMap(PlainMap):
    """A map in the kernel, and its content in its types.

    :param fd: its descriptor; this object owns it from now on.
    :param types: where to have its types from, shared with other maps; None for a
        set of its own.
    :raise KernelCallError: when it is no map.
    """

    @classmethod
    def open_pinned(cls, path: str | Path, types: KernelTypes | None = None) -> BpfMap:
        """Open a map from its pin.

        :param types: as for the map itself.
        :raise BadFileError: when there is no such pin, or it holds no map.
        :raise KernelCallError: when the kernel refuses.
        """
        return BpfMap(pinning.open_pinned(Path(path), "map"), types)

    @property
    def elements(self) -> Elements:
        """The elements by key, as values of their types.

        :raise StateError: when the map has no keys, or is closed.
        :raise KernelCallError: when the kernel does not give out its types.
        """
        return Elements(self)

    @property
    def globals(self) -> Globals:
        """The variables of a data section by name; none for other maps."""
        return Globals([self], f"map {self.name}")
