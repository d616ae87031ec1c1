# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel series: the patches, the source they apply to, and the configuration.

A folder such as ``kernel_patches/v6.12`` says all of it: ``series.toml`` names
the kernel source package, the patches in their order, and the fragments with the
options that the lab's kernel has on top of ``tinyconfig``: those of every kernel,
and those that the debug kernel lays over them.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import BadFileError, UnsupportedError

# git format-patch numbers it as a patch; it changes nothing.
COVER_LETTER = "0000-cover-letter.patch"
DEFAULT_VERSION = "v6.12"


@dataclass(frozen=True)
class Series:
    """One kernel series, read from its folder.

    :param folder: where it lies.
    :param source: the source package's name, as in ``linux-source-6.12``.
    :param patches: the patches, in the order in which they apply.
    :param fragments: the configuration's fragments, the later ones over the earlier.
    :param debug_fragments: what the debug kernel lays over those.
    """

    folder: Path
    source: str
    patches: tuple[Path, ...]
    fragments: tuple[Path, ...]
    debug_fragments: tuple[Path, ...]

    @property
    def version(self) -> str:
        """The kernel's version and patch level, as in ``6.12``: the package's name ends so."""
        return self.source.rpartition("-")[2]

    def configuration(self, debug: bool) -> tuple[Path, ...]:
        """Return the fragments of the plain or the debug kernel, in their order."""
        return self.fragments + self.debug_fragments if debug else self.fragments

    def patches_digest(self) -> str:
        """Return a hash (hexadecimal SHA-256) of the patches and their order."""
        digest = hashlib.sha256()
        for patch in self.patches:
            data = patch.read_bytes()
            digest.update(f"{patch.name} {len(data)}\n".encode())
            digest.update(data)
        return digest.hexdigest()


def default_series_folder() -> Path:
    """Return the folder of the series that kvmbpf carries: the checkout's, or the wheel's copy.

    :raise UnsupportedError: when it was installed without.
    """
    folder = (Path(__file__).resolve().parent / "patches" / DEFAULT_VERSION).resolve()
    if not folder.is_dir():
        raise UnsupportedError(
            "kernel series",
            found=f"no {folder}",
            needed="the series, which a checkout and a wheel of kvmbpf carry",
            mend="install with `pip install .` from a checkout",
        )
    return folder


def load_series(folder: str | os.PathLike[str] | None = None) -> Series:
    """Read a series from its folder, by default the one that kvmbpf carries.

    :raise BadFileError: when a file is missing, or is not what it should be.
    :raise UnsupportedError: when the default one is not there.
    """
    place = Path(folder) if folder is not None else default_series_folder()
    toml = place / "series.toml"
    try:
        data = tomllib.loads(toml.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFileError(toml, f"not readable ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFileError(toml, f"not TOML: {error}") from error
    source = data.get("source")
    if not isinstance(source, str) or not source or "/" in source:
        raise BadFileError(toml, '`source` must name a package, as in "linux-source-6.12"')
    patches, fragments, debug_fragments = (
        _listed(toml, data, key) for key in ("patches", "fragments", "debug_fragments")
    )
    there = set(place.glob("*.patch")) - {place / COVER_LETTER}
    unlisted = sorted(p.name for p in there if p not in patches)
    if unlisted:
        raise BadFileError(toml, f"`patches` does not list {unlisted[0]}, which lies beside it")
    return Series(place, source, patches, fragments, debug_fragments)


def _listed(toml: Path, data: dict[str, object], key: str) -> tuple[Path, ...]:
    """Return the files that one of the lists names, which must lie beside it."""
    names = data.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadFileError(toml, f"`{key}` must be a list of file names")
    paths = tuple(toml.parent / name for name in names)
    for path in paths:
        if not path.is_file():
            raise BadFileError(path, f"missing, but {toml.name} needs it")
    return paths
