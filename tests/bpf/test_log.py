# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf's messages: who gets them, and that a quiet thread takes them from nobody."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.libbpf import log
from kvmbpf.kernel.libbpf.lib import libbpf
from kvmbpf.kernel.libbpf.object import BpfObject

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]


@pytest.fixture
def broken(tmp_path: Path) -> bytes:
    """Give the path of a file about which libbpf has something to say."""
    path = tmp_path / "broken.o"
    path.write_bytes(b"no ELF file")
    return bytes(path)


def test_a_capture_gets_messages_and_a_quiet_block_none(
    broken: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    with log.capture(heard):
        with log.quiet():
            assert not libbpf().bpf_object__open_file(broken, None)
        assert heard == []
        assert not libbpf().bpf_object__open_file(broken, None)
    assert any("broken.o" in message for message in heard)
    assert not libbpf().bpf_object__open_file(broken, None)
    assert capfd.readouterr() == ("", "")


def test_a_capture_that_begins_meanwhile_is_heard(broken: bytes) -> None:
    heard: list[str] = []

    def capture() -> None:
        with log.capture(heard):
            libbpf().bpf_object__open_file(broken, None)

    with log.quiet():
        thread = threading.Thread(target=capture)
        thread.start()
        thread.join()
        assert heard
        before = len(heard)
        libbpf().bpf_object__open_file(broken, None)
        assert len(heard) == before


def test_a_quiet_block_takes_no_messages_from_another_thread(broken: bytes) -> None:
    heard: list[str] = []

    def quiet() -> None:
        with log.quiet():
            entered.set()
            leave.wait()

    entered, leave = threading.Event(), threading.Event()
    with log.capture(heard):
        thread = threading.Thread(target=quiet)
        thread.start()
        entered.wait()
        libbpf().bpf_object__open_file(broken, None)
        leave.set()
        thread.join()
    assert heard


def test_what_was_said_at_the_opening_is_there_when_the_load_failed(
    build: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvmbpf.kernel.libbpf.object._said_at_open", lambda _: ["said at open"])
    with BpfObject.open(build("absent_ops")) as obj:
        assert not list(obj.messages)
        with pytest.raises(UnsupportedError):
            obj.load()
        said = list(obj.messages)
    assert said[0] == "said at open"
    assert len(said) > 1
