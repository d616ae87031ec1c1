# SPDX-License-Identifier: GPL-2.0-or-later
"""What libbpf does by itself at a load: pins, the kernel's configuration, its own log.

It looks in fixed places of the host, so each test has a host of its own: a process in a
mount namespace, where /boot and bpffs are the test's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT

from .conftest import Compile

pytestmark = pytest.mark.bpf

CONFIG_GZ = Path("/proc/config.gz")
BOOT = Path(f"/boot/config-{os.uname().release}")

LOAD = """
import json, struct, sys
from kvmbpf.errors import KvmBpfError
from kvmbpf.kernel.libbpf import BpfObject

with BpfObject.open(sys.argv[1]) as obj:
    try:
        obj.load()
        run = obj.program("read_it").test_run(bytes(16))
        print(json.dumps({"value": struct.unpack("=QQ", run.context)[1]}))
    except KvmBpfError as error:
        print(json.dumps({"error": str(error), "code": error.exit_code}))
"""

SHARE = """
import json, pathlib, sys
from kvmbpf.kernel.libbpf import BpfObject

with BpfObject.open(sys.argv[1]) as one, BpfObject.open(sys.argv[1]) as other:
    one.load()
    other.load()
    ids = [obj.map("kvmbpf_test_shared").id for obj in (one, other)]
    left = [path.name for path in pathlib.Path("/sys/fs/bpf").glob("kvmbpf*")]
    print(json.dumps({"maps": len(set(ids)), "left": left}))
"""


def on_a_host(mounts: list[str], code: str, path: Path, **variables: str) -> dict[str, Any]:
    """Run code in a mount namespace; nothing may be said beside what it prints."""
    inside = ["unshare", "-m", "sh", "-ec", f'{"; ".join(mounts)}; exec "$@"', "sh"]
    done = subprocess.run(
        [*inside, sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | variables,
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def configured(folder: Path, text: str | None) -> list[str]:
    """Return the mounts of a host whose kernel has this configuration, or shows none."""
    mounts = ["mount -t tmpfs tmpfs /boot"]
    if text is not None:
        (folder / "config").write_text(text)
        mounts += [f"touch {BOOT}", f"mount --bind {folder / 'config'} {BOOT}"]
    elif CONFIG_GZ.exists():
        # A socket cannot be opened: as near to no file as a mount can bring it.
        with socket.socket(socket.AF_UNIX) as nothing:
            nothing.bind(str(folder / "s"))
        mounts.append(f"mount --bind {folder / 's'} {CONFIG_GZ}")
    return mounts


def load(build: Compile, folder: Path, config: str | None, *defines: str) -> dict[str, Any]:
    return on_a_host(configured(folder, config), LOAD, build("options", *defines))


HZ = ("OPTION=CONFIG_HZ", "TYPE=unsigned")


def test_a_map_that_asks_for_a_pin_is_its_objects_own(build: Compile) -> None:
    found = on_a_host(["mount -t bpf bpf /sys/fs/bpf"], SHARE, build("pinned"))
    assert found == {"maps": 2, "left": []}


def test_an_option_is_read_from_the_hosts_file(build: Compile, tmp_path: Path) -> None:
    assert load(build, tmp_path, "CONFIG_HZ=123\n", *HZ) == {"value": 123}
    assert load(build, tmp_path, "", *HZ, "WEAK") == {"value": 0}


def test_the_kernels_version_needs_no_file(build: Compile, tmp_path: Path) -> None:
    found = load(build, tmp_path, None, "OPTION=LINUX_KERNEL_VERSION", "TYPE=unsigned")
    release = os.uname().release.split("-")[0].split(".")
    assert found["value"] >> 8 == int(release[0]) << 8 | int(release[1])


@pytest.mark.parametrize("more", [(), ("WEAK",)])
def test_without_the_file_the_option_and_both_places_are_named(
    build: Compile, tmp_path: Path, more: tuple[str, ...]
) -> None:
    found = load(build, tmp_path, None, *HZ, *more)
    assert found["code"] == 12
    assert found["error"].startswith("CONFIG_HZ is not known: found ")
    assert str(BOOT) in found["error"]
    assert str(CONFIG_GZ) in found["error"]
    assert f"put the configuration of kernel {os.uname().release} where" in found["error"]
    assert "\n" not in found["error"]


@pytest.mark.parametrize(
    ("config", "defines", "code", "sentence"),
    [
        ("", HZ, 12, "CONFIG_HZ: found a kernel whose configuration does not set it"),
        ("CONFIG_HZ=y\n", HZ, 15, "CONFIG_HZ is declared as another type than it has"),
        ("CONFIG_HZ=99999\n", (HZ[0], "TYPE=char"), 15, "value '99999' doesn't fit in 1 bytes"),
        ("", ("OPTION=HZ", "TYPE=unsigned"), 15, "HZ in .kconfig is no option of the kernel's"),
        ("", ("OPTION=LINUX_HZ", "TYPE=unsigned"), 15, "LINUX_HZ in .kconfig is no option"),
    ],
)
def test_an_option_that_is_not_there_or_is_another_is_named(
    build: Compile, tmp_path: Path, config: str, defines: tuple[str, ...], code: int, sentence: str
) -> None:
    found = load(build, tmp_path, config, *defines)
    assert (found["code"], "\n" in found["error"]) == (code, False)
    assert sentence in found["error"]


def test_libbpf_says_nothing_by_itself(build: Compile, tmp_path: Path) -> None:
    """Whatever the variable of its own says that it should."""
    path = build("options", *HZ)
    mounts = configured(tmp_path, "CONFIG_HZ=100\n")
    assert on_a_host(mounts, LOAD, path, LIBBPF_LOG_LEVEL="debug") == {"value": 100}


def test_a_token_that_is_not_there_is_named(build: Compile, tmp_path: Path) -> None:
    path = build("options", *HZ)
    mounts = configured(tmp_path, "CONFIG_HZ=100\n")
    found = on_a_host(mounts, LOAD, path, LIBBPF_BPF_TOKEN_PATH=str(tmp_path / "absent"))
    assert found["code"] == 10
    assert str(tmp_path / "absent") in found["error"]


def test_a_symbol_that_the_kernel_has_not_is_named_or_0(build: Compile) -> None:
    found = on_a_host(["true"], LOAD, build("symbol"))
    assert found["code"] == 12
    assert found["error"].startswith("kernel symbol kvmbpf_no_such_symbol: found a kernel without")
    assert on_a_host(["true"], LOAD, build("symbol", "WEAK")) == {"value": 0}
