# SPDX-License-Identifier: GPL-2.0-or-later
"""The libbpf functions that kvmbpf calls: every prototype, and only here.

`PROTOTYPES` maps a function's name to its result type and argument types; the
C prototype stands above each. Handles (``struct bpf_object *`` and the like)
are plain addresses: the classes beside this file own them. A function that
returns an error does so as a negative errno, one that returns a pointer gives
NULL and sets errno (libbpf 1.0 and newer).

Source: bpf/libbpf.h, bpf/bpf.h and bpf/btf.h, libbpf 1.1 to 1.5.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

# typedef int (*libbpf_print_fn_t)(enum libbpf_print_level level, const char *, va_list ap);
# A va_list argument arrives as an address on x86-64 and arm64 alike.
PrintFn = ctypes.CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)

# typedef int (*ring_buffer_sample_fn)(void *ctx, void *data, size_t size);
RingFn = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)


class bpf_test_run_opts(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class bpf_prog_load_opts(ctypes.Structure):
    """``struct bpf_prog_load_opts``, up to its flags."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
    )


class bpf_link_update_opts(ctypes.Structure):
    """``struct bpf_link_update_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("old_prog_fd", c_uint32),
        ("old_map_fd", c_uint32),
    )


PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    # __u32 libbpf_major_version(void);
    "libbpf_major_version": (c_uint32, ()),
    # __u32 libbpf_minor_version(void);
    "libbpf_minor_version": (c_uint32, ()),
    # libbpf_print_fn_t libbpf_set_print(libbpf_print_fn_t fn);
    "libbpf_set_print": (c_void_p, (PrintFn,)),
    # int libbpf_strerror(int err, char *buf, size_t size);
    "libbpf_strerror": (c_int, (c_int, c_char_p, c_size_t)),
    # int libbpf_num_possible_cpus(void);
    "libbpf_num_possible_cpus": (c_int, ()),
    #
    # objects
    # struct bpf_object *bpf_object__open_file(const char *path,
    #                                          const struct bpf_object_open_opts *opts);
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    # struct bpf_object *bpf_object__open_mem(const void *obj_buf, size_t obj_buf_sz,
    #                                         const struct bpf_object_open_opts *opts);
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, c_void_p)),
    # int bpf_object__load(struct bpf_object *obj);
    "bpf_object__load": (c_int, (c_void_p,)),
    # void bpf_object__close(struct bpf_object *obj);
    "bpf_object__close": (None, (c_void_p,)),
    # struct btf *bpf_object__btf(const struct bpf_object *obj);
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    # struct bpf_program *bpf_object__next_program(const struct bpf_object *obj,
    #                                              struct bpf_program *prog);
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    # struct bpf_map *bpf_object__next_map(const struct bpf_object *obj,
    #                                      const struct bpf_map *map);
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    #
    # programs of an object
    # const char *bpf_program__name(const struct bpf_program *prog);
    "bpf_program__name": (c_char_p, (c_void_p,)),
    # const char *bpf_program__section_name(const struct bpf_program *prog);
    "bpf_program__section_name": (c_char_p, (c_void_p,)),
    # int bpf_program__fd(const struct bpf_program *prog);
    "bpf_program__fd": (c_int, (c_void_p,)),
    # size_t bpf_program__insn_cnt(const struct bpf_program *prog);
    "bpf_program__insn_cnt": (c_size_t, (c_void_p,)),
    # bool bpf_program__autoload(const struct bpf_program *prog);
    "bpf_program__autoload": (c_bool, (c_void_p,)),
    # int bpf_program__set_autoload(struct bpf_program *prog, bool autoload);
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    # int bpf_program__set_log_buf(struct bpf_program *prog, char *log_buf, size_t log_size);
    "bpf_program__set_log_buf": (c_int, (c_void_p, c_void_p, c_size_t)),
    # int bpf_prog_test_run_opts(int prog_fd, struct bpf_test_run_opts *opts);
    "bpf_prog_test_run_opts": (c_int, (c_int, POINTER(bpf_test_run_opts))),
    #
    # maps of an object
    # const char *bpf_map__name(const struct bpf_map *map);
    "bpf_map__name": (c_char_p, (c_void_p,)),
    # int bpf_map__fd(const struct bpf_map *map);
    "bpf_map__fd": (c_int, (c_void_p,)),
    # enum bpf_map_type bpf_map__type(const struct bpf_map *map);
    "bpf_map__type": (c_int, (c_void_p,)),
    # __u32 bpf_map__key_size(const struct bpf_map *map);
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    # __u32 bpf_map__value_size(const struct bpf_map *map);
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    # __u32 bpf_map__max_entries(const struct bpf_map *map);
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    # __u32 bpf_map__map_flags(const struct bpf_map *map);
    "bpf_map__map_flags": (c_uint32, (c_void_p,)),
    # __u32 bpf_map__btf_key_type_id(const struct bpf_map *map);
    "bpf_map__btf_key_type_id": (c_uint32, (c_void_p,)),
    # __u32 bpf_map__btf_value_type_id(const struct bpf_map *map);
    "bpf_map__btf_value_type_id": (c_uint32, (c_void_p,)),
    # bool bpf_map__autocreate(const struct bpf_map *map);
    "bpf_map__autocreate": (c_bool, (c_void_p,)),
    # int bpf_map__set_autocreate(struct bpf_map *map, bool autocreate);
    "bpf_map__set_autocreate": (c_int, (c_void_p, c_bool)),
    # int bpf_map__set_pin_path(struct bpf_map *map, const char *path);
    "bpf_map__set_pin_path": (c_int, (c_void_p, c_char_p)),
    # int bpf_map__reuse_fd(struct bpf_map *map, int fd);
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    # void *bpf_map__initial_value(const struct bpf_map *map, size_t *psize);
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    #
    # maps by descriptor
    # int bpf_map_get_fd_by_id(__u32 id);
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    # int bpf_map_lookup_elem(int fd, const void *key, void *value);
    "bpf_map_lookup_elem": (c_int, (c_int, c_char_p, c_void_p)),
    # int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
    "bpf_map_update_elem": (c_int, (c_int, c_char_p, c_char_p, c_uint64)),
    # int bpf_map_delete_elem(int fd, const void *key);
    "bpf_map_delete_elem": (c_int, (c_int, c_char_p)),
    # int bpf_map_get_next_key(int fd, const void *key, void *next_key);
    "bpf_map_get_next_key": (c_int, (c_int, c_char_p, c_void_p)),
    #
    # ring buffers
    # struct ring_buffer *ring_buffer__new(int map_fd, ring_buffer_sample_fn sample_cb,
    #                                      void *ctx, const struct ring_buffer_opts *opts);
    "ring_buffer__new": (c_void_p, (c_int, RingFn, c_void_p, c_void_p)),
    # int ring_buffer__consume(struct ring_buffer *rb);
    "ring_buffer__consume": (c_int, (c_void_p,)),
    # int ring_buffer__epoll_fd(const struct ring_buffer *rb);
    "ring_buffer__epoll_fd": (c_int, (c_void_p,)),
    # void ring_buffer__free(struct ring_buffer *rb);
    "ring_buffer__free": (None, (c_void_p,)),
    #
    # programs by descriptor
    # int bpf_prog_load(enum bpf_prog_type prog_type, const char *prog_name, const char *license,
    #                   const struct bpf_insn *insns, size_t insn_cnt,
    #                   struct bpf_prog_load_opts *opts);
    "bpf_prog_load": (
        c_int,
        (c_int, c_char_p, c_char_p, c_char_p, c_size_t, POINTER(bpf_prog_load_opts)),
    ),
    # int bpf_prog_get_fd_by_id(__u32 id);
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    # int bpf_enable_stats(enum bpf_stats_type type);
    "bpf_enable_stats": (c_int, (c_int,)),
    #
    # links by descriptor
    # int bpf_link_create(int prog_fd, int target_fd, enum bpf_attach_type attach_type,
    #                     const struct bpf_link_create_opts *opts);
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    # int bpf_link_update(int link_fd, int new_prog_fd,
    #                     const struct bpf_link_update_opts *opts);
    "bpf_link_update": (c_int, (c_int, c_int, POINTER(bpf_link_update_opts))),
    # int bpf_link_detach(int link_fd);
    "bpf_link_detach": (c_int, (c_int,)),
    #
    # pins, and what a descriptor is; the newer bpf_map_get_info_by_fd() and the like
    # do the same, and Debian 12's libbpf has not got them
    # int bpf_obj_get_info_by_fd(int bpf_fd, void *info, __u32 *info_len);
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    # int bpf_obj_pin(int fd, const char *pathname);
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    # int bpf_obj_get(const char *pathname);
    "bpf_obj_get": (c_int, (c_char_p,)),
    #
    # BTF
    # struct btf *btf__load_vmlinux_btf(void);
    "btf__load_vmlinux_btf": (c_void_p, ()),
    # struct btf *btf__new(const void *data, __u32 size);
    "btf__new": (c_void_p, (c_void_p, c_uint32)),
    # struct btf *btf__parse_split(const char *path, struct btf *base_btf);
    "btf__parse_split": (c_void_p, (c_char_p, c_void_p)),
    # struct btf *btf__load_from_kernel_by_id(__u32 id);
    "btf__load_from_kernel_by_id": (c_void_p, (c_uint32,)),
    # struct btf *btf__load_from_kernel_by_id_split(__u32 id, struct btf *base_btf);
    "btf__load_from_kernel_by_id_split": (c_void_p, (c_uint32, c_void_p)),
    # void btf__free(struct btf *btf);
    "btf__free": (None, (c_void_p,)),
    # const struct btf *btf__base_btf(const struct btf *btf);
    "btf__base_btf": (c_void_p, (c_void_p,)),
    # const void *btf__raw_data(const struct btf *btf, __u32 *size);
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
    # __u32 btf__type_cnt(const struct btf *btf);
    "btf__type_cnt": (c_uint32, (c_void_p,)),
    # const struct btf_type *btf__type_by_id(const struct btf *btf, __u32 id);
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    # const char *btf__name_by_offset(const struct btf *btf, __u32 offset);
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    # __s32 btf__find_by_name_kind(const struct btf *btf, const char *type_name, __u32 kind);
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    # __s64 btf__resolve_size(const struct btf *btf, __u32 type_id);
    "btf__resolve_size": (ctypes.c_int64, (c_void_p, c_uint32)),
    # int bpf_btf_get_fd_by_id(__u32 id);
    "bpf_btf_get_fd_by_id": (c_int, (c_uint32,)),
}
