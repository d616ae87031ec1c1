# SPDX-License-Identifier: GPL-2.0-or-later
"""Types are the same from a copy of the set as from libbpf, one by one."""

from __future__ import annotations

import pytest

from kvmbpf.errors import BadFileError
from kvmbpf.kernel.libbpf import btf_words
from kvmbpf.kernel.libbpf.btf import vmlinux_btf
from kvmbpf.kernel.libbpf.btf_words import type_words
from kvmbpf.kernel.libbpf.object import BpfObject

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]


def test_a_copy_has_what_libbpf_has(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        assert obj.btf is not None
        copied = btf_words._copy(obj.btf.handle)
        fetched = btf_words._Fetched(obj.btf.handle)
        assert copied is not None
        for type_id in range(len(obj.btf)):
            words = copied.words(type_id)
            assert words == fetched.words(type_id)
            assert copied.string(words[0]) == fetched.string(words[0])


def test_neither_has_a_type_too_many(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        assert obj.btf is not None
        count = len(obj.btf)
        for source in (type_words(obj.btf.handle), btf_words._Fetched(obj.btf.handle)):
            with pytest.raises(BadFileError, match=f"no type {count}"):
                source.words(count)
            assert source.string(1 << 31) == ""


def test_an_object_is_copied_and_the_kernel_is_not(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        assert obj.btf is not None
        assert isinstance(type_words(obj.btf.handle), btf_words._Copied)
    assert isinstance(type_words(vmlinux_btf().handle), btf_words._Fetched)


def test_types_that_do_not_end_with_their_words_are_not_copied() -> None:
    pointer = (0, 2 << 24, 0)
    assert btf_words._starts(pointer + pointer) == [0, 0, 3, 6]
    assert btf_words._starts((*pointer, 0)) == []
    one_member = 4 << 24 | 1
    assert btf_words._starts((0, one_member, 4, *pointer[:2])) == []
