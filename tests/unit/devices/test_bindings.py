# SPDX-License-Identifier: GPL-2.0-or-later
"""bindings/: sound schemas, and the nodes of the devices that ship are as they say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.author.compile import SHIPPED, compile_shipped
from kvmbpf.model.firmware import Base, to_dtb
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec
from tests.places import ROOT
from tests.unit.model.trees import compiled

BINDINGS = ROOT / "bindings"
SOURCES = sorted(
    path.relative_to(SHIPPED).as_posix().removesuffix(".bpf.c")
    for path in SHIPPED.glob("*/*.bpf.c")
)
MACHINE = """/ {
	model = "a test"; compatible = "acme,machine";
	#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
	gic: interrupt-controller@8000000 {
		compatible = "arm,gic-v3"; reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0xf60000>;
		interrupt-controller; #interrupt-cells = <3>;
	};
};"""


def tool(name: str, *arguments: str | Path) -> str:
    """Run one of dtschema's commands and return what it has to say."""
    done = subprocess.run(
        [Path(sys.executable).parent / name, *arguments],
        cwd=BINDINGS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return all schemas, dtschema's and ours, read once."""
    path = tmp_path_factory.mktemp("schemas") / "schemas.json"
    assert tool("dt-mk-schema", "-j", "-o", path, BINDINGS) == ""
    return path


def place_freely(spec: DeviceSpec) -> Placed:
    regions = tuple(0xC000000 + region.index * 0x100000 for region in spec.regions)
    if any(region.bus is Bus.PIO for region in spec.regions):
        regions = tuple(0xD00 + region.index * 0x10 for region in spec.regions)
    return Placed(spec, regions, tuple(112 + irq.index for irq in spec.irqs))


def verdict(spec: DeviceSpec, schemas: Path, folder: Path) -> str:
    """Return what dt-validate says against a device's node, unknown compatibles included."""
    tree = folder / "tree.dtb"
    tree.write_bytes(to_dtb([place_freely(spec)], Base(compiled(MACHINE), "machine")))
    lines = tool("dt-validate", "-m", "-s", schemas, tree).splitlines()
    other = ("acme,machine", "arm,gic-v3")
    said = [line for line in lines if not any(name in line for name in other)]
    return "\n".join(said).replace(f"{tree}: ", "")


@pytest.mark.parametrize("path", sorted(BINDINGS.glob("*.yaml")), ids=lambda path: path.name)
def test_a_schema_is_sound(path: Path) -> None:
    assert tool("dt-doc-validate", "-n", path) == ""


def test_an_unsound_schema_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "bindings"
    folder.mkdir()
    text = (BINDINGS / "kvmbpf,demo.yaml").read_text(encoding="utf-8")
    (folder / "kvmbpf,demo.yaml").write_text(text.replace("maxItems: 1", "maxItem: 1", 1))
    assert "maxItem" in tool("dt-doc-validate", folder / "kvmbpf,demo.yaml")


@pytest.mark.parametrize("source", SOURCES)
def test_what_ships_has_a_schema_and_keeps_to_it(
    source: str, schemas: Path, tmp_path: Path
) -> None:
    spec = read_device(compile_shipped(source, tmp_path))
    assert (BINDINGS / f"{spec.compatible[0]}.yaml").exists()
    assert verdict(spec, schemas, tmp_path) == ""


def test_a_node_that_does_not_keep_to_it(shipped_demo: Path, schemas: Path, tmp_path: Path) -> None:
    spec = read_device(shipped_demo)
    for wrong, reason in (
        (replace(spec, properties=(PropertySpec("acme,speed", "<1>"),)), "'acme,speed'"),
        (
            replace(spec, regions=(spec.regions[0], replace(spec.regions[0], index=1))),
            "reg: ",
        ),
        (replace(spec, irqs=(IrqSpec(0),)), "interrupts: "),
    ):
        said = verdict(wrong, schemas, tmp_path)
        assert "demo@c000000 (kvmbpf,demo)" in said
        assert reason in said
    unknown = replace(spec, compatible=("kvmbpf,nothing",))
    assert "failed to match any schema with compatible: ['kvmbpf,nothing']" in verdict(
        unknown, schemas, tmp_path
    )


def test_a_fragment_is_sound_but_for_its_root(demo_v1: Path, schemas: Path, tmp_path: Path) -> None:
    """It is no machine's tree, so its root has no model and no compatible."""
    tree = tmp_path / "fragment.dtb"
    tree.write_bytes(to_dtb([Placed(read_device(demo_v1), (0xFEF00000,), (5,))]))
    said = tool("dt-validate", "-m", "-s", schemas, tree).splitlines()
    assert [line for line in said if "root-node.yaml" not in line] == [
        f"{tree}: /: '{name}' is a required property" for name in ("compatible", "model")
    ]
