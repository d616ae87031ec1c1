# SPDX-License-Identifier: GPL-2.0-or-later
"""What to change when clang refuses a device: for what BPF has not, in words of C.

clang's backend speaks of nodes of its graph, of functions of a library that is
linked elsewhere, and of headers that a header includes. Here is what each of them
comes from in a device's source, and what to write in its place.

Source: BPFISelLowering.cpp and BPFISelDAGToDAG.cpp of LLVM 14 to 19; what they
said of a source for each (tests/unit/author/test_compiler_advice.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# What clang says around a sentence of the header's: _Static_assert, attribute "error".
_SENTENCE = re.compile(
    r'static_assert failed(?: due to requirement \'.*\')? "(?P<old>.*)"'
    r"|static assertion failed(?: due to requirement '.*')?: (?P<new>.*)"
    r"|call to \w+ declared with 'error' attribute: (?P<call>.*)"
)
# What a backend says of its graph: only the operation is for an author.
_CANNOT_SELECT = re.compile(r"Cannot select: \S+: [\w,]+ = (?P<operation>\w+)")
_GRAPH = re.compile(r" 0x[0-9a-f]+: \S+ = (?:\w+<(?P<callee>[^@>]*@?[\w.]*)>|\S+)(?: 0)?(?:, .*)?$")

_DIVISION = (
    "signed division comes with BPF v4, and kvmbpf builds for v3, which each kernel has: "
    "divide unsigned numbers, as `(__u32)a / (__u32)b`, and see to the sign apart"
)
_STACK = (
    "the stack has 512 bytes: keep the buffer in a global variable or a map's element, "
    "which is state then"
)
_LENGTH = (
    "give it a constant length of at most 128 bytes (1024 where all is aligned to 8), or "
    "copy in a loop that counts to a constant"
)
_FLOAT = "BPF has no floating point: count in integers, as in thousandths"
_WIDE = "BPF has 64 bits: multiply, divide and shift in __u64, in two parts where it takes more"
_TRAP = "a program cannot abort: return an error, as `return -EIO;`"
_LIBRARY = "BPF has no library of the compiler's: write it out in C"
_ARGUMENTS = "a function has five arguments at most: put more into a struct, and give its address"
_BY_VALUE = "hand on the struct's address, as `f(&s)`"
_STRUCT_RETURN = (
    "return a number, and fill a struct whose address the caller gives; no `...` arguments either"
)
_SMALL_RETURN = "return 64 bits at most, and the rest through an address that the caller gives"
_VARIABLE_SIZE = (
    "give it a constant size, of at most 512 bytes with all else on the stack, or keep it in a "
    "global variable"
)
_ATOMIC_SIZE = "make the variable 32 or 64 bits wide: no others have atomic operations"
_ATOMIC_LOAD = "read it as volatile, as `*(volatile __u64 *)&x`, or by __sync_fetch_and_add(&x, 0)"
_ATOMIC_STORE = (
    "write it as volatile, as `*(volatile __u64 *)&x = v`, or by __sync_lock_test_and_set(&x, v)"
)
_FENCE = (
    "an atomic operation whose result is used orders memory, as `x = __sync_fetch_and_add(&y, 0)`"
)
_ATOMIC_KIND = (
    "of atomic operations there are add, and, or, xor, exchange and compare-and-exchange: "
    "loop over __sync_val_compare_and_swap() for another, a bounded number of times"
)
_BITS = "of 32 bits there is none: use that of 64, as `__builtin_clzll(x) - 32`"
_GOTO = "BPF has no jump to an address: write a switch, or if and else"
_THREAD = "a device has no threads: make it a plain global variable, or a map per CPU"
_ASM = 'asm is BPF\'s own, as in `r0 = r1`; its operands are in registers, by "r"'
_MEMORY = "write __builtin_{name}(), with a constant length"
_PRINT = "write kvmbpf_log(), which `kvmbpf log` shows"
_HEAP = "a device has no heap: keep it in a global variable or a map"
_NAMES = "BPF's helpers begin with bpf_, and the header's functions with kvmbpf_"
_BESIDE = "it is looked for beside the source, and beside the file that a link leads to"

# The first that fits counts.
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), mend)
    for pattern, mend in (
        (r"\bs(?:div|rem)\b|signed division", _DIVISION),
        (r"stack limit|stack size", _STACK),
        (r"built-in function '(?:mem\w+|bcopy|bzero|bcmp)'", _LENGTH),
        (r"built-in function '__(?:\w+(?:sf|df|tf|hf|xf)\w*|\w+[sdt]c3)'", _FLOAT),
        (r"built-in function '__\w+ti\d?'|built-in function '__muloti4'", _WIDE),
        (r"built-in function 'abort'", _TRAP),
        (r"built-in function '__(?:sync|atomic)_", _ATOMIC_SIZE),
        (r"built-in function ", _LIBRARY),
        (r"too many arg|stack arguments", _ARGUMENTS),
        (r"pass by value", _BY_VALUE),
        (r"varargs|variadic|structret|aggregate return", _STRUCT_RETURN),
        (r"only small returns|only integer returns|allocate function return", _SMALL_RETURN),
        (r"dynamic stack alloc|dynamic_stackalloc", _VARIABLE_SIZE),
        (r"unsupported atomic operation", _ATOMIC_SIZE),
        (r"BPF has no Atomic(?:Load|Swap|CmpSwap)\b.*\bi(?:8|16)\b", _ATOMIC_SIZE),
        (r"no AtomicLoad\b", _ATOMIC_LOAD),
        (r"no AtomicStore\b", _ATOMIC_STORE),
        (r"no AtomicFence\b", _FENCE),
        (r"no Atomic", _ATOMIC_KIND),
        (r"no (?:ctlz|cttz|ctpop|bitreverse)", _BITS),
        (r"no (?:brind|BlockAddress)", _GOTO),
        (r"no (?:f[a-z]+|[us]int_to_fp|fp_to_[us]int|fp_\w+)\b", _FLOAT),
        (r"thread-local", _THREAD),
        (r"invalid (?:register/token|operand|instruction)|input reg for constraint", _ASM),
        (r"implicit declaration .* '(?P<name>mem(?:set|cpy|move|cmp)|str(?:len|n?cmp))'", _MEMORY),
        (r"undeclared (?:library )?function '(?P<name>mem(?:set|cpy|move|cmp)|strlen)'", _MEMORY),
        (r"(?:implicit declaration|undeclared).* '(?:\w*printf|puts|printk|pr_\w+)'", _PRINT),
        (r"(?:implicit declaration|undeclared).* '(?:[mck]alloc|kzalloc|realloc|k?free)'", _HEAP),
        (r"implicit declaration of function|undeclared (?:library )?function", _NAMES),
        (r"'[^']*bpf/bpf_\w+\.h' file not found", "install libbpf-dev (Debian: apt install it)"),
        (r"'(?:asm|linux/types|linux/bpf)[^']*' file not found", "install linux-libc-dev"),
        (r"file not found", _BESIDE),
    )
)

_VMLINUX = (
    "take the line out, as kvmbpf.bpf.h has what a device needs, and write down the members "
    "of other kernel structures yourself, with __attribute__((preserve_access_index))"
)
_KERNEL_S_OWN = (
    "a header of the kernel's own, which is not there for programs: write down the members "
    "that you use, with __attribute__((preserve_access_index))"
)
_TAKES_IN = (
    "it takes in headers of the C library, of which a device has none: write down in the "
    "device's source what you use of it"
)
# Headers of the C library, and what a device has in the place of each.
_INSTEAD = {
    "string.h": "write __builtin_memset() and __builtin_memcpy(), with a constant length",
    "stdio.h": "write kvmbpf_log() to say something",
    "stdlib.h": "there is no heap; state is in global variables and maps, and "
    "bpf_get_prandom_u32() is a random number",
    "errno.h": "kvmbpf.bpf.h has the error numbers",
    "time.h": "write bpf_ktime_get_ns(), or KVMBPF_TIMER()",
    "math.h": "there is no floating point",
    "assert.h": "write _Static_assert(), or return an error",
    "pthread.h": "a device's programs run one at a time unless it says KVMBPF_CONCURRENT",
    "inttypes.h": "kvmbpf.bpf.h has __u8 to __u64; <stdint.h> is there",
}
_SAME_AS = {
    "strings.h": "string.h",
    "memory.h": "string.h",
    "malloc.h": "stdlib.h",
    "sys/time.h": "time.h",
    "sys/types.h": "inttypes.h",
    "endian.h": "bits",
}
_BYTES = "write __builtin_bswap32() and the like, or include <linux/byteorder/...>"
_ELSE = "kvmbpf.bpf.h has the types, the error numbers and BPF's helpers"
_C_LIBRARY = frozenset(
    (
        *(*_INSTEAD, *_SAME_AS),
        *("ctype.h", "fcntl.h", "signal.h", "unistd.h", "poll.h", "features.h", "setjmp.h"),
        *("locale.h", "wchar.h", "netdb.h", "dirent.h", "search.h", "regex.h", "sched.h"),
        *("limits.h", "semaphore.h", "threads.h", "fenv.h", "complex.h", "dlfcn.h"),
    )
)
_C_LIBRARY_FOLDERS = ("sys/", "arpa/", "netinet/", "net/", "bits/", "gnu/")


def plain(text: str) -> str:
    """Return an error less what clang says around a sentence of the header's, and less its graph.

    :param text: the words of an error, one line.
    """
    match = _SENTENCE.fullmatch(text)
    if match is not None:
        return match["old"] or match["new"] or match["call"]
    selected = _CANNOT_SELECT.search(text)
    if selected is not None:
        width = re.search(r"\((?:s|load \(s|store \(s)(8|16)\)|\(s(8|16)\)", text)
        of = f" of i{width[1] or width[2]}" if width else ""
        return f"BPF has no {selected['operation']}{of}"
    return _GRAPH.sub(lambda found: f" {_callee(found['callee'])}".rstrip(), text)


def _callee(text: str | None) -> str:
    return f"{text.rpartition('@')[2]}()" if text and "@" in text else ""


def advice(text: str) -> str:
    """Return what to do about an error, or empty where it is not known.

    :param text: its words, as `plain` gives them.
    """
    for pattern, mend in _ADVICE:
        match = pattern.search(text)
        if match is not None:
            names = match.groupdict()
            return mend.format(**names) if names else mend
    return ""


def header_advice(name: str, text: str) -> str:
    """Return what to say of a header that a device cannot include, or empty.

    :param name: as the author wrote it, as ``<string.h>``.
    :param text: the error that it led to.
    """
    header = name[1:-1]
    if header.rpartition("/")[2].startswith("vmlinux"):
        return f"{name} has types that kvmbpf.bpf.h has already: {_VMLINUX}"
    if header in _C_LIBRARY or header.startswith(_C_LIBRARY_FOLDERS):
        what = f"{name} is of the C library, of which a device has none"
        return f"{what}: take the line out; {_instead(header)}"
    if _is_any(text, ("gnu/stubs", "bits/", "sys/cdefs", "features.h")):
        return f"{name}: {_TAKES_IN}"
    return ""


def missing_header_advice(name: str) -> str:
    """Return what to say of a header that is not there, or empty.

    :param name: as the author wrote it, as ``<linux/kvm_host.h>``.
    """
    header = name[1:-1]
    if header.rpartition("/")[2].startswith("vmlinux"):
        return f"{name} is not there, and not needed: {_VMLINUX}"
    if header.startswith(("linux/", "asm/", "net/", "uapi/", "kvm/", "generated/")):
        return f"{name} is not there: {_KERNEL_S_OWN}"
    return ""


def _instead(header: str) -> str:
    same = _SAME_AS.get(header, header)
    return _BYTES if same == "bits" else _INSTEAD.get(same, _ELSE)


def _is_any(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)
