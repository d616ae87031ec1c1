/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf.bpf.h - what a device author includes
 *
 * Problem: a device model should be one file that says both what the device
 * is (name, regions, interrupts) and how it answers an access, without its
 * author knowing the kernel's structures.
 * Approach: KVMBPF_DEVICE() writes the description into an ELF note and
 * declares the struct_ops map; KVMBPF_READ() and KVMBPF_WRITE() wrap the
 * author's function bodies into the programs that the kernel calls. Bodies see
 * struct kvmbpf_access, which is ours and stays; the kernel's own structure
 * appears in the wrappers only, through CO-RE relocations.
 * Obsolete when: never; new kernel interfaces get new wrappers here.
 *
 * A whole device:
 *
 *	#include <kvmbpf.bpf.h>
 *
 *	KVMBPF_DEVICE(counter, .compatible = "kvmbpf,counter",
 *		      .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);
 *
 *	__u64 count;
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		if (acc->offset != 0)
 *			return KVMBPF_DECLINE;
 *		acc->value = count;
 *		return 0;
 *	}
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		count += acc->value;
 *		return kvmbpf_irq(acc, 0, 1);
 *	}
 *
 * Global variables are the device's state: they survive a hot update to an
 * object that has the same ones. A device has both a KVMBPF_READ and a
 * KVMBPF_WRITE; one that serves reads only returns KVMBPF_DECLINE from the
 * other. Needs clang 14 or newer, with -O2 -g -target bpf -mcpu=v3.
 */
#ifndef KVMBPF_BPF_H
#define KVMBPF_BPF_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Limits of a device. The note's layout and the kernel's interface share them. */
#define KVMBPF_MAX_REGIONS	8
#define KVMBPF_MAX_IRQS		32
#define KVMBPF_NAME_BYTES	32	/* of a device or program, with its NUL */
#define KVMBPF_COMPATIBLE_BYTES	64	/* with its NUL */

/*
 * What a body returns. Any other value is a fault: a read gives all ones, a
 * write is dropped.
 *
 *	if (acc->offset >= MY_REGS_END)
 *		return KVMBPF_DECLINE;
 */
#define KVMBPF_ANSWERED	0	/* this device answered */
#define KVMBPF_DECLINE	(-95)	/* -EOPNOTSUPP: the access goes on to the VMM */

/*
 * One access, as a body sees it. A read's body stores the answer in value;
 * the low len bytes of it reach the guest. All else is for reading.
 */
struct kvmbpf_access {
	__u64 offset;	/* in the region, in bytes or ports */
	__u64 value;	/* written by the guest, or the answer; host byte order */
	__u32 len;	/* 1 to 8 bytes; odd ones come from accesses that cross a page */
	__u32 region;	/* index in .regions */
	__u32 vcpu;	/* id of the vCPU that made the access */
	__u32 reserved;
	void *handle;	/* private: what the entry was called with */
};

/* ---- the note: what the device says it is ------------------------------- */

/*
 * Section .note.kvmbpf holds one ELF note, aligned to 4 bytes, all numbers in
 * the byte order of the file. Strings are NUL-terminated and NUL-filled.
 *
 *	offset  bytes  content
 *	 0x000      4  namesz = 7
 *	 0x004      4  descsz = 760
 *	 0x008      4  type = 1 (device)
 *	 0x00c      8  owner "KVMBPF", NUL, and one byte of padding
 *	 0x014      4  format = 1: version of this layout
 *	 0x018      4  version of the device's state schema, 1 and up
 *	 0x01c      4  flags = 0
 *	 0x020      4  irqs: how many, 0 to 32
 *	 0x024      4  level_irqs: bit i set: irq i is level-triggered, else edge
 *	 0x028      4  reserved = 0
 *	 0x02c     32  name
 *	 0x04c     64  compatible
 *	 0x08c    640  8 regions of 80 bytes; unused ones come last, all zero:
 *		+0x00      4  bus: 0 = MMIO, 1 = PIO
 *		+0x04      4  flags = 0
 *		+0x08      8  size in bytes, not 0; on PIO at most 0x10000
 *		+0x10     32  name of the program that answers reads
 *		+0x30     32  name of the program that answers writes
 *	 0x30c         end
 *
 * kvmbpf/objfile.py reads it, and repeats this table.
 */
#define KVMBPF_NOTE_FORMAT	1
#define KVMBPF_NOTE_DEVICE	1
#define KVMBPF_BUS_MMIO		0
#define KVMBPF_BUS_PIO		1

struct kvmbpf_region {
	__u32 bus;
	__u32 flags;
	__u64 size;
	char read[KVMBPF_NAME_BYTES];
	char write[KVMBPF_NAME_BYTES];
} __attribute__((packed, aligned(4)));

struct kvmbpf_device {
	__u32 format;
	__u32 version;
	__u32 flags;
	__u32 irqs;
	__u32 level_irqs;
	__u32 reserved;
	char name[KVMBPF_NAME_BYTES];
	char compatible[KVMBPF_COMPATIBLE_BYTES];
	struct kvmbpf_region regions[KVMBPF_MAX_REGIONS];
} __attribute__((packed, aligned(4)));

