# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf dt`` and ``kvmbpf acpi``, each as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.model.firmware import Base, to_dtb, to_dts, to_ssdt
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from tests.places import ROOT
from tests.unit.author.test_compile import build
from tests.unit.model.trees import compiled, warnings

AT = 0x0C000000
HERE = ("--at", hex(AT), "--gsi", "112")


def kvmbpf(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "PATH": path} if path is not None else None,
    )


def output(*arguments: str | Path) -> bytes:
    done = kvmbpf(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def refusal(*arguments: str | Path, path: str | None = None) -> tuple[int, str]:
    """Return the exit code and the last line of a command that fails."""
    done = kvmbpf(*arguments, path=path)
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stderr.decode().splitlines()[-1]


@pytest.fixture
def placed(demo_v1: Path) -> Placed:
    return Placed(read_device(demo_v1), (AT,), (112,))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "virt.dtb"
    path.write_bytes(
        compiled(
            "/ { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;"
            ' gic: intc@8000000 { compatible = "arm,gic-v3"; reg = <0 0x8000000 0 0x1000>;'
            " interrupt-controller; #interrupt-cells = <3>; };"
            ' bus: platform-bus@c000000 { compatible = "simple-bus"; #address-cells = <1>;'
            " #size-cells = <1>; ranges = <0 0 0xc000000 0x2000000>; }; };"
        )
    )
    return path


def test_dts_is_what_one_gets(demo_v1: Path, placed: Placed) -> None:
    text = output("dt", *HERE, demo_v1)
    assert text.decode() == to_dts([placed])
    assert output("dt", *HERE, "--format", "dts", demo_v1) == text


def test_dtb_on_a_pipe_and_in_a_file(demo_v1: Path, placed: Placed, tmp_path: Path) -> None:
    blob = to_dtb([placed])
    assert output("dt", *HERE, "--format", "dtb", demo_v1) == blob
    for name, how, content in (
        ("a.dtb", (), blob),
        ("a.dts", (), to_dts([placed]).encode()),
        ("b", ("--format", "dtb"), blob),
        ("c", (), to_dts([placed]).encode()),
        ("d.dtb", ("--format", "dts"), to_dts([placed]).encode()),
    ):
        assert output("dt", *HERE, *how, demo_v1, "-o", tmp_path / name) == b""
        assert (tmp_path / name).read_bytes() == content


def test_into_a_base(demo_v1: Path, placed: Placed, base: Path) -> None:
    for how, options in (
        (Base(base.read_bytes(), str(base)), ()),
        (Base(base.read_bytes(), str(base), "bus"), ("--parent", "bus")),
        (
            Base(base.read_bytes(), str(base), None, "gic"),
            ("--interrupt-parent", "/intc@8000000"),
        ),
    ):
        blob = output("dt", *HERE, "--base", base, *options, "--format", "dtb", demo_v1)
        assert blob == to_dtb([placed], how)
        assert b"interrupts" in blob
        assert warnings(blob) <= warnings(base.read_bytes())
    text = output("dt", *HERE, "--base", base, demo_v1).decode()
    assert text.index("platform-bus@c000000 {") < text.index("demo@0 {")
    by_machine = output("dt", "--machine", "virt", "--base", base, "--format", "dtb", demo_v1)
    assert by_machine == to_dtb([placed], Base(base.read_bytes(), str(base)))


PROPERTIES = r"""#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(uart, .compatible = "acme,uart\0" "ns16550a", .regions = { KVMBPF_MMIO(0x1000) },
    .irqs = 2, .level_irqs = 2);
KVMBPF_PROPERTY("clock-frequency", "<1843200>");
KVMBPF_PROPERTY("acme,names", "\"a\", \"b\"");
KVMBPF_PROPERTY("acme,on", "");
%s
KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = 0; return 0; }
KVMBPF_WRITE(struct kvmbpf_access *acc) { (void)acc; return KVMBPF_DECLINE; }
"""


def test_what_the_source_says_is_what_the_guest_is_told(tmp_path: Path, base: Path) -> None:
    device = build(tmp_path, PROPERTIES % "")
    here = (*HERE, "--gsi", "113")
    text = " ".join(output("dt", *here, "--base", base, device).decode().split())
    assert (
        'uart@0 { compatible = "acme,uart", "ns16550a"; reg = <0 0x1000>; '
        "interrupts = <0 0x70 1 0 0x71 4>; clock-frequency = <0x1c2000>; "
        'acme,names = "a", "b"; acme,on; };'
    ) in text
    text = " ".join(output("acpi", *here, "--format", "dsl", device).decode().split())
    assert '"compatible", Package (0x02) { "acme,uart", "ns16550a" }' in text
    assert '"acme,names", Package (0x02) { "a", "b" }' in text

    device = build(tmp_path, PROPERTIES % 'KVMBPF_PROPERTY("acme,peer", "<&gic>");')
    blob = output("dt", *here, "--base", base, "--format", "dtb", device)
    assert warnings(blob) <= warnings(base.read_bytes())
    assert refusal("dt", *here, device) == (
        17,
        "kvmbpf: device uart: property acme,peer: &gic has no tree to be in; "
        "merge the device into a base (--base)",
    )
    code, line = refusal("acpi", *here, device)
    assert (code, "property acme,peer in ACPI: found a reference, &gic" in line) == (12, True)


def test_several_devices_are_counted_through(demo_v1: Path, demo_v2: Path) -> None:
    at = ("--at", "0xfef00000", "--at", "0xfef10000", "--gsi", "5", "--gsi", "6")
    text = output("dt", *at, demo_v1, demo_v2).decode()
    assert "demo@fef00000 {" in text
    assert "demo@fef10000 {" in text
    by_machine = output("dt", "--machine", "q35", demo_v1, demo_v2).decode()
    assert "demo@fef01000 {" in by_machine


def test_aml_and_its_text(demo_v1: Path, placed: Placed, tmp_path: Path) -> None:
    table = to_ssdt([placed])
    assert output("acpi", *HERE, demo_v1) == table
    assert output("acpi", *HERE, demo_v1, "-o", tmp_path / "a.aml") == b""
    assert (tmp_path / "a.aml").read_bytes() == table
    text = output("acpi", *HERE, "--format", "dsl", demo_v1).decode()
    assert 'Name (_HID, "PRP0001")' in text
    output("acpi", *HERE, demo_v1, "-o", tmp_path / "a.dsl")
    subprocess.run(["iasl", "a.dsl"], cwd=tmp_path, capture_output=True, check=True)


def test_q35_is_a_machine_of_acpis(demo_v1: Path) -> None:
    assert b"\x00\x00\xf0\xfe" in output("acpi", "--machine", "q35", demo_v1)
    code, line = refusal("acpi", "--machine", "microvm", demo_v1)
    assert (code, "'microvm' is not" in line) == (2, True)


@pytest.mark.parametrize("command", ["dt", "acpi"])
def test_binary_is_not_for_a_terminal(command: str, demo_v1: Path) -> None:
    controller, terminal = pty.openpty()
    form = {"dt": "dtb", "acpi": "aml"}[command]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kvmbpf", command, *HERE, "--format", form, str(demo_v1)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    text = {"dt": "dts", "acpi": "dsl"}[command]
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == (
        f"Error: this is a terminal, and the output is binary: add -o FILE, or --format {text}"
    )


@pytest.mark.parametrize("command", ["dt", "acpi"])
@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        ((), 2, "where is demo? give --machine, or --at for each of its 1 regions"),
        (
            ("--at", "0"),
            2,
            "where are demo's interrupts? give --machine, or --gsi for each of its 1 irqs",
        ),
        ((*HERE, "--at", "0x1000"), 2, "more --at or --gsi than the devices have regions or irqs"),
        ((*HERE, "--gsi", "1"), 2, "more --at or --gsi than the devices have regions or irqs"),
        (("--at", "x", "--gsi", "1"), 2, "'x' is not a number; write 0xfef00000 or the like"),
        (("--at", "-1", "--gsi", "1"), 2, "'-1' is negative"),
        (("--at", "0x1001", "--gsi", "1"), 17, "address 0x1001 is not aligned to 0x1000"),
        (
            (*HERE, "-o", "/nowhere/x"),
            15,
            "/nowhere/x: cannot be written: No such file or directory",
        ),
        (("--machine", "isapc"), 2, "'isapc' is not"),
    ],
)
def test_what_is_refused(
    command: str, options: tuple[str, ...], code: int, line: str, demo_v1: Path
) -> None:
    found = refusal(command, *options, demo_v1)
    assert found[0] == code
    assert line in found[1]


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--parent", "/soc"), 2, "--parent and --interrupt-parent are nodes of --base"),
        (("--interrupt-parent", "gic"), 2, "--parent and --interrupt-parent are nodes of --base"),
        (("--base", "/nowhere"), 15, "/nowhere: cannot be read: No such file or directory"),
        (("--base", "README.md"), 15, "README.md: begins with [23 20 6b 76], expected a DTB"),
    ],
)
def test_what_dt_refuses(options: tuple[str, ...], code: int, line: str, demo_v1: Path) -> None:
    found = refusal("dt", *HERE, *options, demo_v1)
    assert found[0] == code
    assert line in found[1]


