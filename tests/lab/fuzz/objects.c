// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Device programs and struct_ops maps: where the kernel wants which byte comes
 * from its BTF; all calls return a negative error number on failure.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "objects.h"

#define OPS_VALUE "bpf_struct_ops_kvm_bpf_ops"

struct object objects[OBJECTS_MAX];
unsigned int nr_objects;
struct ops_layout ops_layout;

static uint32_t member_index(const struct btf *btf, const struct btf_type *type, const char *name)
{
	const struct btf_member *member = btf_members(type);
	int i;

	for (i = 0; i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, member[i].name_off), name))
			return i;

	errx(2, "the kernel's BTF has no %s", name);
}

static uint32_t member_offset(const struct btf *btf, const struct btf_type *type, const char *name)
{
	return btf_member_bit_offset(type, member_index(btf, type, name)) / 8;
}

static const struct btf_type *find_type(const struct btf *btf, const char *name, uint32_t *id)
{
	int found = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	if (found < 0)
		errx(2, "the kernel's BTF has no struct %s", name);
	if (id)
		*id = found;
	return btf__type_by_id(btf, found);
}

void objects_find_layout(void)
{
	const struct btf_type *value, *ops;
	struct btf *btf = btf__load_vmlinux_btf();
	uint32_t data;

	if (!btf)
		err(2, "the kernel's BTF");

	value = find_type(btf, OPS_VALUE, &ops_layout.value_type);
	ops = find_type(btf, "kvm_bpf_ops", &ops_layout.ops_type);
	data = member_offset(btf, value, "data");
	ops_layout.size = value->size;
	ops_layout.read = data + member_offset(btf, ops, "read");
	ops_layout.write = data + member_offset(btf, ops, "write");
	ops_layout.reset = data + member_offset(btf, ops, "reset");
	ops_layout.device_fd = data + member_offset(btf, ops, "device_fd");
	ops_layout.flags = data + member_offset(btf, ops, "flags");
	ops_layout.read_index = member_index(btf, ops, "read");
	ops_layout.write_index = member_index(btf, ops, "write");
	ops_layout.reset_index = member_index(btf, ops, "reset");
	btf__free(btf);
}

/* Open an object; it is loaded by object_load(), here or in a child. */
void object_open(struct object *object, const char *path)
{
	const char *base = strrchr(path, '/');

	snprintf(object->name, sizeof(object->name), "%.*s",
		 (int)strcspn(base ? base + 1 : path, "."), base ? base + 1 : path);
	object->flags = !strcmp(object->name, "concurrent");
	object->bpf = bpf_object__open_file(path, NULL);
	if (!object->bpf)
		err(2, "%s", path);
}

static int program_fd(struct bpf_object *bpf, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(bpf, name);

	return program ? bpf_program__fd(program) : 0;
}

/* libbpf 1.4 maps the variables for skeletons only. */
static struct fuzz_steer *map_steer(struct bpf_object *bpf)
{
	struct bpf_map *bss = bpf_object__find_map_by_name(bpf, ".bss");
	void *steer;

	if (!bss)
		return NULL;

	steer = mmap(NULL, sizeof(struct fuzz_steer), PROT_READ | PROT_WRITE, MAP_SHARED,
		     bpf_map__fd(bss), 0);
	return steer == MAP_FAILED ? NULL : steer;
}

int object_load(struct object *object)
{
	int r;

	r = bpf_object__load(object->bpf);
	if (r)
		return r;

	if (!ops_layout.btf)
		ops_layout.btf = bpf_object__btf_fd(object->bpf);
	object->read = program_fd(object->bpf, "read_it");
	object->write = program_fd(object->bpf, "write_it");
	object->reset = program_fd(object->bpf, "reset_it");
	object->steer = map_steer(object->bpf);
	return object->steer ? 0 : -ENOMEM;
}

void object_close(struct object *object)
{
	if (object->steer)
		munmap(object->steer, sizeof(*object->steer));
	bpf_object__close(object->bpf);
}

static int load_again(struct bpf_object *bpf, const char *name, uint32_t index)
{
	struct bpf_program *program = bpf_object__find_program_by_name(bpf, name);
	LIBBPF_OPTS(bpf_prog_load_opts, options, .attach_btf_id = ops_layout.ops_type,
		    .expected_attach_type = index);

	if (!program)
		return 0;

	return bpf_prog_load(BPF_PROG_TYPE_STRUCT_OPS, name, "GPL", bpf_program__insns(program),
			     bpf_program__insn_cnt(program), &options);
}

/*
 * Load a loaded object's programs once more, without what takes libbpf most of
 * its time; they share the variables with the first ones.
 */