struct kvmbpf_note {
	__u32 namesz;
	__u32 descsz;
	__u32 type;
	char owner[8];
	struct kvmbpf_device device;
} __attribute__((packed, aligned(4)));

_Static_assert(sizeof(struct kvmbpf_region) == 80, "the note's region is 80 bytes");
_Static_assert(sizeof(struct kvmbpf_device) == 760, "the note's content is 760 bytes");
_Static_assert(sizeof(struct kvmbpf_note) == 0x30c, "the note is 0x30c bytes");

/* The description with one region more, so that one too many can be told. */
struct kvmbpf_device_check {
	__u32 version, irqs, level_irqs;
	char compatible[KVMBPF_COMPATIBLE_BYTES];
	struct kvmbpf_region regions[KVMBPF_MAX_REGIONS + 1];
};

/* ---- the kernel's side --------------------------------------------------- */

/* Sources: the structures and the kfunc of kernel_patches/. */
struct kvm_bpf_device;

struct kvm_bpf_access {
	struct kvm_bpf_device *dev;
	__u64 offset;
	__u64 value;
	__u32 len;
	__u32 region;
	__u32 vcpu_id;
} __attribute__((preserve_access_index));

struct kvm_bpf_ops {
	int (*read)(struct kvm_bpf_access *acc);
	int (*write)(struct kvm_bpf_access *acc);
	__s32 device_fd;	/* the loader sets it before it attaches */
};

extern int kvm_bpf_set_irq(struct kvm_bpf_access *acc, __u32 irq, __u32 level) __ksym;

int kvmbpf_read(__u64 *ctx);
int kvmbpf_write(__u64 *ctx);

/*
 * Copy the kernel's access. A second kind of entry would have its own copy
 * function and hand the same bodies the same struct kvmbpf_access.
 */
static __always_inline struct kvmbpf_access
kvmbpf_from_kernel(struct kvm_bpf_access *from)
{
	struct kvmbpf_access acc = {
		.offset = from->offset,
		.len = from->len,
		.region = from->region,
		.vcpu = from->vcpu_id,
		.handle = from,
	};

	return acc;
}

/* ---- what authors use ---------------------------------------------------- */

/*
 * KVMBPF_DEVICE(name, ...): say what the device is. Once in an object, before
 * KVMBPF_READ and KVMBPF_WRITE. The name is an identifier; a hot update wants
 * the same one. Fields:
 *
 *	.compatible	what the guest's driver binds to; needed
 *	.regions	up to 8 of KVMBPF_MMIO(size) and KVMBPF_PIO(size); needed
 *	.irqs		how many interrupts, up to 32; default 0
 *	.level_irqs	bit i set: irq i is level-triggered; default 0, all edge
 *	.version	of the state's schema (the global variables); default 1
 *
 *	KVMBPF_DEVICE(uart, .compatible = "acme,uart",
 *		      .regions = { KVMBPF_MMIO(0x100) }, .irqs = 2, .level_irqs = 0x2);
 *
 * It also declares the struct_ops map and the licence: programs that call
 * kernel functions must be GPL-compatible.
 */