def test_a_node_that_is_not_in_the_base(demo_v1: Path, base: Path) -> None:
    for option, line in (("--parent", "no node /soc"), ("--interrupt-parent", "no node /soc")):
        code, said = refusal("dt", *HERE, "--base", base, option, "/soc", demo_v1)
        assert (code, said) == (17, f"kvmbpf: {base}: {line}")


@pytest.mark.parametrize("command", ["dt", "acpi"])
def test_what_is_no_device(command: str, tmp_path: Path) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(b"nothing")
    assert refusal(command, *HERE, path)[0] == 15
    code, line = refusal(command)
    assert (code, "Missing argument 'FILE...'" in line) == (2, True)


def test_without_iasl(demo_v1: Path, tmp_path: Path) -> None:
    code, line = refusal("acpi", *HERE, "--format", "dsl", demo_v1, path=str(tmp_path))
    assert (code, line) == (
        12,
        "kvmbpf: iasl: found nothing, needed ACPICA's disassembler for --format dsl; "
        "apt-get install acpica-tools",
    )


@pytest.mark.parametrize("command", ["dt", "acpi"])
def test_help_has_an_example(command: str) -> None:
    text = output(command, "--help").decode()
    assert f"kvmbpf {command} --machine" in text
    assert "--at, --gpa ADDRESS" in text


def test_a_level_irq_on_microvm_is_told_what_qemu_has_to_be_told(
    demo_v1: Path, tmp_path: Path
) -> None:
    level = tmp_path / "lvl.bpf.o"
    compile_device(ROOT / "tests/lab/progs/lvl.bpf.c", level)
    done = kvmbpf("dt", "--machine", "microvm", level, demo_v1)
    assert done.returncode == 0
    assert done.stderr.decode() == (
        "kvmbpf: note: level-triggered irq 0 of device lvl: start QEMU with "
        "-M microvm,kernel-irqchip=on; by default microvm has its IO-APIC in QEMU, and the "
        "device is refused\n"
    )
    assert b"acme,lvl" in output("dt", "--machine", "q35", level)
