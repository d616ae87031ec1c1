# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

    python ci/lowest.py [--only] [EXTRA...]

One line a package that kvmbpf depends on, or one of the extras; with --only the
extras' alone. Where several lists name a package, the highest bound counts. One
without a bound is an error: it would be tested with the newest version only.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

_PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<version>[0-9.]+)")
_OWN_EXTRAS = re.compile(r"kvmbpf\[(?P<extras>[^]]+)\]")


def requirements(extras: list[str], project: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    """Yield what extras ask for; one may name others of this project."""
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            if found := _OWN_EXTRAS.fullmatch(line):
                yield from requirements(found["extras"].split(","), project)
            else:
                yield line


def _key(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def main(arguments: list[str]) -> None:
    """Print the constraints."""
    project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
    own = [] if "--only" in arguments else project["dependencies"]
    extras = [argument for argument in arguments if argument != "--only"]
    lowest: dict[str, str] = {}
    for line in [*own, *requirements(extras, project)]:
        found = _BOUND.fullmatch(line)
        if found is None:
            sys.exit(f"{_PYPROJECT}: {line}: no lower bound; write NAME>=VERSION")
        name, version = found["name"], found["version"]
        lowest[name] = max(lowest.get(name, version), version, key=_key)
    for name, version in lowest.items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main(sys.argv[1:])
