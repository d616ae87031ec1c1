# SPDX-License-Identifier: GPL-2.0-or-later
"""model.objfile.names: the numbers of this machine's headers, the functions of our series."""

from __future__ import annotations

import re
from pathlib import Path

from kvmbpf.model.objfile.names import (
    DEVICE_KFUNCS,
    HELPERS,
    IRQ_KFUNCS,
    KERNEL_KFUNCS,
    MAP_TYPES,
    SLEEPABLE_KFUNCS,
    STRUCT_OPS_HELPERS,
    helper_name,
    map_type_name,
)
from tests.places import ROOT

HEADER = Path("/usr/include/linux/bpf.h")
PATCHES = ROOT / "kernel_patches" / "v6.12"


def test_helpers_are_the_headers() -> None:
    """An older header has fewer; what it has is the same."""
    text = HEADER.read_text()
    names = re.findall(r"^\s*FN\((\w+)[,)]", text, re.MULTILINE)
    assert len(names) > 200
    assert tuple(names) == HELPERS[: len(names)]


def test_map_types_are_the_headers() -> None:
    block = re.search(r"enum bpf_map_type \{(.*?)\};", HEADER.read_text(), re.DOTALL)
    assert block is not None
    text = re.sub(r"/\*.*?\*/", "", block[1], flags=re.DOTALL)
    names = [
        word.strip().removeprefix("BPF_MAP_TYPE_").removesuffix("_DEPRECATED").lower()
        for word in text.split(",")
        if word.strip() and "=" not in word and "__MAX" not in word
    ]
    assert len(names) > 30
    assert tuple(names) == MAP_TYPES[: len(names)]


def test_helpers_for_struct_ops_are_helpers() -> None:
    assert set(HELPERS) > STRUCT_OPS_HELPERS


def test_device_functions_are_the_series() -> None:
    patches = "".join(path.read_text() for path in sorted(PATCHES.glob("*.patch")))
    flags = dict(re.findall(r"^\+BTF_ID_FLAGS\(func, (kvm_bpf_\w+), ([A-Z_| ]+)\)", patches, re.M))
    assert set(flags) == DEVICE_KFUNCS
    sleepable = {name for name, words in flags.items() if "KF_SLEEPABLE" in words}
    assert sleepable == SLEEPABLE_KFUNCS & DEVICE_KFUNCS
    assert {name for name in flags if name.endswith("set_irq")} == IRQ_KFUNCS
    assert not KERNEL_KFUNCS & DEVICE_KFUNCS
    assert SLEEPABLE_KFUNCS <= KERNEL_KFUNCS | DEVICE_KFUNCS


def test_names_of_numbers() -> None:
    assert helper_name(1) == "bpf_map_lookup_elem"
    assert helper_name(211) == "bpf_cgrp_storage_delete"
    assert [helper_name(number) for number in (0, -1, 212)] == [
        "helper 0",
        "helper -1",
        "helper 212",
    ]
    assert (map_type_name(1), map_type_name(27)) == ("hash", "ringbuf")
    assert [map_type_name(number) for number in (0, 34)] == ["type 0", "type 34"]