int object_load_again(struct object *object)
{
	object->read = load_again(object->bpf, "read_it", ops_layout.read_index);
	object->write = load_again(object->bpf, "write_it", ops_layout.write_index);
	object->reset = load_again(object->bpf, "reset_it", ops_layout.reset_index);
	if (object->read < 0)
		return object->read;
	if (object->write < 0)
		return object->write;
	return object->reset < 0 ? object->reset : 0;
}

/* Open and load every object of a folder, in the order of their names. */
void objects_open(const char *folder)
{
	struct dirent **entries;
	char path[4096];
	int i, n;

	n = scandir(folder, &entries, NULL, alphasort);
	if (n < 0)
		err(2, "%s", folder);

	for (i = 0; i < n && nr_objects < OBJECTS_MAX; i++) {
		if (!strstr(entries[i]->d_name, ".bpf.o"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		object_open(&objects[nr_objects], path);
		if (object_load(&objects[nr_objects]))
			errx(2, "%s does not load", path);
		nr_objects++;
	}
	if (!nr_objects)
		errx(2, "%s: no objects there", folder);
}

int sys_bpf(int command, void *attr, unsigned int size)
{
	int r = syscall(SYS_bpf, command, attr, size);

	return r < 0 ? -errno : r;
}

int ops_map_create(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_STRUCT_OPS,
		.key_size = sizeof(uint32_t),
		.value_size = ops_layout.size,
		.max_entries = 1,
		.map_flags = BPF_F_LINK,
		.map_name = "fuzz_ops",
		.btf_fd = ops_layout.btf,
		.btf_vmlinux_value_type_id = ops_layout.value_type,
	};

	return sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

int ops_map_set(int map, const void *value)
{
	union bpf_attr attr = {
		.map_fd = map,
		.key = (unsigned long)&(uint32_t){ 0 },
		.value = (unsigned long)value,
	};

	return sys_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
}

void ops_value_layout(const struct ops_value *value, void *buffer)
{
	memset(buffer, 0, ops_layout.size);
	memcpy(buffer + ops_layout.read, &value->read, sizeof(value->read));
	memcpy(buffer + ops_layout.write, &value->write, sizeof(value->write));
	memcpy(buffer + ops_layout.reset, &value->reset, sizeof(value->reset));
	memcpy(buffer + ops_layout.device_fd, &value->device_fd, sizeof(value->device_fd));
	memcpy(buffer + ops_layout.flags, &value->flags, sizeof(value->flags));
}

struct ops_value object_value(const struct object *object, int device_fd)
{
	return (struct ops_value){
		.read = object->read,
		.write = object->write,
		.reset = object->reset,
		.device_fd = device_fd,
		.flags = object->flags,
	};
}

/* Make a map that can be attached; return its descriptor. */
int ops_map_of(const struct ops_value *value)
{
	char buffer[ops_layout.size];
	int map, r;

	map = ops_map_create();
	if (map < 0)
		return map;

	ops_value_layout(value, buffer);
	r = ops_map_set(map, buffer);
	if (!r)
		return map;

	close(map);
	return r;
}

int ops_link_create(int map)
{
	union bpf_attr attr = {
		.link_create.map_fd = map,
		.link_create.attach_type = BPF_STRUCT_OPS,
	};

	return sys_bpf(BPF_LINK_CREATE, &attr, sizeof(attr));
}

/* With an old map only if that one is attached; -1: whichever is. */
int ops_link_update(int link, int map, int old_map)
{
	union bpf_attr attr = {
		.link_update.link_fd = link,
		.link_update.new_map_fd = map,
	};

	if (old_map >= 0) {
		attr.link_update.flags = BPF_F_REPLACE;
		attr.link_update.old_map_fd = old_map;
	}

	return sys_bpf(BPF_LINK_UPDATE, &attr, sizeof(attr));
}

int ops_link_detach(int link)
{
	union bpf_attr attr = { .link_detach.link_fd = link };

	return sys_bpf(BPF_LINK_DETACH, &attr, sizeof(attr));
}

int bpf_pin(int fd, const char *path)
{
	union bpf_attr attr = { .bpf_fd = fd, .pathname = (unsigned long)path };

	return sys_bpf(BPF_OBJ_PIN, &attr, sizeof(attr));
}

int bpf_get_pinned(const char *path)
{
	union bpf_attr attr = { .pathname = (unsigned long)path };

	return sys_bpf(BPF_OBJ_GET, &attr, sizeof(attr));
}

/* Step to the next id of a BPF_*_GET_NEXT_ID; -ENOENT behind the last. */
int bpf_next_id(int command, uint32_t *id)
{
	union bpf_attr attr = { .start_id = *id };
	int r;

	r = sys_bpf(command, &attr, sizeof(attr));
	*id = attr.next_id;
	return r;
}
