# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest's control port, over a real serial port: guest_driver/control, run by init."""

from __future__ import annotations

import os
import socket
import time

from kvmbpf.demo.parts import PARTS_VARIABLE, given_parts
from kvmbpf.lab import require_kernel
from qemu_glue.guest import DemoGuest, GuestConfig, control_port
from tests.lab.demo_guest import BOOT_S

JOB_S = 1
PAUSE_S = 3 * JOB_S
ANSWER_S = 30.0


def test_what_ends_while_a_command_comes_in_takes_nothing_of_it() -> None:
    """What a command leaves in the background is the first process's child in the end."""
    parts = given_parts(os.environ.get(PARTS_VARIABLE))
    lab = require_kernel()
    config = GuestConfig(lab.bzimage, parts.initramfs, memory_mib=lab.guest_mib)
    with DemoGuest(config) as guest:
        guest.boot(BOOT_S)
        guest.console.close()
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(ANSWER_S)
            port.connect(os.fspath(control_port(guest.runtime)))
            port.sendall(f"1 sleep {JOB_S} &\n2 echo the who".encode())
            time.sleep(PAUSE_S)
            port.sendall(b"le line\n")
            said = b""
            while b"2 EXIT=0\n" not in said:
                said += port.recv(4096)
        assert said.endswith(b"1 BEGIN\n1 EXIT=0\n2 BEGIN\nthe whole line\n2 EXIT=0\n")
