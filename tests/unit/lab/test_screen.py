# SPDX-License-Identifier: GPL-2.0-or-later
"""A program on a terminal of ours: what it showed is text, whatever else it wrote."""

from __future__ import annotations

import subprocess

from kvmbpf.lab.screen import Screen


def shown_by(script: str) -> str:
    with Screen(lines=31, columns=97) as screen:
        terminal = screen.slave
        process = subprocess.Popen(
            ["sh", "-c", script], stdin=terminal, stdout=terminal, stderr=terminal
        )
        screen.begin()
        process.wait(20)
        screen.finish()
        return screen.text()


def test_the_program_has_a_terminal_of_the_given_size() -> None:
    assert shown_by("stty size") == "31 97\n"


def test_what_moves_the_cursor_is_left_out() -> None:
    script = r"printf '\033[H\033[2J\033(B\033[1;31mred\033[0m\033[?25l\033>\n'"
    assert shown_by(script) == "red\n"


def test_the_end_of_much_output_is_kept() -> None:
    assert shown_by("seq 100000; echo last").endswith("\n100000\nlast\n")


def test_closing_twice_or_before_the_beginning_is_fine() -> None:
    screen = Screen()
    screen.close()
    screen.close()
