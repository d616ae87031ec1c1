# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/devices.md: its examples compile and do what it says; its lists are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmbpf.author.compile import HEADERS, compile_device
from kvmbpf.model.objfile import read_device
from kvmbpf.testing import Device
from tests.places import ROOT

PAGE = ROOT / "docs" / "devices.md"
TEXT = PAGE.read_text(encoding="utf-8")
SOURCES = {
    match[1]: source
    for source in re.findall(r"^```c\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    if (match := re.search(r"KVMBPF_DEVICE\((\w+)", source))
}
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", SOURCES)
def test_example_compiles_for_both(name: str, tmp_path: Path) -> None:
    source = tmp_path / f"{name}.bpf.c"
    source.write_text(SOURCES[name])
    output = compile_device(source, tmp_path / "out.o", warnings_are_errors=True)
    assert read_device(output).name == name
    with Device(source) as dev:
        dev.try_peek(0)


def test_every_c_block_is_a_device() -> None:
    assert TEXT.count("```c\n") == len(SOURCES) >= 5


def test_test_of_the_watchdog_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "watchdog.bpf.c").write_text(SOURCES["watchdog"])
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(PYTHON[0], found)  # noqa: S102 - our own documentation
    test = found["test_a_bark_comes_in_time"]
    assert callable(test)
    test()


def test_all_native_helpers_are_listed() -> None:
    header = (HEADERS / "kvmbpf_native.h").read_text(encoding="utf-8")
    defined = set(re.findall(r"^KVMBPF_NATIVE [\w ]*[ *](bpf_\w+)\(", header, re.MULTILINE))
    defined |= set(re.findall(r"^#define (bpf_\w+|BPF_\w+)\(", header, re.MULTILINE))
    start = TEXT.index("Helpers are:")
    listed = set(re.findall(r"`(\w+)`", TEXT[start : TEXT.index("Another helper,")]))
    assert listed == defined


def test_all_macros_and_functions_are_in_the_first_table() -> None:
    wanted: set[str] = set()
    for header in HEADERS.glob("kvmbpf_*.h"):
        if header.name in ("kvmbpf_kernel.h", "kvmbpf_native.h"):
            continue
        for comment in re.findall(r"/\*\n(.*?)\*/", header.read_text(), re.DOTALL):
            wanted |= set(re.findall(r"^ \* (?:and )?((?:kvmbpf|KVMBPF)_\w+)\(", comment, re.M))
    start = TEXT.index("## What there is")
    table = TEXT[start : TEXT.index("## The description")]
    regions = {name for name in wanted if name.startswith(("KVMBPF_MMIO", "KVMBPF_PIO"))}
    listed = set(re.findall(r"(?:kvmbpf|KVMBPF)_\w+", table))
    assert wanted - regions <= listed
    assert len(wanted) > 15
    assert regions <= set(re.findall(r"KVMBPF_\w+", TEXT))


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (PAGE.parent / target).exists(), target
