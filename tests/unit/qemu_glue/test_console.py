# SPDX-License-Identifier: GPL-2.0-or-later
"""The control port's protocol: both real ends, with a UNIX socket for a wire.

The guest's end, guest_driver/control, runs here under the busybox that the
guest has. The serial port itself is the lab tests' matter.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.demo.guest_files import GUEST_INIT
from kvmbpf.errors import VmmError
from qemu_glue.console import GuestConsole
from qemu_glue.runtime import RuntimeDir

pytestmark = pytest.mark.unit


class Guest:
    """guest_driver/control, listening on a socket as QEMU does for it."""

    def __init__(self, runtime: RuntimeDir) -> None:
        self.path = runtime.socket("control")
        self.log = runtime.path / "kernel.log"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.fspath(self.path))
            server.listen()
            self.console = GuestConsole(self.path, self.log)
            port = server.accept()[0]
        script = GUEST_INIT.with_name("control")
        with port:
            self.process = subprocess.Popen(
                ["busybox", "sh", str(script), str(runtime.path)],
                stdin=port.fileno(),
                stdout=port.fileno(),
            )


@pytest.fixture
def guest() -> Iterator[Guest]:
    with RuntimeDir() as runtime:
        guest = Guest(runtime)
        with guest.console:
            guest.console.wait_ready(10)
            yield guest
        guest.process.kill()
        guest.process.wait()


@pytest.fixture
def console(guest: Guest) -> GuestConsole:
    return guest.console


@pytest.mark.parametrize("output", ["", "abc", "abc\n", "a\n\nb\n", "1 EXIT=0\n"])
def test_output_is_returned_as_it_is(console: GuestConsole, output: str) -> None:
    escaped = output.encode("unicode_escape").decode()
    assert console.run(f"printf '{escaped}'") == output


def test_standard_error_is_part_of_the_output(console: GuestConsole) -> None:
    assert console.run("echo one; echo two >&2") == "one\ntwo\n"


def test_a_failed_command_tells_code_and_output(console: GuestConsole) -> None:
    with pytest.raises(VmmError, match="exited with 3: sorry"):
        console.run("echo sorry; exit 3")
    assert console.run("echo next") == "next\n"


def test_a_command_that_does_not_read_leaves_the_port_alone(console: GuestConsole) -> None:
    assert console.run("cat") == ""
    assert console.run("echo next") == "next\n"


def test_a_command_with_quotes_and_backslashes_arrives_whole(console: GuestConsole) -> None:
    assert console.run(r"""printf '%s' "a\\b" 'c"d'  ' e '""") == 'a\\bc"d e '


def test_large_output_arrives_whole(console: GuestConsole) -> None:
    assert console.run("seq 100000").split() == [str(i) for i in range(1, 100001)]


def test_a_late_answer_is_not_taken_for_the_next_one(console: GuestConsole) -> None:
    with pytest.raises(VmmError, match=r"did not end within 0\.1 s"):
        console.run("sleep 1; echo late", timeout=0.1)
    assert console.run("echo next") == "next\n"


def test_a_background_jobs_output_stays_out_of_the_next_answer(console: GuestConsole) -> None:
    console.run("{ for i in 1 2 3 4 5; do echo noise; usleep 20000; done; } &")
    assert console.run("usleep 50000; echo next") == "next\n"


def test_a_job_runs_beside_commands(guest: Guest, console: GuestConsole) -> None:
    gate = guest.path.parent / "gate"
    job = console.start(f"until [ -e {gate} ]; do usleep 10000; done; echo it\\'s done")
    assert job.running()
    assert console.run("echo beside") == "beside\n"
    with pytest.raises(VmmError, match="did not end"):
        job.wait(0.05)
    gate.touch()
    assert job.wait(10) == "it's done\n"
    assert not job.running()


def test_a_failed_job_tells_code_and_output(console: GuestConsole) -> None:
    job = console.start("echo sorry; exit 4")
    with pytest.raises(VmmError, match="exited with 4: sorry"):
        job.wait(10)


def test_a_job_is_stopped_with_its_children(guest: Guest, console: GuestConsole) -> None:
    fifo = guest.path.with_name("fifo")
    os.mkfifo(fifo)
    job = console.start(f"sleep 1000 3>{fifo}; true")
    with fifo.open("rb") as held_by_sleep:  # opens once sleep holds the other end
        assert job.stop(10) == 143
        assert select.select([held_by_sleep], [], [], 10)[0]
        assert held_by_sleep.read() == b""
    assert job.stop(10) == 143


def test_a_job_that_ended_keeps_its_code_when_stopped(console: GuestConsole) -> None:
    job = console.start("exit 5")
    with pytest.raises(VmmError, match="exited with 5"):
        job.wait(10)
    assert job.stop(10) == 5


@pytest.mark.parametrize("command", ["echo a\necho b", "x" * 3000])
def test_what_is_not_one_line_of_fair_length_is_refused(
    console: GuestConsole, command: str
) -> None:
    with pytest.raises(VmmError, match="one line"):
        console.run(command)


def test_the_end_of_the_guest_is_told_with_its_last_words(guest: Guest) -> None:
    guest.log.write_text("booting\nKernel panic - not syncing\n")
    with pytest.raises(VmmError, match=r"QEMU ended; it last said: booting \| Kernel panic"):
        guest.console.run("kill -9 $PPID")
    with pytest.raises(VmmError, match="QEMU ended"):
        guest.console.run("true")


def test_the_guests_end_ends_with_the_port() -> None:
    with RuntimeDir() as runtime:
        guest = Guest(runtime)
        guest.console.wait_ready(10)
        guest.console.close()
        assert guest.process.wait(10) == 0  # the port's end is the loop's end


def test_a_guest_that_does_not_come_up_is_told() -> None:
    with RuntimeDir() as runtime, socket.socket(socket.AF_UNIX) as silent:
        path = runtime.socket("control")
        silent.bind(os.fspath(path))
        silent.listen()
        with (
            GuestConsole(path) as console,
            pytest.raises(VmmError, match=r"not ready after 0\.1 s"),
        ):
            console.wait_ready(0.1)


def test_a_port_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VmmError, match=r"none: No such file"):
        GuestConsole(tmp_path / "none")
