# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP, synchronously.

`QmpSession` is a plain, blocking face of `qemu.qmp`. Its event loop runs in a
thread of its own, so that QEMU's events are taken in and its end is noticed
while the caller does something else. A QMP socket serves one client at a time:
hold a session no longer than needed.

Nothing waits for ever: QEMU greets and negotiates within `GREETING_S`, and answers
each command within `ANSWER_S`; $KVMBPF_QMP_TIMEOUT, in seconds, stands for both.
Who does not is told as what it is, as far as the kernel knows (`qemu_glue.peer`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, QMPError, Runstate

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError, VmmError
from kvmbpf.model.vm_name import printable
from qemu_glue import peer
from qemu_glue.address import LISTEN, Address, connect, why_refused
from qemu_glue.qmp_client import Client, UnreadableError

_T = TypeVar("_T")
_POLL_S = 0.05
_CLOSE_S = 1.0
# How long QEMU may take, in seconds: a busy one answers between two steps of its work.
GREETING_S = 5.0
ANSWER_S = 30.0
TIMEOUT = "KVMBPF_QMP_TIMEOUT"
_SHORTEST_S, _LONGEST_S = 0.01, 86400.0

# What the library logs, it also raises; without a handler Python would print it.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class QmpBusyError(VmmError):
    """Another client is served on a QMP socket."""


def time_limit(default: float) -> float:
    """Return how long to wait for QEMU, in seconds: $KVMBPF_QMP_TIMEOUT, or else a default.

    :raise VmmError: when that is no such time.
    """
    text = os.environ.get(TIMEOUT, "")
    if not text:
        return default
    with contextlib.suppress(ValueError):
        if _SHORTEST_S <= (seconds := float(text)) <= _LONGEST_S:
            return seconds
    raise VmmError(
        f"{TIMEOUT}={printable(text)}: not a number of seconds from {_SHORTEST_S} to "
        f"{_LONGEST_S:.0f}"
    )


class QmpSession(Closing):
    """One connection to a QEMU's QMP socket; a context manager.

    Made by `connect`. A method that talks to QEMU raises VmmError once QEMU
    is gone, and when it does not answer in time.
    """

    def __init__(self, path: Address, client: Client, loop: _LoopThread, peer_pid: int) -> None:
        self.path = path
        self._client = client
        self._loop = loop
        self._peer_pid = peer_pid
        self._unread: list[dict[str, Any]] = []
        self._closed = False

    @classmethod
    def connect(cls, path: Address, timeout: float | None = None) -> QmpSession:
        """Connect to a QMP socket and negotiate.

        :param path: the UNIX socket that QEMU listens on.
        :param timeout: how long to wait for QEMU's greeting, and for its answer to
            that, in seconds; None for `GREETING_S`, or what the user has said.
        :raise VmmError: when nothing listens there, another client is served,
            QEMU does not run, or what answers is not QMP.
        """
        if timeout is None:
            timeout = time_limit(GREETING_S)
        sock = _connect_socket(path, timeout)
        loop = _LoopThread()
        try:
            peer_pid = peer.peer_pid(sock)
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
        launcher handed QEMU a listening descriptor. 0 is one that is in no pid
        namespace that is seen from here.
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
            # A connection that QEMU ended raises here what ended it: no news. One that
            # does not take what was sent is left alone after a moment.
            with contextlib.suppress(EOFError, OSError, QMPError):
                self._loop.run(_disconnect(self._client))
        finally:
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._closed:
            coroutine.close()
            raise StateError(f"QMP session with {_said(self.path)} is closed")
        return self._loop.run(coroutine)

    async def _execute(self, command: str, arguments: dict[str, object]) -> object:
        if self._client.runstate is not Runstate.RUNNING:
            raise VmmError(f"{command}: {self._why_it_ended('is gone')}")
        limit = time_limit(ANSWER_S)
        try:
            async with asyncio.timeout(limit):
                return await self._client.execute(command, arguments or None)
        except TimeoutError as error:
            raise VmmError(f"{command}: {self._why_no_answer(limit)}") from error
        except ExecuteError as error:
            raise VmmError(f"{command}: QEMU refused it: {error}") from error
        except ExecInterruptedError as error:
            ended = self._why_it_ended("went away before it answered")
            raise VmmError(f"{command}: {ended}") from error
        except QMPError as error:
            raise VmmError(f"{command}: {_one_line(error)}") from error

    def _why_it_ended(self, otherwise: str) -> str:
        failure = self._client.failure
        if isinstance(failure, QMPError):
            return f"QMP socket {_said(self.path)}: {_one_line(failure)}; that is no QMP"
        return f"QEMU on {_said(self.path)} {otherwise}"

    def _why_no_answer(self, limit: float) -> str:
        where = f"QMP socket {_said(self.path)}"
        stands = peer.why_it_stands(self._peer_pid)
        if stands:
            return f"{where}: no answer within {limit:g} s: {stands}"
        if self._client.stray is not None:
            return f"{where}: no answer within {limit:g} s, but one to something else; is it QEMU?"
        return (
            f"{where}: no answer within {limit:g} s from {peer.who(self._peer_pid)}; "
            f"{TIMEOUT}=SECONDS gives it longer"
        )

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
            raise VmmError(f"{_said(self.path)}: no {name} event within {timeout:g} s") from error

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
                raise VmmError(f"{_said(self.path)}: QEMU went away before the {name} event")
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


async def _disconnect(client: Client) -> None:
    """Disconnect; what the other end has not taken after a moment is dropped."""
    dropping = asyncio.get_running_loop().call_later(_CLOSE_S, client.drop)
    try:
        await client.disconnect()
    finally:
        dropping.cancel()


def _connect_socket(path: Address, timeout: float) -> socket.socket:
    """Connect; a busy QEMU does not accept, and its queue is one connection long."""
    deadline = time.monotonic() + timeout
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        while True:
            try:
                connect(sock, path)
            except BlockingIOError as error:  # the queue is full
                if time.monotonic() >= deadline:
                    stands = peer.why_it_stands(peer.owner_of(path))
                    raise (_silent(path, stands) if stands else _busy(path, timeout)) from error
                time.sleep(_POLL_S)
            except OSError as error:
                raise VmmError(f"QMP socket {_said(path)}: {why_refused(path, error)}") from error
            else:
                return sock
    except BaseException:
        sock.close()
        raise


async def _open(path: Address, sock: socket.socket, timeout: float) -> Client:
    client = Client()
    # The client closes the socket that it is given; who is at its other end is asked later.
    with sock.dup() as other:
        try:
            async with asyncio.timeout(timeout):
                await client.connect(sock)
        except TimeoutError as error:
            raise _why_no_greeting(path, other, client, timeout) from error
        except ConnectError as error:
            raise VmmError(
                f"QMP socket {_said(path)}: {_why_no_session(client, error)}; is it a QMP socket?"
            ) from error
    return client


def _why_no_greeting(
    path: Address, sock: socket.socket, client: Client, timeout: float
) -> VmmError:
    pid = peer.peer_pid(sock)
    stands = peer.why_it_stands(pid)
    if stands:
        return _silent(path, stands)
    within = f"within {timeout:g} s; {TIMEOUT}=SECONDS gives it longer"
    if client.greeting is not None:
        return _silent(
            path, f"{peer.who(pid)} greeted, and did not answer qmp_capabilities {within}"
        )
    match peer.queue_of(sock):
        case peer.Queue.TAKEN:
            is_it = peer.what_is(sock, pid) or "is it a QMP socket?"
            return _silent(path, f"{peer.who(pid)} did not greet within {timeout:g} s; {is_it}")
        case peer.Queue.WAITS:
            return _silent(path, f"{peer.who(pid)} did not take the connection {within}")
        case _:
            return _busy(path, timeout)


def _why_no_session(client: Client, error: ConnectError) -> str:
    if isinstance(client.failure, UnreadableError):
        return str(client.failure)
    if isinstance(client.failure, EOFError):
        return "it ended the connection without a word"
    return _one_line(error)


def _silent(path: Address, why: str) -> VmmError:
    return VmmError(f"QMP socket {_said(path)}: {why}")


def _busy(path: Address, timeout: float) -> QmpBusyError:
    return QmpBusyError(
        f"QMP socket {_said(path)} is in use by another client: QEMU did not greet within "
        f"{timeout:g} s; end that client, or give QEMU one more socket ({LISTEN})"
    )


def _said(path: Address) -> str:
    return printable(str(path))


def _one_line(error: Exception) -> str:
    return printable(" ".join(str(error).split())) or type(error).__name__
