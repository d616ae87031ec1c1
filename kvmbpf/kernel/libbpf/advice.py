# SPDX-License-Identifier: GPL-2.0-or-later
"""What to change when the verifier refuses a program.

The verifier says which rule a program breaks, in words about registers. Here
is, for the refusals that authors of devices meet, what to do about it in C. The
first pattern that is found in the verifier's sentence counts.

Source: the messages of kernel/bpf/verifier.c, v6.1 to v6.18, and of the series.
"""

from __future__ import annotations

import re

_LOOP = (
    "the verifier sees no end of this loop: count it up to a constant, as in "
    "`for (int i = 0; i < 64; i++)`, or use bpf_loop()"
)
_TOO_LONG = (
    "the verifier gave up after that many steps: fewer rounds and fewer branches in "
    "loops, or their bodies in bpf_loop() or in __noinline functions"
)
_NULL = "it may be NULL: check it before its first use, as in `if (!value) return KVMBPF_DECLINE;`"
_BOUNDS = (
    "check the index on this path before its use, as an unsigned number: "
    "`if (index >= sizeof(table) / sizeof(table[0])) return KVMBPF_DECLINE;`"
)
_LENGTH = (
    "check the length on this path before its use, as an unsigned number: "
    "`if (length > sizeof(buffer)) return KVMBPF_DECLINE;`"
)
_UNSET = "set the variable on every path that leads here: `int result = 0;`"
_NO_RESULT = "some path ends without a result: let each one return a value that was set"
_HELPER = "this kind of program has not got it: use another, or leave it out"
_KFUNC = "this kind of program may not call it: look up where the kernel allows it, or leave it out"
_ABSENT = (
    "this kernel has no such function: boot one that has (`kvmbpf lab run`), or ask "
    "bpf_ksym_exists() before the call"
)
_SLEEPS = (
    "it may sleep, and this program must not: do it in KVMBPF_READ_SLEEPABLE, "
    "KVMBPF_WRITE_SLEEPABLE or KVMBPF_WORK"
)
_REFERENCE = "release what was acquired on every path, early returns included"
_STACK = (
    "the stack has 512 bytes, callers' included: keep the buffer in a global variable "
    "or a map's element"
)
_LOCK = "unlock on every path, and call nothing in between"
_ONLY_VALUE = (
    "answer through acc->value: offset, length, region and vCPU of an access are for reading"
)
_READ_ONLY = "it is constant: make it a plain global variable (no const), or write something else"
_KERNEL_READ_ONLY = "the kernel's own structures are for reading"
_RESULT = "return only the values that this kind of program may return"
_SHIFT = "the shift is as wide as the number or wider: mask it, as in `x << (n & 63)`"
_DIVISION = "the divisor is the constant 0"
_LICENCE = 'say `char LICENSE[] SEC("license") = "GPL";`: KVMBPF_DEVICE() does so'
_NUMBER = (
    "a number is used as a pointer: pointers come from the context, maps and kernel "
    "functions; other memory is read through a helper"
)
_FORGED = "hand on the very pointer that the program was called with, or was given by the kernel"
_COPY = "copy it into a local variable first, and give that variable's address"
_CONTEXT = "it reaches past the program's context: only its declared members are there"
_TYPE = "this kernel's type has no such member: ask bpf_core_field_exists() before its use"
_POINTER = "BPF has no calls through a pointer: write a switch that calls each function by its name"
_DEPTH = (
    "functions call each other more than 8 deep, or themselves: write the recursion as a loop "
    "that counts to a constant"
)
_NO_MAP = 'it is no map: a map is defined with SEC(".maps")'
_ALIGN = "align it: an 8-byte number lies at a multiple of 8"

# A sentence about one cause may have words of another's: the special ones come first.
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), mend)
    for pattern, mend in (
        (r"kvm_bpf_access\.value only", _ONLY_VALUE),
        (r"infinite loop detected|back-edge from insn", _LOOP),
        (r"program is too large|jumps is too complex|too many states", _TOO_LONG),
        (r"_or_null|[Pp]ossibly NULL pointer|null-check it first", _NULL),
        (r"^R0 !read_ok", _NO_RESULT),
        (r"!read_ok|read from stack (?:R\d+ )?(?:off -?\d+\+|var_off)", _UNSET),
        (r"to stack R\d+ off=-(?:51[3-9]|5[2-9]\d|[6-9]\d\d|\d{4})", _STACK),
        (r"stack size .*[Tt]oo large", _STACK),
        (r"stack R\d+ off=|variable-offset .*stack", _BOUNDS),
        (r"use unsigned or 'var &= const'|use 'var &= const'", _LENGTH),
        (r"invalid access to (?:map value|packet|memory|map key)", _BOUNDS),
        (r"outside of the (?:allowed memory|packet)|unbounded min value", _BOUNDS),
        (r"make sure to bounds check|use unsigned index|mixed signed bounds", _BOUNDS),
        (r"beyond pointer bounds|pointer be out of bounds|goes out of range", _BOUNDS),
        (r"kfunc '.*' is referenced but wasn't resolved", _ABSENT),
        (r"calling kernel function .* is not allowed", _KFUNC),
        (r"might sleep in a non-sleepable|must be sleepable", _SLEEPS),
        (r"cannot use helper|unknown func|invalid func unknown", _HELPER),
        (r"Unreleased reference|reference leak", _REFERENCE),
        (r"spin_(?:un)?lock|holding a lock|is sleepable within|sleepable helper .* in ", _LOCK),
        (r"write into map forbidden", _READ_ONLY),
        (r"only read (?:from \S+ )?is supported|cannot write into", _KERNEL_READ_ONLY),
        (r"should have been in", _RESULT),
        (r"invalid shift", _SHIFT),
        (r"div by zero", _DIVISION),
        (r"GPL", _LICENCE),
        (r"CO-RE relocation", _TYPE),
        (r"invalid mem access '(?:scalar|inv)'|pointer arithmetic .*prohibited", _NUMBER),
        (r"unknown opcode 8d", _POINTER),
        (r"call stack of \d+ frames is too deep|back-edge to the caller", _DEPTH),
        (r"type=map_value expected=map_ptr", _NO_MAP),
        (r"type=\w+ expected=.*\bfp\b", _COPY),
        (r"must be referenced|must point to|type=\w+ expected=|must have zero offset", _FORGED),
        (r"modified ctx ptr|invalid bpf_context access", _CONTEXT),
        (r"misaligned", _ALIGN),
    )
)


def advice(sentence: str) -> str:
    """Return what to do about what the verifier says, or "" where it is not known.

    :param sentence: one line of its log.
    """
    for pattern, mend in _ADVICE:
        if pattern.search(sentence):
            return mend
    return ""
