# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf acpi``: devices as an ACPI table.

Reads object files only: no privilege, no libbpf, no QEMU. The table's source
text is what ACPICA's disassembler makes of it.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import click

from kvmbpf.cli.firmware import Request, asks
from kvmbpf.errors import UnsupportedError
from kvmbpf.model.firmware import to_ssdt
from kvmbpf.model.placement import PROFILES, Firmware
from kvmbpf.writing import write_own

_MACHINES = {
    name: profile for name, profile in PROFILES.items() if profile.firmware is Firmware.ACPI
}


@click.command(name="acpi")
@asks(_MACHINES, {".aml": "aml", ".dsl": "dsl"}, "Binary, or source text by way of iasl.")
def acpi_command(request: Request) -> None:
    """Print the ACPI table (SSDT) of the devices in FILE...

    \b
    A guest that is told of a device:
      kvmbpf acpi --machine q35 -o ssdt.aml mydev.bpf.o
      qemu-system-x86_64 -M q35 -acpitable file=ssdt.aml ...

    \b
    What the table says:
      kvmbpf acpi --at 0xfef00000 --gsi 5 --format dsl mydev.bpf.o

    `kvmbpf run` does the first by itself. A device is a PRP0001 there, so the
    guest's driver is the one that a device tree would bind.
    """  # noqa: D301 (\b is click's mark for text that is not to be wrapped)
    table = to_ssdt(request.place())
    request.emit(table if request.form == "aml" else _source(table), "dsl")


def _source(table: bytes) -> str:
    """Return a table's source text.

    :raise UnsupportedError: when there is no iasl, or it fails.
    """
    with tempfile.TemporaryDirectory(prefix="kvmbpf-") as folder:
        write_own(Path(folder) / "ssdt.aml", table)
        try:
            subprocess.run(["iasl", "-d", "ssdt.aml"], cwd=folder, capture_output=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise UnsupportedError(
                "iasl",
                found="nothing" if isinstance(error, OSError) else f"one that fails: {_why(error)}",
                needed="ACPICA's disassembler for --format dsl",
                mend="apt-get install acpica-tools",
            ) from error
        return (Path(folder) / "ssdt.dsl").read_text(encoding="ascii", errors="replace")


def _why(error: subprocess.CalledProcessError) -> str:
    """Return the last thing that a tool said, or else how it ended."""
    said: str = error.stderr.decode(errors="replace").strip()
    if error.returncode < 0 or not said:
        return str(error).rpartition("' ")[2].rstrip(".")
    return said.splitlines()[-1]
