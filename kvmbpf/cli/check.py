# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf check``: say what is wrong with device objects before they are loaded.

Reads the files only: no privilege, no kernel, nothing loaded. Whether libbpf opens
them a child of this process finds out.
"""

from __future__ import annotations

import json
import os

import click

from kvmbpf.author.opening import check_object
from kvmbpf.errors import BadFileError
from kvmbpf.model.check import Finding, Severity, to_json
from kvmbpf.model.check.finding import count

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--strict", is_flag=True, help="Take a warning for an error.")
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...], as_json: bool, strict: bool) -> None:
    """Say what is wrong with the device objects FILE.

    An error keeps a device from being loaded or attached, a warning is most
    likely not what is meant, a note is good to know. The exit status is 15 when
    there is an error, or with --strict a warning, and else 0.
    """
    found = {file: check_object(file) for file in files}
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
    else:
        colour = False if os.environ.get("NO_COLOR") else None
        for file, findings in found.items():
            for finding in findings:
                click.echo(_line(file, finding), color=colour)
            click.echo(f"{file}: {_summary(findings)}")
    fatal = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    if any(finding.severity in fatal for findings in found.values() for finding in findings):
        ctx.exit(BadFileError.exit_code)


def _line(file: str, finding: Finding) -> str:
    severity = click.style(finding.severity.value, fg=_COLOURS[finding.severity])
    return f"{file}: {finding.where}: {severity}: {finding.sentence}; {finding.mend}"


def _summary(findings: list[Finding]) -> str:
    parts = []
    for severity in Severity:
        number = count(findings, severity)
        if number:
            parts.append(f"{number} {severity.value}{'' if number == 1 else 's'}")
    return ", ".join(parts) or "nothing found"
