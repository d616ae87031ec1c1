# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers and structures of <linux/bpf.h> and <linux/btf.h> used here.

Kept to what libbpf's wrappers do not hide. Names keep the kernel's spelling.
The info structures are prefixes: the kernel fills what it is given room for,
and zeroes what it does not know.

Source: include/uapi/linux/bpf.h and include/uapi/linux/btf.h, v6.12.
"""

from __future__ import annotations

import ctypes
from typing import Final

# enum bpf_map_type
BPF_MAP_TYPE_HASH: Final = 1
BPF_MAP_TYPE_ARRAY: Final = 2
BPF_MAP_TYPE_PROG_ARRAY: Final = 3
BPF_MAP_TYPE_PERF_EVENT_ARRAY: Final = 4
BPF_MAP_TYPE_PERCPU_HASH: Final = 5
BPF_MAP_TYPE_PERCPU_ARRAY: Final = 6
BPF_MAP_TYPE_LRU_PERCPU_HASH: Final = 10
BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: Final = 21
BPF_MAP_TYPE_STRUCT_OPS: Final = 26
BPF_MAP_TYPE_RINGBUF: Final = 27
# the names of all, as bpftool has them, by number
MAP_TYPE_NAMES: Final = {
    0: "unspec",
    1: "hash",
    2: "array",
    3: "prog_array",
    4: "perf_event_array",
    5: "percpu_hash",
    6: "percpu_array",
    7: "stack_trace",
    8: "cgroup_array",
    9: "lru_hash",
    10: "lru_percpu_hash",
    11: "lpm_trie",
    12: "array_of_maps",
    13: "hash_of_maps",
    14: "devmap",
    15: "sockmap",
    16: "cpumap",
    17: "xskmap",
    18: "sockhash",
    19: "cgroup_storage",
    20: "reuseport_sockarray",
    21: "percpu_cgroup_storage",
    22: "queue",
    23: "stack",
    24: "sk_storage",
    25: "devmap_hash",
    26: "struct_ops",
    27: "ringbuf",
    28: "inode_storage",
    29: "task_storage",
    30: "bloom_filter",
    31: "user_ringbuf",
    32: "cgrp_storage",
    33: "arena",
}

# enum bpf_attach_type
BPF_STRUCT_OPS: Final = 44

# enum bpf_prog_type
BPF_PROG_TYPE_SYSCALL: Final = 31

# flags of BPF_PROG_LOAD
BPF_F_SLEEPABLE: Final = 1 << 4

# enum bpf_func_id
BPF_FUNC_get_current_task: Final = 35
BPF_FUNC_probe_read_kernel: Final = 113

# enum bpf_link_type
BPF_LINK_TYPE_STRUCT_OPS: Final = 9

# enum bpf_stats_type
BPF_STATS_RUN_TIME: Final = 0

# flags of BPF_LINK_UPDATE, BPF_MAP_CREATE
BPF_F_REPLACE: Final = 1 << 2
BPF_F_RDONLY: Final = 1 << 3
BPF_F_WRONLY: Final = 1 << 4
BPF_F_RDONLY_PROG: Final = 1 << 7
BPF_F_MMAPABLE: Final = 1 << 10
BPF_F_LINK: Final = 1 << 13

BPF_OBJ_NAME_LEN: Final = 16
BPF_TAG_SIZE: Final = 8

# BTF_KIND_*
BTF_KIND_VOID: Final = 0
BTF_KIND_INT: Final = 1
BTF_KIND_PTR: Final = 2
BTF_KIND_ARRAY: Final = 3
BTF_KIND_STRUCT: Final = 4
BTF_KIND_UNION: Final = 5
BTF_KIND_ENUM: Final = 6
BTF_KIND_FWD: Final = 7
BTF_KIND_TYPEDEF: Final = 8
BTF_KIND_VOLATILE: Final = 9
BTF_KIND_CONST: Final = 10
BTF_KIND_RESTRICT: Final = 11
BTF_KIND_FUNC: Final = 12
BTF_KIND_FUNC_PROTO: Final = 13
BTF_KIND_VAR: Final = 14
BTF_KIND_DATASEC: Final = 15
BTF_KIND_FLOAT: Final = 16
BTF_KIND_DECL_TAG: Final = 17
BTF_KIND_TYPE_TAG: Final = 18
BTF_KIND_ENUM64: Final = 19

# BTF_INT_ENCODING()
BTF_INT_SIGNED: Final = 1 << 0
BTF_INT_BOOL: Final = 1 << 2


class bpf_map_info(ctypes.Structure):
    """``struct bpf_map_info``."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * BPF_OBJ_NAME_LEN),
        ("ifindex", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_id", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
    )


class bpf_prog_info(ctypes.Structure):
    """``struct bpf_prog_info``, up to its counters."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * BPF_TAG_SIZE),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),  # ns since boot, CLOCK_BOOTTIME
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * BPF_OBJ_NAME_LEN),
        ("ifindex", ctypes.c_uint32),
        ("gpl_compatible", ctypes.c_uint32),  # bit 0
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("nr_jited_ksyms", ctypes.c_uint32),
        ("nr_jited_func_lens", ctypes.c_uint32),
        ("jited_ksyms", ctypes.c_uint64),
        ("jited_func_lens", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("nr_func_info", ctypes.c_uint32),
        ("nr_line_info", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("jited_line_info", ctypes.c_uint64),
        ("nr_jited_line_info", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("jited_line_info_rec_size", ctypes.c_uint32),
        ("nr_prog_tags", ctypes.c_uint32),
        ("prog_tags", ctypes.c_uint64),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("verified_insns", ctypes.c_uint32),
    )


class bpf_link_info(ctypes.Structure):
    """``struct bpf_link_info``, with the union's ``struct_ops`` arm only.

    The union is aligned to 8 bytes and 48 bytes long in v6.12; the rest of it
    is room for what other kinds of link fill in.
    """

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("struct_ops_map_id", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 11),
    )


class bpf_btf_info(ctypes.Structure):
    """``struct bpf_btf_info``."""

    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("name", ctypes.c_uint64),
        ("name_len", ctypes.c_uint32),
        ("kernel_btf", ctypes.c_uint32),
    )
