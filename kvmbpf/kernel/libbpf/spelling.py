# SPDX-License-Identifier: GPL-2.0-or-later
"""A type's name as its author wrote it in C, for messages."""

from __future__ import annotations

from kvmbpf.kernel.libbpf.btf import Btf
from kvmbpf.kernel.uapi import bpf as uapi

_WORDS = {
    uapi.BTF_KIND_STRUCT: "struct",
    uapi.BTF_KIND_UNION: "union",
    uapi.BTF_KIND_ENUM: "enum",
    uapi.BTF_KIND_ENUM64: "enum",
}
_QUALIFIERS = {
    uapi.BTF_KIND_VOLATILE: "volatile ",
    uapi.BTF_KIND_CONST: "const ",
    uapi.BTF_KIND_RESTRICT: "",
    uapi.BTF_KIND_TYPE_TAG: "",
}
_DEEPEST = 16


def spell(btf: Btf, type_id: int, depth: int = 0) -> str:
    """Return a type's name, as ``struct entry *`` or ``__u32[4]``.

    :param type_id: the type in `btf` (C ``__u32``); 0 is void.
    """
    kind = btf.get(type_id)
    if depth > _DEEPEST:
        return "..."
    if kind.kind == uapi.BTF_KIND_VOID:
        return "void"
    if kind.kind in _QUALIFIERS:
        return _QUALIFIERS[kind.kind] + spell(btf, kind.type_id, depth + 1)
    if kind.kind == uapi.BTF_KIND_PTR:
        return f"{spell(btf, kind.type_id, depth + 1)} *"
    if kind.kind == uapi.BTF_KIND_ARRAY:
        return f"{spell(btf, kind.type_id, depth + 1)}[{kind.length}]"
    if kind.kind == uapi.BTF_KIND_FUNC_PROTO:
        return "function"
    word = _WORDS.get(kind.kind, "")
    if kind.kind == uapi.BTF_KIND_FWD:  # its flag, which says union, is not decoded
        word = "struct"
    return f"{word} {kind.name}".strip() if kind.name else f"{word} without a name"
