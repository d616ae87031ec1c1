/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device programs, and the struct_ops maps that are made of them.
 *
 * libbpf loads the programs. The maps are made with bare system calls, so that
 * every byte of what is attached can be any.
 */
#ifndef FUZZ_OBJECTS_H
#define FUZZ_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "steer.h"

#define OBJECTS_MAX 16

struct bpf_object;

struct object {
	char name[32];
	struct bpf_object *bpf;
	int read;
	int write;
	int reset; /* 0 if it has none */
	uint32_t flags;
	struct fuzz_steer *steer;
};

/* What goes into a struct_ops map: descriptors of programs, and our fields. */
struct ops_value {
	uint64_t read;
	uint64_t write;
	uint64_t reset;
	int32_t device_fd;
	uint32_t flags;
};

struct ops_layout {
	int btf; /* descriptor: the kernel wants one, whatever is in it */
	uint32_t value_type;
	uint32_t size;
	uint32_t read;
	uint32_t write;
	uint32_t reset;
	uint32_t device_fd;
	uint32_t flags;
	uint32_t ops_type;
	uint32_t read_index; /* among the type's members */
	uint32_t write_index;
	uint32_t reset_index;
};

extern struct object objects[OBJECTS_MAX];
extern unsigned int nr_objects;
extern struct ops_layout ops_layout;

void objects_find_layout(void);
void objects_open(const char *folder);
void object_open(struct object *object, const char *path);
int object_load(struct object *object);
int object_load_again(struct object *object);
void object_close(struct object *object);

int sys_bpf(int command, void *attr, unsigned int size);
int ops_map_create(void);
int ops_map_set(int map, const void *value);
int ops_map_of(const struct ops_value *value);
void ops_value_layout(const struct ops_value *value, void *buffer);
struct ops_value object_value(const struct object *object, int device_fd);
int ops_link_create(int map);
int ops_link_update(int link, int map, int old_map);
int ops_link_detach(int link);
int bpf_pin(int fd, const char *path);
int bpf_get_pinned(const char *path);
int bpf_next_id(int command, uint32_t *id);

#endif /* FUZZ_OBJECTS_H */