#define KVMBPF_DEVICE(device_name, ...)						\
	_Static_assert(sizeof(#device_name) <= KVMBPF_NAME_BYTES,		\
		       "a device's name has at most 31 characters");		\
	_Pragma("clang diagnostic push")					\
	_Pragma("clang diagnostic ignored \"-Wgnu-folding-constant\"")		\
	_Pragma("clang diagnostic ignored \"-Winitializer-overrides\"")		\
	_Pragma("clang diagnostic error \"-Wexcess-initializers\"")		\
	enum {									\
		kvmbpf_irqs_ = KVMBPF_CHECK(__VA_ARGS__).irqs,			\
		kvmbpf_past_irqs_ = kvmbpf_irqs_ < KVMBPF_MAX_IRQS &&		\
			KVMBPF_CHECK(__VA_ARGS__).level_irqs >> (kvmbpf_irqs_ & 31),	\
		kvmbpf_version_ = KVMBPF_CHECK(__VA_ARGS__).version,		\
		kvmbpf_any_region_ = KVMBPF_CHECK(__VA_ARGS__).regions[0].size != 0,	\
		kvmbpf_past_regions_ =						\
			KVMBPF_CHECK(__VA_ARGS__).regions[KVMBPF_MAX_REGIONS].size != 0, \
		kvmbpf_compatible_ = KVMBPF_CHECK(__VA_ARGS__).compatible[0],	\
		kvmbpf_compatible_end_ =					\
			KVMBPF_CHECK(__VA_ARGS__).compatible[KVMBPF_COMPATIBLE_BYTES - 1], \
	};									\
	_Static_assert(kvmbpf_irqs_ >= 0 && kvmbpf_irqs_ <= KVMBPF_MAX_IRQS,	\
		       "a device has at most 32 irqs");				\
	_Static_assert(!kvmbpf_past_irqs_,					\
		       "level_irqs names an irq that the device does not have"); \
	_Static_assert(kvmbpf_version_ >= 1, "a device's version is 1 or more"); \
	_Static_assert(kvmbpf_any_region_,					\
		       "a device has at least one region, as KVMBPF_MMIO(0x1000)"); \
	_Static_assert(!kvmbpf_past_regions_, "a device has at most 8 regions"); \
	_Static_assert(kvmbpf_compatible_, "a device says what it is .compatible with"); \
	_Static_assert(!kvmbpf_compatible_end_,					\
		       "compatible has at most 63 characters");			\
	static const struct kvmbpf_note kvmbpf_note				\
	__attribute__((section(".note.kvmbpf"), used, nodebug)) = {		\
		.namesz = sizeof("KVMBPF"),					\
		.descsz = sizeof(struct kvmbpf_device),				\
		.type = KVMBPF_NOTE_DEVICE,					\
		.owner = "KVMBPF",						\
		.device = {							\
			.format = KVMBPF_NOTE_FORMAT,				\
			.version = 1,						\
			.name = #device_name,					\
			__VA_ARGS__						\
		},								\
	};									\
	_Pragma("clang diagnostic pop")						\
	char kvmbpf_license[] SEC("license") = "GPL";				\
	SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = {		\
		.read = (void *)kvmbpf_read,					\
		.write = (void *)kvmbpf_write,					\
	}

/* Private: the fields as a constant, for the assertions above. */
#define KVMBPF_CHECK(...) ((const struct kvmbpf_device_check){ .version = 1, __VA_ARGS__ })

/*
 * KVMBPF_MMIO(bytes): one region of memory-mapped registers.
 *
 *	.regions = { KVMBPF_MMIO(0x1000), KVMBPF_MMIO(0x100) }
 */
#define KVMBPF_MMIO(bytes)							\
	KVMBPF_REGION(KVMBPF_BUS_MMIO, bytes, (bytes) > 0, "a region has at least one byte")

/*
 * KVMBPF_PIO(ports): one region of I/O ports, on x86 only; at most 0x10000.
 * Devices with MMIO and port regions tell them by acc->region.
 *
 *	.regions = { KVMBPF_MMIO(0x1000), KVMBPF_PIO(8) }
 */
#define KVMBPF_PIO(ports)							\
	KVMBPF_REGION(KVMBPF_BUS_PIO, ports, (ports) > 0 && (ports) <= 0x10000,	\
		      "a region of ports has 1 to 0x10000 of them")

/* Private: a region whose size is checked. */
#define KVMBPF_REGION(region_bus, bytes, good, sentence)			\
	{									\
		.bus = (region_bus),						\
		.size = (bytes) + 0 * sizeof(struct {				\
			_Static_assert(good, sentence);				\
			int unused;						\
		}),								\
		.read = "kvmbpf_read",						\
		.write = "kvmbpf_write",					\
	}

/*
 * KVMBPF_READ(struct kvmbpf_access *acc) { body }: answer the guest's reads.
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		acc->value = acc->offset == 0 ? MY_ID : 0;
 *		return 0;
 *	}
 */
#define KVMBPF_READ(argument)							\
	static __always_inline int kvmbpf_read_body(argument);			\
	SEC("struct_ops/kvmbpf_read") int kvmbpf_read(__u64 *ctx)		\
	{									\
		struct kvm_bpf_access *from = (void *)ctx[0];			\
		struct kvmbpf_access access = kvmbpf_from_kernel(from);		\
		int result = kvmbpf_read_body(&access);				\
										\
		if (result == KVMBPF_ANSWERED)					\
			from->value = access.value;				\
		return result;							\
	}									\
	static __always_inline int kvmbpf_read_body(argument)

/*
 * KVMBPF_WRITE(struct kvmbpf_access *acc) { body }: answer the guest's writes.
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		last = acc->value;
 *		return 0;
 *	}
 */
#define KVMBPF_WRITE(argument)							\
	static __always_inline int kvmbpf_write_body(argument);			\
	SEC("struct_ops/kvmbpf_write") int kvmbpf_write(__u64 *ctx)		\
	{									\
		struct kvm_bpf_access *from = (void *)ctx[0];			\
		struct kvmbpf_access access = kvmbpf_from_kernel(from);		\
										\
		access.value = from->value;					\
		return kvmbpf_write_body(&access);				\
	}									\
	static __always_inline int kvmbpf_write_body(argument)

/*
 * kvmbpf_irq(acc, index, level): set interrupt `index` of the device. For an
 * edge-triggered one any level but 0 raises it once; for a level-triggered one
 * level is the line's new state. Returns 0, or a negative error number as for
 * an irq that was not wired up.
 *
 *	return kvmbpf_irq(acc, 0, 1);
 */
static __always_inline int kvmbpf_irq(struct kvmbpf_access *acc, __u32 index, __u32 level)
{
	return kvm_bpf_set_irq(acc->handle, index, level);
}

#endif /* KVMBPF_BPF_H */
