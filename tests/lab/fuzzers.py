# SPDX-License-Identifier: GPL-2.0-or-later
"""The fuzzer and the kill test: C programs, compiled on the host, used in the lab.

They are compiled with the headers of the lab's kernel where that says more than
the machine's: the tree's own are not meant for programs, so those that are
needed are put together here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from kvmbpf.author.compile import compile_device
from tests.lab.objects import OBJECTS_VARIABLE

# The tests that need them; for others they are not compiled.
FUZZER_TESTS = ("test_fuzz.py", "test_kill.py")
SOURCES = Path(__file__).parent / "fuzz"
SEED_VARIABLE = "KVMBPF_FUZZ_SEED"
SECONDS_VARIABLE = "KVMBPF_FUZZ_SECONDS"
ROUNDS_VARIABLE = "KVMBPF_KILL_ROUNDS"

_SHARED = ("setup.c", "objects.c", "guest.c", "report.c")
_PROGRAMS = {
    "fuzz": ("fuzz.c", "pool.c", "ops_vm.c", "ops_device.c", "ops_bpf.c", "ops_process.c"),
    "kill": ("kill.c", "kill_parties.c"),
}
_HEADERS = {
    "include/uapi/linux": ("kvm.h", "bpf.h", "bpf_common.h", "const.h", "bits.h"),
    "arch/x86/include/uapi/asm": ("kvm.h",),
}
# Written to the kernel's log, so that the console of a lab that died shows the seed.
_KMSG = Path("/dev/kmsg")


def compile_fuzzers(tree: Path, folder: Path) -> None:
    """Compile the programs and the devices that they work with.

    :param tree: the lab kernel's source.
    :param folder: where a folder `fuzz` is made for them.
    """
    place = folder / "fuzz"
    include = _make_headers(tree, place / "include")
    for name, sources in _PROGRAMS.items():
        _compile(name, (*sources, *_SHARED), include, place)
    (place / "devices").mkdir()
    for source in sorted((SOURCES / "progs").glob("*.bpf.c")):
        output = place / "devices" / source.with_suffix(".o").name
        compile_device(source, output, warnings_are_errors=True)


def _make_headers(tree: Path, include: Path) -> Path:
    for part, names in _HEADERS.items():
        place = include / Path(part).name
        place.mkdir(parents=True)
        for name in names:
            shutil.copy(tree / part / name, place / name)
    # The kernel's own, which its installed headers do without.
    (include / "linux" / "compiler.h").touch()
    return include


def _compile(name: str, sources: tuple[str, ...], include: Path, place: Path) -> None:
    command = ["gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += ["-D_GNU_SOURCE", "-D__user=", "-isystem", str(include)]
    command += [*(str(SOURCES / source) for source in sources), "-o", str(place / name), "-lbpf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_fuzzer(name: str, *arguments: str, target: str) -> None:
    """Inside the lab: run one of the programs, with a seed that is new or given.

    :param arguments: its options, less the seed.
    :param target: what it works with, in the folder of the devices.
    """
    place = Path(os.environ[OBJECTS_VARIABLE]) / "fuzz"
    seed = os.environ.get(SEED_VARIABLE) or hex(secrets.randbits(64))
    command = [str(place / name), "--seed", seed, *arguments, str(place / "devices" / target)]
    _KMSG.write_text(f"{SEED_VARIABLE}={seed} for {name}\n", encoding="ascii")
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, f"{name} ended with {done.returncode}; {SEED_VARIABLE}={seed}"
