# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu.qmp's client, fed with whole messages, and asked what went wrong.

The library reads a line as a message, so that of ``pretty=on`` it sees ``{`` and gives
up. Here it gets each object's text, whatever the lines are. Three more things are
added: an event that comes before the session stands is kept and not taken for the
answer; whatever cannot be read is an error of the protocol, which the library awaits;
and the first error, and the last answer to no question, can be asked for.

Obsolete when the library reads messages that way itself (it is 0.0.6 here).
"""

from __future__ import annotations

import asyncio

from qemu.qmp import QMPClient, Runstate
from qemu.qmp.error import ProtocolError
from qemu.qmp.message import DeserializationError, Message, UnexpectedTypeError

from kvmbpf.model.vm_name import printable
from qemu_glue.json_stream import JsonStream, NotJsonError

_CHUNK = 64 * 1024
_SHOWN = 60


class UnreadableError(ProtocolError):
    """What came is no QMP; the message says what it was."""


class Client(QMPClient):
    """A client that takes messages over several lines."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = JsonStream()
        self.failure: Exception | None = None
        self.stray: object = None

    def drop(self) -> None:
        """End the connection without sending what waits."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _readline(self) -> bytes:
        if self._reader is None:
            raise EOFError
        while True:
            try:
                message = self._stream.take()
            except NotJsonError as error:
                raise UnreadableError(f"{error}: {excerpt(self._stream.rest)}") from error
            if message is not None:
                return message
            data = await self._reader.read(_CHUNK)
            if not data:
                if self._stream.rest:
                    raise UnreadableError(
                        f"it ended in the middle of a message: {excerpt(self._stream.rest)}"
                    )
                raise EOFError
            self._stream.feed(data)

    async def _do_recv(self) -> Message:
        try:
            return await super()._do_recv()
        except DeserializationError as error:
            raise UnreadableError(f"no JSON: {excerpt(error.raw)}") from error
        except UnexpectedTypeError as error:
            raise UnreadableError("no JSON object") from error
        except (ValueError, RecursionError) as error:  # no UTF-8; a number of many digits
            raise UnreadableError(f"no JSON: {printable(str(error))[:_SHOWN]}") from error

    async def _recv(self) -> Message:
        try:
            while True:
                message = await super()._recv()
                if self.runstate is Runstate.RUNNING or "event" not in message:
                    return message
                await self._event_dispatch(message)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.failure = self.failure or error
            raise

    async def _on_message(self, msg: Message) -> None:
        if "event" not in msg and msg.get("id") not in self._pending:
            self.stray = msg.get("id")
        try:
            await super()._on_message(msg)
        except ProtocolError as error:
            self.failure = self.failure or error
            raise


def excerpt(data: bytes) -> str:
    """Return the beginning of what came, fit for a line of text."""
    text = data[:_SHOWN].decode(errors="surrogateescape").strip()
    return f"`{printable(text)}{'...' if len(data) > _SHOWN else ''}`"
