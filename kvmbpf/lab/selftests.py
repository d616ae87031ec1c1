# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the series' own selftests for a lab kernel, and run them in one boot of it.

Their sources are in the kernel's tree, which is only read: what is needed of it is
copied beside it, where ``make headers`` and the selftests' own Makefile write.

    kernels/KEY/selftests/tree    the copy
    kernels/KEY/selftests/out     the programs, OUTPUT of their Makefile
    kernels/KEY/selftests/stamp   written last: what the programs were made of
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kvmbpf.errors import LabError, UnsupportedError
from kvmbpf.lab.boot import LabRun, allowance
from kvmbpf.lab.cache import build_lock, write_stamp
from kvmbpf.lab.kernel import LabKernel
from kvmbpf.lab.klog import kernel_complaints
from kvmbpf.lab.progress import Progress
from kvmbpf.lab.report import Report, read_report, tests_script
from kvmbpf.lab.tools import check_tools, tied

# Names a kernel tree whose selftests to take, where no option does.
SELFTESTS_VARIABLE = "KVMBPF_SELFTESTS"
# The longest that one program may run, in seconds; the debug kernel takes longer.
PROGRAM_TIMEOUT_S = 900.0
DEBUG_FACTOR = 3
# These make allocations fail, which the debug kernel can only.
_FAULT_INJECTORS = ("kvm_bpf_failnth_test",)

_KVM = Path("tools/testing/selftests/kvm")
_PROGRAMS = "x86_64/kvm_bpf_*_test"
# What make needs: of the kernel for its headers, of its tools for libbpf and bpftool.
_FILES = ("Makefile", "Kbuild", "tools/testing/selftests/*.mk", "tools/testing/selftests/*.h")
_FOLDERS = (
    *("arch/x86", "include", "scripts", "usr", "tools/arch", "tools/bpf", "tools/build"),
    *("tools/include", "tools/lib", "tools/scripts", "tools/testing/selftests/rseq", str(_KVM)),
)
_BUILT = shutil.ignore_patterns("*.o", "*.a", "*.cmd", "*.ko", "*.mod", "*.mod.c", "*.d")
# tool -> the Debian package that has it
_TOOLS = {"clang": "clang", "gcc": "gcc", "make": "make", "setpriv": "util-linux"}
# Not the kernels' own: nobody should have to wait for one to be built.
_LOCK = "selftests.lock"
# Not from the outside: of a build that this one may be part of.
_DROPPED = ("ARCH", "CROSS_COMPILE", "KBUILD_OUTPUT", "MAKEFLAGS", "MFLAGS", "O", "CC", "CFLAGS")


def build_selftests(
    kernel: LabKernel, *, tests_from: Path | None = None, progress: Progress | None = None
) -> list[Path]:
    """Return the selftests' programs for a kernel, building them unless the cache has them.

    :param tests_from: a kernel tree whose selftests to take; by default
        $KVMBPF_SELFTESTS, and without that the kernel's own.
    :raise UnsupportedError: when a tool is missing, or the kernel has no such tests.
    :raise LabError: when they do not build; names the log.
    """
    named = tests_from if tests_from is not None else os.environ.get(SELFTESTS_VARIABLE)
    source = Path(named) if named else kernel.build_tree
    _check(source)
    folder = kernel.folder / "selftests"
    digest = _digest(source / _KVM, kernel)
    told = progress if progress is not None else Progress()
    if _stamp(folder) != digest:
        with build_lock(lambda: told.step("waiting for another build to end"), _LOCK):
            if _stamp(folder) != digest:
                _build(kernel, source, folder, told)
                write_stamp(folder / "stamp", digest)
                told.done("the selftests are built")
    return sorted(path for path in (folder / "out").glob(_PROGRAMS) if path.is_file())


