# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest driver's source, by the kernel's own measures: style, warnings, documented files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kvmbpf.demo.debian import fetch_debian_kernel
from kvmbpf.demo.guest_files import build_module
from kvmbpf.errors import UnsupportedError
from kvmbpf.lab import LabKernel, ensure_kernel
from tests.places import ROOT

pytestmark = pytest.mark.on_host

DRIVER = ROOT / "guest_driver" / "kvmbpf_demo"
ABI = "sysfs-driver-kvmbpf-demo"


@pytest.fixture(scope="module")
def kernel() -> LabKernel:
    return ensure_kernel()


def test_checkpatch_has_nothing_to_say(kernel: LabKernel) -> None:
    files = [path for path in sorted(DRIVER.iterdir()) if path.suffix in (".c", ".h")]
    done = subprocess.run(
        ["perl", "scripts/checkpatch.pl", "--strict", "--no-tree", "--quiet", "-f", *files],
        cwd=kernel.build_tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
    assert len(files) == 13


def test_the_compiler_warns_of_nothing_for_the_labs_kernel(
    kernel: LabKernel, tmp_path: Path
) -> None:
    assert build_module(kernel.build_tree, tmp_path, warnings_are_errors=True).is_file()


def test_the_compiler_warns_of_nothing_for_debians_kernel(tmp_path: Path) -> None:
    try:
        tree = fetch_debian_kernel().build_tree
    except UnsupportedError as error:  # no Debian; KVMBPF_REQUIRE=1 makes it a failure
        pytest.skip(str(error))
    assert build_module(tree, tmp_path, warnings_are_errors=True).is_file()


def test_each_file_in_sysfs_is_documented(kernel: LabKernel, tmp_path: Path) -> None:
    folder = tmp_path / "testing"
    folder.mkdir()
    (folder / ABI).write_bytes((DRIVER / ABI).read_bytes())
    done = subprocess.run(
        ["perl", "scripts/get_abi.pl", "--dir", str(tmp_path), "validate"],
        cwd=kernel.build_tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)

    told = re.findall(r"^What:.*/<device>/(\S+)$", (DRIVER / ABI).read_text(), re.MULTILINE)
    assert sorted(told) == sorted(made_files())


def made_files() -> list[str]:
    """Return the files that the driver's attribute groups make."""
    found = []
    for path in DRIVER.glob("*.c"):
        text = path.read_text()
        folder = re.search(r'\.name = "(\w+)",\n\s+\.attrs', text)
        names = re.findall(r"&dev_attr_(\w+)\.attr", text)
        found += [f"{folder[1]}/{name}" if folder else name for name in names]
    return found
