# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP, synchronously.

`QmpSession` is a plain, blocking face of `qemu.qmp`. Its event loop runs in a
thread of its own, so that QEMU's events are taken in and its end is noticed
while the caller does something else. A QMP socket serves one client at a time:
hold a session no longer than needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, QMPClient, QMPError, Runstate

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError, VmmError

_T = TypeVar("_T")
_POLL_S = 0.05

# What the library logs, it also raises; without a handler Python would print it.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class QmpBusyError(VmmError):
    """Another client is served on a QMP socket."""


class QmpSession(Closing):
    """One connection to a QEMU's QMP socket; a context manager.

    Made by `connect`. A method that talks to QEMU raises VmmError once QEMU
    is gone.
    """

    def __init__(self, path: Path, client: QMPClient, loop: _LoopThread, peer_pid: int) -> None:
        self.path = path
        self._client = client
        self._loop = loop
        self._peer_pid = peer_pid
        self._unread: list[dict[str, Any]] = []
        self._closed = False

    @classmethod
    def connect(cls, path: Path, timeout: float = 5.0) -> QmpSession:
        """Connect to a QMP socket and negotiate.

        :param path: the UNIX socket that QEMU listens on.
        :param timeout: how long to wait for QEMU's greeting, in seconds.
        :raise VmmError: when nothing listens there, another client is served,
            or what answers is not QMP.
        """
        sock = _connect_socket(path, timeout)
        loop = _LoopThread()
        try:
            peer_pid = _peer_pid(sock)
            client = loop.run(_open(path, sock, timeout))
        except BaseException:
            loop.close()
            sock.close()
            raise
        return cls(path, client, loop, peer_pid)

    def execute(self, command: str, /, **arguments: object) -> Any:  # noqa: ANN401 (any JSON value)
        """Run one QMP command and return its value.

        :param command: the command, as ``query-status``.
        :param arguments: its arguments; an underscore in a name becomes a
            hyphen, as QMP spells most of them.
        :raise VmmError: when QEMU refuses it, or went away.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._run(self._execute(command, named))

    def hmp(self, line: str) -> str:
        """Run one line of QEMU's human monitor and return its output.

        :raise VmmError: when QEMU refuses it, or went away.
        """
        return str(self.execute("human-monitor-command", command_line=line))

    def peer_pid(self) -> int:
        """Return QEMU's process id (C ``pid_t``), from SO_PEERCRED.

        It is the process that made the socket listen: not QEMU where a
        launcher handed QEMU a listening descriptor.
        """
        return self._peer_pid

    def wait_event(self, name: str, timeout: float) -> dict[str, Any]:
        """Return the next event called `name`; others stay queued.

        :param name: the event, as ``SHUTDOWN``.
        :param timeout: in seconds.
        :raise VmmError: when it does not come in time, or QEMU went away.
        """
        return self._run(self._wait_event(name, timeout))

    def next_event(self, timeout: float) -> dict[str, Any] | None:
        """Return the next event, whichever it is; None when none came in time.

        :param timeout: in seconds.
        :raise VmmError: when the connection ended.
        """
        return self._run(self._any_event(timeout))

    def events(self) -> list[dict[str, Any]]:
        """Return and forget all events that came and were not waited for."""
        return self._run(self._drain_events())

    def close(self) -> None:
        """End the session; closing twice is fine. QEMU runs on."""
        if self._closed:
            return
        self._closed = True
        try:
            # A connection that QEMU ended raises here what ended it: no news.
            with contextlib.suppress(EOFError, OSError, QMPError):
                self._loop.run(self._client.disconnect())
        finally:
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._closed:
            coroutine.close()
            raise StateError(f"QMP session with {self.path} is closed")
        return self._loop.run(coroutine)

    async def _execute(self, command: str, arguments: dict[str, object]) -> object:
        if self._client.runstate is not Runstate.RUNNING:
            raise VmmError(f"{command}: QEMU on {self.path} is gone")
        try:
            return await self._client.execute(command, arguments or None)
        except ExecuteError as error:
            raise VmmError(f"{command}: QEMU refused it: {error}") from error
        except ExecInterruptedError as error:
            raise VmmError(
                f"{command}: QEMU on {self.path} went away before it answered"
            ) from error
        except QMPError as error:
            raise VmmError(f"{command}: {_one_line(error)}") from error

    async def _any_event(self, timeout: float) -> dict[str, Any] | None:
        if self._unread:
            return self._unread.pop(0)
        return await self._next_event("next", timeout)

    async def _wait_event(self, name: str, timeout: float) -> dict[str, Any]:
        for event in self._unread:
            if event.get("event") == name:
                self._unread.remove(event)
                return event
        try:
            async with asyncio.timeout(timeout):
                while True:
                    came = await self._next_event(name, None)
                    if came is not None and came.get("event") == name:
                        return came
                    self._unread += [came] if came is not None else []
        except TimeoutError as error:
            raise VmmError(f"{self.path}: no {name} event within {timeout:g} s") from error

    async def _next_event(self, name: str, timeout: float | None) -> dict[str, Any] | None:
        """Return the next event, None after `timeout`; VmmError when the connection ends."""
        arrival = asyncio.ensure_future(self._client.events.get())
        ending = asyncio.ensure_future(self._disconnected())
        try:
            done, _ = await asyncio.wait(
                (arrival, ending), timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            if arrival.done():
                self._unread.append(dict(arrival.result()))
            raise
        else:
            if arrival.done() or not self._client.events.empty():
                return dict(await arrival)  # came before the end, if that came too
            if done:
                raise VmmError(f"{self.path}: QEMU went away before the {name} event")
            return None
        finally:
            # An event that `arrival` was about to take stays in the queue.
            arrival.cancel()
            ending.cancel()

    async def _disconnected(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    async def _drain_events(self) -> list[dict[str, Any]]:
        unread, self._unread = self._unread, []
        return unread + [dict(message) for message in self._client.events.clear()]


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run `coroutine` in the loop, wait for it and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Cancel what still runs in the loop, stop it and end the thread."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _connect_socket(path: Path, timeout: float) -> socket.socket:
    """Connect; a busy QEMU does not accept, and its queue is one connection long."""
    deadline = time.monotonic() + timeout
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    while True:
        try:
            sock.connect(str(path))
        except BlockingIOError as error:  # the queue is full
            if time.monotonic() >= deadline:
                sock.close()
                raise _busy(path, timeout) from error
            time.sleep(_POLL_S)
        except OSError as error:
            sock.close()
            raise VmmError(f"QMP socket {path}: {error.strerror or error}") from error
        else:
            return sock


def _peer_pid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _uid, _gid = struct.unpack("3i", credentials)
    return int(pid)


async def _open(path: Path, sock: socket.socket, timeout: float) -> QMPClient:
    client = QMPClient()
    try:
        async with asyncio.timeout(timeout):
            await client.connect(sock)
    except TimeoutError as error:
        raise _busy(path, timeout) from error
    except ConnectError as error:
        raise VmmError(f"QMP socket {path}: {_one_line(error)}; is it a QMP socket?") from error
    return client


def _busy(path: Path, timeout: float) -> QmpBusyError:
    return QmpBusyError(
        f"QMP socket {path} is in use by another client: QEMU did not greet within {timeout:g} s; "
        "end that client, or give QEMU one more socket (-qmp unix:PATH,server=on,wait=off)"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