def run_selftests(
    kernel: LabKernel,
    programs: Sequence[Path],
    *,
    timeout_s: float = PROGRAM_TIMEOUT_S,
    cpus: int = 2,
) -> Report:
    """Run programs in one boot of the lab.

    :param timeout_s: the longest that each may run, in seconds; on the debug
        kernel DEBUG_FACTOR times that.
    :raise LabError: when the lab does not boot, or goes down; names the program
        that ran.
    """
    if kernel.debug:
        timeout_s *= DEBUG_FACTOR
    script = tests_script([str(program) for program in programs], timeout_s)
    limit = allowance(kernel.debug).boot_timeout_s + (timeout_s + 5) * len(programs)
    with (
        tempfile.TemporaryDirectory(prefix="kvmbpf-selftests-") as rw,
        tempfile.TemporaryFile() as out,
    ):
        run = LabRun(
            kernel,
            ["sh", "-c", script],
            rw=Path(rw),
            cwd=Path(rw),
            cpus=cpus,
            # as on hardware: these guests are small enough for the emulation of it
            nested_paging=True,
            stdout=out.fileno(),
        )
        try:
            with run:
                result = run.wait(limit)
        except LabError as error:
            ended = [one.name for one in read_report(_text(out.fileno())) if one.status is None]
            if not ended:
                raise
            raise LabError(f"in {ended[-1]}: {error.message}", error.console) from error
        text = _text(out.fileno())
    return Report(tuple(read_report(text)), tuple(kernel_complaints(result.dmesg)))


def choose(kernel: LabKernel, programs: Sequence[Path], names: Sequence[str] = ()) -> list[Path]:
    """Return the programs of these names; without names all that this kernel is for.

    :raise LabError: when there is none of a name; tells which there are.
    """
    left_out = () if kernel.debug else _FAULT_INJECTORS
    there = {path.name: path for path in programs if path.name not in left_out}
    for name in names:
        if name not in there:
            raise LabError(f"there is no selftest {name}; there are {', '.join(there)}")
    return [there[name] for name in names] if names else list(there.values())


def _check(source: Path) -> None:
    if not (source / _KVM / "bpf").is_dir():
        raise UnsupportedError(
            "selftests",
            found=f"none of the series in {source}",
            needed="a kernel with the whole series",
            mend=f"name a kernel tree that has them with {SELFTESTS_VARIABLE}",
        )
    check_tools(_TOOLS, "the selftests")


def _digest(tests: Path, kernel: LabKernel) -> str:
    """Return what identifies the programs: the tests' sources, and the kernel."""
    digest = hashlib.sha256(kernel.key.encode())
    ignored = _BUILT
    for place, folders, files in os.walk(tests):
        folders.sort()
        for name in sorted(set(files) - ignored(place, files)):
            path = Path(place) / name
            digest.update(f"{path.relative_to(tests)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _stamp(folder: Path) -> str:
    try:
        return (folder / "stamp").read_text(encoding="ascii")
    except OSError:
        return ""


def _build(kernel: LabKernel, source: Path, folder: Path, progress: Progress) -> None:
    """Copy and make; the caller holds the lock."""
    tree, out = folder / "tree", folder / "out"
    if folder.exists():
        shutil.rmtree(folder)
    progress.step("copying the selftests' sources")
    try:
        _copy(kernel.build_tree, tree)
        shutil.rmtree(tree / _KVM, ignore_errors=True)
        shutil.copytree(source / _KVM, tree / _KVM, symlinks=True, ignore=_BUILT)
        out.mkdir()
    except (OSError, shutil.Error) as error:
        raise LabError(f"{folder}: cannot copy the selftests' sources: {error}") from error
    progress.step("building the selftests")
    log = kernel.folder / "selftests.log"
    with log.open("wb") as stream:
        _make(tree, ["headers"], log, stream.fileno())
        _make(tree / _KVM, [f"OUTPUT={out}", "bpf_tests"], log, stream.fileno())


def _copy(source: Path, tree: Path) -> None:
    for name in _FOLDERS:
        if (source / name).is_dir():
            shutil.copytree(source / name, tree / name, symlinks=True, ignore=_BUILT)
    for pattern in _FILES:
        for path in source.glob(pattern):
            target = tree / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _make(folder: Path, arguments: list[str], log: Path, output: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    jobs = len(os.sched_getaffinity(0))
    done = subprocess.run(
        tied(["make", f"-j{jobs}", *arguments]),
        cwd=folder,
        env=environment | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"the selftests do not build (make {arguments[-1]}); log: {log}")


def _text(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(os.dup(fd), "rb") as stream:
        return stream.read().decode("utf-8", "replace")
