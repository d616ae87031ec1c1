# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command's exit codes mean: one table, which the help shows.

docs/exit-codes.md has it with examples and mends; `kvmbpf.errors` has the codes.
"""

from __future__ import annotations

from typing import Final

EXIT_CODES: Final[dict[int, str]] = {
    0: "done",
    1: "another error",
    2: "a wrong command line",
    10: "a system call failed",
    11: "the verifier refused a program",
    12: "something needed is missing or too old",
    13: "not possible in the present state",
    14: "state that cannot be carried over",
    15: "a file is not what it should be",
    16: "the VMM refused, or went away",
    17: "no room on the guest's bus",
    18: "the lab could not be built or booted",
    130: "interrupted",
    141: "the reader of the output went away",
}
