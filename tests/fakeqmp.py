# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer on a UNIX socket that does what no QEMU does: python fakeqmp.py MODE SOCKET.

SOCKET is a path, or @ and an abstract name. It says `ready` when it listens. `MODES` is
what it does with each client; then it is silent until that one goes, or closes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable

VERSION = {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}
GREETING = {"QMP": {"version": VERSION, "capabilities": ["oob"]}}
EVENT = {"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 0}}
_MANY = 100 << 20


class Peer:
    """One client's connection."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.unread = ""

    def say(self, *messages: object, indent: int | None = None) -> None:
        for message in messages:
            text = json.dumps(message, indent=indent).replace("\n", "\r\n")
            self.client.sendall(text.encode() + b"\r\n")

    def raw(self, data: bytes) -> None:
        self.client.sendall(data)

    def hears(self) -> dict[str, object]:
        """Return the next object; a client need not end it with a line."""
        while True:
            self.unread = self.unread.lstrip()
            try:
                found, end = json.JSONDecoder().raw_decode(self.unread)
            except ValueError:
                data = self.client.recv(4096)
                if not data:
                    raise
                self.unread += data.decode()
            else:
                self.unread = self.unread[end:]
                return dict(found)

    def session(self, indent: int | None = None) -> None:
        self.say(GREETING, indent=indent)
        self.say({"return": {}, "id": self.hears().get("id")}, indent=indent)


def _pretty(peer: Peer) -> None:
    peer.session(indent=4)
    while True:
        asked = peer.hears()
        peer.say(EVENT, {"return": {"asked": asked["execute"]}, "id": asked["id"]}, indent=4)


def _events(peer: Peer) -> None:
    peer.say(EVENT, GREETING)
    asked = peer.hears()
    peer.say(EVENT, EVENT, {"return": {}, "id": asked.get("id")})
    while True:
        asked = peer.hears()
        peer.say(EVENT, {"return": "late", "id": asked["id"]})


def _crowded(peer: Peer) -> None:
    """Say several messages in a line, and one in pieces."""
    peer.raw(json.dumps(GREETING).encode())
    peer.hears()
    text = json.dumps({"return": {}}) + json.dumps(EVENT) + " " + json.dumps(EVENT)
    for byte in text.encode():
        peer.raw(bytes([byte]))
    while True:
        asked = peer.hears()
        peer.raw(json.dumps({"return": '}{"\\', "id": asked["id"]}).encode())


def _answers(reply: Callable[[Peer, dict[str, object]], None]) -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.session()
        reply(peer, peer.hears())

    return serve


def _says(data: bytes, *, greets: bool = False, closes: bool = False) -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        if greets:
            peer.session()
            peer.hears()
        peer.raw(data)
        if closes:
            peer.client.shutdown(socket.SHUT_RDWR)

    return serve


def _flood(peer: Peer, first: bytes = b"") -> None:
    peer.raw(first)
    for _ in range(_MANY >> 20):
        peer.raw(b"a" * (1 << 20))


def _http(peer: Peer) -> None:
    while b"\n" not in peer.client.recv(4096):
        continue
    peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")


MODES: dict[str, Callable[[Peer], None]] = {
    "silent": lambda _: None,
    "nocaps": lambda peer: peer.say(GREETING),
    "greetonly": lambda peer: peer.session(),
    "pretty": _pretty,
    "events": _events,
    "crowded": _crowded,
    "http": _http,
    "hmp": _says(b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) "),
    "garbage": _says(bytes(range(256))),
    "escapes": _says(b"\x1b[2J\x1b[31m pwned\r\n"),
    "no-utf8": _says(b'{"QMP": "\xff\xfe"}\r\n'),
    "number": _says(b'{"QMP": 1}\r\n'),
    "half": _says(b'{"QMP": {"version": ', closes=True),
    "closes": _says(b"", closes=True),
    "flood": _flood,
    "flood-in-object": lambda peer: _flood(peer, b'{"QMP": "'),
    "deep": _says(b'{"QMP": ' + b"[" * 100000),
    "refuses": lambda peer: peer.say(GREETING, {"error": {"class": "X", "desc": "no"}}),
    "wrong-id": _answers(lambda peer, _: peer.say({"return": {}, "id": "another"})),
    "no-id": _answers(lambda peer, _: peer.say({"return": {}})),
    "error-without-id": _answers(
        lambda peer, _: peer.say({"error": {"class": "GenericError", "desc": "JSON parse error"}})
    ),
    "bad-error": _answers(lambda peer, asked: peer.say({"error": "no", "id": asked["id"]})),
    "neither": _answers(lambda peer, asked: peer.say({"id": asked["id"]})),
    "later-garbage": _says(b"\xff\xfe\r\n", greets=True),
    "later-half": _says(b'{"return": {', greets=True, closes=True),
    "later-deep": _says(b'{"return": ' + b"[" * 100000, greets=True),
    "later-closes": _says(b"", greets=True, closes=True),
    "escape-error": _answers(
        lambda peer, asked: peer.say(
            {"error": {"class": "GenericError", "desc": "\x1b[2Jbad\nnews"}, "id": asked["id"]}
        )
    ),
}


def main() -> None:
    mode, name = sys.argv[1:]
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"\0{name[1:]}" if name.startswith("@") else name)
    server.listen(5)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        client, _ = server.accept()
        try:
            MODES[mode](Peer(client))
            while client.recv(4096):
                continue
        except (OSError, ValueError, KeyError):
            time.sleep(0)
        finally:
            client.close()


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    main()
