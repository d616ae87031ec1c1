# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM is called, what its folders are called, and how a name is shown.

QEMU takes any text for a guest's name; only a NUL cannot be said. A folder in bpffs
takes no dot, nothing longer than 255 bytes, and, as any folder, no slash. So a VM's
folder, its *home*, has the VM's name where that is plain, and else a name made of it,
which no plain name can be. Two VMs of one name have two homes: the second one's ends
with its process.

    web1                    web1
    my vm.1                 my%20vm%2E1
    (300 characters)        (its first characters)~x(32 digits of its SHA-256)
    web1, a second one      web1~4242

A name comes from a command line or from /proc, where it is bytes: what is no UTF-8 in
it is kept as Python does it ("surrogateescape"), and so it is in JSON.
"""

from __future__ import annotations

import hashlib
import os
import re

from kvmbpf.errors import StateError

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_HOME = re.compile(r"(?!-)(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+(?:~x[0-9a-f]{32})?(?:~[0-9]+)?")
_SAFE = re.compile(rb"[A-Za-z0-9_-]")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_LONGEST = 160  # of what is made of a name; a lock's ending and a process come behind it
_BEGINNING = 40
# What a shell takes as it is. Letters are those of all languages.
_WORD = re.compile(r"[\w@%+=:,./-]+")


def check_vm_name(name: str) -> str:
    """Return a VM's name.

    :raise StateError: when it is none: empty.
    """
    if not name:
        raise StateError("VM name '': a name has at least one character")
    if "\0" in name:
        raise StateError("VM name with a NUL in it: QEMU takes none")
    return name


def home_of(name: str, pid: int | None = None) -> str:
    """Return the name of a VM's folders.

    :param pid: of its VMM (C ``pid_t``), for the second VM of a name; None for the first.
    """
    second = "" if pid is None else f"~{pid}"
    if _PLAIN.fullmatch(name):
        return name + second
    raw = _raw(name)
    made = "".join(
        chr(byte) if _SAFE.match(bytes([byte])) and (byte != ord("-") or index) else f"%{byte:02X}"
        for index, byte in enumerate(raw)
    )
    if len(made) > _LONGEST:
        beginning = re.sub(r"%[0-9A-F]?$", "", made[:_BEGINNING])
        made = f"{beginning}~x{hashlib.sha256(raw).hexdigest()[:32]}"
    return made + second


def is_home(name: str) -> bool:
    """Tell whether a folder's name is one that `home_of` gives."""
    return _HOME.fullmatch(name) is not None


def name_of_home(home: str) -> str | None:
    """Return the name that a VM's folder was named after; None when that was too long."""
    made, *rest = home.split("~")
    if any(part.startswith("x") for part in rest):
        return None
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), made.encode())
    return raw.decode(errors="surrogateescape")


def shown(name: str) -> str:
    """Return a text for a terminal: as a shell takes it, and nothing in it does anything.

    A word is shown as it is, other text in quotes, and where it holds what does not
    print, or no UTF-8, as ``$'...'`` with these bytes in hexadecimal.
    """
    if _WORD.fullmatch(name) and name.isprintable():
        return name
    if name.isprintable() and "'" not in name:
        return f"'{name}'"
    return f"$'{''.join(map(_quoted, name))}'"


def printable(text: str) -> str:
    r"""Return a text for a terminal, with ``\x..`` for what does not print."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _hex(c) for c in text)


def as_said(name: str) -> str:
    """Return a name of the command line as /proc has it: UTF-8, whatever the locale is."""
    return os.fsencode(name).decode(errors="surrogateescape")


def _quoted(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    return character if character.isprintable() else _hex(character)


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in _raw(character))


def _raw(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, in a file made by hand
        return text.encode(errors="surrogatepass")
