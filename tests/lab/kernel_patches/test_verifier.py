# SPDX-License-Identifier: GPL-2.0-or-later
"""What the verifier lets a device's program do, and the sentence when it does not."""

from __future__ import annotations

import pytest

from kvmbpf.errors import VerifierError
from kvmbpf.kernel.libbpf import BpfObject
from tests.lab.objects import SOURCES, device_object

ONLY_THE_VALUE = "a device's program may write kvm_bpf_access.value only"


@pytest.mark.parametrize(
    ("name", "line", "sentence", "mend"),
    [
        ("writes_offset", "acc->offset = 1;", ONLY_THE_VALUE, "answer through acc->value"),
        ("writes_wide", "4) = 1;", ONLY_THE_VALUE, "answer through acc->value"),
        ("forged_access", "kvm_bpf_set_irq(&forged", "STRUCT kvm_bpf_access", "very pointer"),
        ("sleeps", "kvm_bpf_set_uclamp(", "sleepable kfunc", "KVMBPF_READ_SLEEPABLE"),
    ],
)
def test_what_it_may_not_do_is_refused_with_line_sentence_and_mend(
    name: str, line: str, sentence: str, mend: str
) -> None:
    with BpfObject.open(device_object(name)) as loaded, pytest.raises(VerifierError) as caught:
        loaded.load()
    error = caught.value
    lines = (SOURCES / f"{name}.bpf.c").read_text().splitlines()
    (number,) = (index for index, text in enumerate(lines, 1) if line in text)
    assert f"{name}.bpf.c:{number}" in error.source
    assert sentence in error.sentence
    assert mend in error.mend
    assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["steered_v1", "sleepable"])
def test_what_it_may_do_is_loaded(name: str) -> None:
    with BpfObject.open(device_object(name)) as loaded:
        loaded.load()
        assert loaded.loaded
