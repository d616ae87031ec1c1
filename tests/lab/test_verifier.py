# SPDX-License-Identifier: GPL-2.0-or-later
"""What the verifier lets a device's program do, and the sentence when it does not."""

from __future__ import annotations

import pytest

from kvmbpf.errors import VerifierError
from kvmbpf.libbpf import BpfObject
from tests.lab.objects import device_object

ONLY_THE_VALUE = "a device's program may write kvm_bpf_access.value only"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("writes_offset", ONLY_THE_VALUE),
        ("writes_wide", ONLY_THE_VALUE),
        ("forged_access", "kvm_bpf_set_irq"),
    ],
)
def test_what_it_may_not_do_is_refused_with_a_sentence(name: str, sentence: str) -> None:
    with BpfObject.open(device_object(name)) as loaded:
        with pytest.raises(VerifierError) as caught:
            loaded.load()
        assert sentence in caught.value.log


@pytest.mark.parametrize("name", ["steered_v1", "sleepable"])
def test_what_it_may_do_is_loaded(name: str) -> None:
    with BpfObject.open(device_object(name)) as loaded:
        loaded.load()
        assert loaded.loaded
