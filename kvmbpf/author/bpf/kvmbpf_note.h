/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_note.h - what a device says it is, as ELF notes
 *
 * Problem: what the manager must know of a device before it loads anything has
 * to be in its object, checked, and readable without privilege.
 * Approach: KVMBPF_DEVICE() and KVMBPF_PROPERTY() fill constant structures in
 * section .note.kvmbpf, and assert what can be asserted when they are compiled.
 * Obsolete when: never; a new layout gets a new format number.
 *
 * Section .note.kvmbpf holds ELF notes back to back, each aligned to 4 bytes,
 * all numbers in the byte order of the file. Strings are NUL-terminated and
 * NUL-filled.
 *
 * A note:
 *	offset  bytes  content
 *	 0x000      4  namesz = 7
 *	 0x004      4  descsz: bytes of the content, a multiple of 4
 *	 0x008      4  type: 1 = device, 2 = property
 *	 0x00c      8  owner "KVMBPF", NUL, and one byte of padding
 *	 0x014         the content
 *
 * There is one device note, and there are up to 64 property notes, in any order.
 * A reader skips a note of another type if the type has bit 31 set, and refuses
 * the object if not.
 *
 * Content of the device note, 0x578 bytes:
 *	offset  bytes  content
 *	 0x000      4  format = 2: version of this layout
 *	 0x004      4  version of the device's state schema, 1 and up
 *	 0x008      4  flags: bit 0 KVMBPF_RESETS, bit 1 KVMBPF_CONCURRENT
 *	 0x00c      4  irqs: how many, 0 to 32
 *	 0x010      4  level_irqs: bit i set: irq i is level-triggered, else edge
 *	 0x014      4  reserved = 0
 *	 0x018     32  name
 *	 0x038    128  compatible: strings, each NUL-terminated, most specific first
 *	 0x0b8   1216  8 regions of 152 bytes; unused ones come last, all zero:
 *		+0x00      4  bus: 0 = MMIO, 1 = PIO
 *		+0x04      4  flags = 0
 *		+0x08      8  size in bytes, not 0; on PIO at most 0x10000
 *		+0x10      8  base: where it must be, or 0: where there is room
 *		+0x18     32  name of the struct_ops program that answers reads
 *		+0x38     32  of the one that answers writes
 *		+0x58     32  name of the SEC("syscall") program that answers reads
 *		+0x78     32  of the one that answers writes
 *	 0x578         end
 *
 * Content of a property note:
 *	offset  bytes  content
 *	 0x000      4  format = 2
 *	 0x004     32  name: 1 to 31 characters of A-Z a-z 0-9 , . _ + ? # -
 *	 0x024      n  value: device-tree text, 1 to 1024 bytes with its NUL,
 *		       NUL-filled to a multiple of 4; "" is a property that is
 *		       there and has no value
 *
 * kvmbpf/model/objfile/notes.py reads them.
 */
#ifndef KVMBPF_NOTE_H
#define KVMBPF_NOTE_H

#include "kvmbpf_access.h"

#define KVMBPF_NOTE_FORMAT	2
#define KVMBPF_NOTE_DEVICE	1
#define KVMBPF_NOTE_PROPERTY	2
#define KVMBPF_BUS_MMIO		0
#define KVMBPF_BUS_PIO		1
/* No CPU that KVM runs on has more physical address bits; ports have 16. */
#define KVMBPF_MMIO_END		(1ULL << 52)
#define KVMBPF_PIO_END		(1ULL << 16)

/*
 * Flags of a device, for .flags of KVMBPF_DEVICE.
 *
 * KVMBPF_RESETS: the device has a KVMBPF_RESET body.
 * KVMBPF_CONCURRENT: bodies may run at the same time, on as many vCPUs as access
 * the device; what they share is the author's to protect, by atomic operations
 * or bpf_spin_lock. Without it they run one at a time.
 *
 *	KVMBPF_DEVICE(busy, .compatible = "acme,busy", .regions = { KVMBPF_MMIO(16) },
 *		      .flags = KVMBPF_CONCURRENT);
 */
#define KVMBPF_RESETS		0x1
#define KVMBPF_CONCURRENT	0x2

struct kvmbpf_region {
	__u32 bus;
	__u32 flags;
	__u64 size;
	__u64 base;
	char read[KVMBPF_NAME_BYTES];
	char write[KVMBPF_NAME_BYTES];
	char call_read[KVMBPF_NAME_BYTES];
	char call_write[KVMBPF_NAME_BYTES];
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

struct kvmbpf_note_header {
	__u32 namesz;
	__u32 descsz;
	__u32 type;
	char owner[8];
} __attribute__((packed, aligned(4)));

struct kvmbpf_note {
	struct kvmbpf_note_header header;
	struct kvmbpf_device device;
} __attribute__((packed, aligned(4)));

_Static_assert(sizeof(struct kvmbpf_region) == 152, "the note's region is 152 bytes");
_Static_assert(sizeof(struct kvmbpf_device) == 0x578, "the note's content is 0x578 bytes");
_Static_assert(sizeof(struct kvmbpf_note) == 0x578 + 20, "the note's header is 20 bytes");

/* The description with one region more, so that one too many can be told. */
struct kvmbpf_device_check {
	__u32 version, flags, irqs, level_irqs;
	char compatible[KVMBPF_COMPATIBLE_BYTES];
	struct kvmbpf_region regions[KVMBPF_MAX_REGIONS + 1];
};

/*
 * KVMBPF_DEVICE(name, ...): say what the device is. Once in an object, before
 * the bodies. The name is an identifier; a hot update wants the same one. Fields:
 *
 *	.compatible	what the guest's driver binds to; needed. Several, the
 *			most specific first, are "one\0" "other"
 *	.regions	up to 8 of KVMBPF_MMIO and the like, below; needed
 *	.irqs		how many interrupts, up to 32; default 0
 *	.level_irqs	bit i set: irq i is level-triggered; default 0, all edge
 *	.version	of the state's schema (the global variables); default 1
 *	.flags		KVMBPF_RESETS, KVMBPF_CONCURRENT; default 0
 *
 *	KVMBPF_DEVICE(uart, .compatible = "acme,uart\0" "ns16550a",
 *		      .regions = { KVMBPF_MMIO(0x100), KVMBPF_PIO(8) },
 *		      .irqs = 2, .level_irqs = 0x2, .version = 3, .flags = KVMBPF_CONCURRENT);
 *
 * It also declares the struct_ops map and the licence: programs that call
 * kernel functions must be GPL-compatible.
 */

/*
 * Private: the part of KVMBPF_DEVICE that both builds share: the assertions, the
 * note, and as constants kvmbpf_irqs_, kvmbpf_level_irqs_ and kvmbpf_flags_. A body
 * asserts KVMBPF_DEVICE_comes_first.
 */
#define KVMBPF_DESCRIBE(device_name, ...)					\
	_Static_assert(sizeof(#device_name) <= KVMBPF_NAME_BYTES,		\
		       "a device's name has at most 31 characters");		\
	_Pragma("clang diagnostic push")					\
	_Pragma("clang diagnostic ignored \"-Wgnu-folding-constant\"")		\
	_Pragma("clang diagnostic ignored \"-Winitializer-overrides\"")		\
	_Pragma("clang diagnostic error \"-Wexcess-initializers\"")		\
	enum {									\
		KVMBPF_DEVICE_comes_first = 1,					\
		kvmbpf_irqs_ = KVMBPF_CHECK(__VA_ARGS__).irqs,			\
		kvmbpf_level_irqs_ = KVMBPF_CHECK(__VA_ARGS__).level_irqs,	\
		kvmbpf_flags_ = KVMBPF_CHECK(__VA_ARGS__).flags,		\
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
	_Static_assert(!(kvmbpf_flags_ & ~(KVMBPF_RESETS | KVMBPF_CONCURRENT)),	\
		       "a device's flags are KVMBPF_RESETS and KVMBPF_CONCURRENT"); \
	_Static_assert(kvmbpf_version_ >= 1, "a device's version is 1 or more"); \
	_Static_assert(kvmbpf_any_region_,					\
		       "a device has at least one region, as KVMBPF_MMIO(0x1000)"); \
	_Static_assert(!kvmbpf_past_regions_, "a device has at most 8 regions"); \
	_Static_assert(kvmbpf_compatible_, "a device says what it is .compatible with"); \
	_Static_assert(!kvmbpf_compatible_end_,					\
		       "compatible has at most 127 characters");		\
	static const struct kvmbpf_note kvmbpf_note				\
	__attribute__((section(".note.kvmbpf"), used, nodebug)) = {		\
		.header = KVMBPF_NOTE_HEADER(sizeof(struct kvmbpf_device),	\
					     KVMBPF_NOTE_DEVICE),		\
		.device = {							\
			.format = KVMBPF_NOTE_FORMAT,				\
			.version = 1,						\
			.name = #device_name,					\
			__VA_ARGS__						\
		},								\
	};									\
	_Pragma("clang diagnostic pop")						\
	_Static_assert(1, "")

/* Private: the fields as a constant, for the assertions above. */
#define KVMBPF_CHECK(...) ((const struct kvmbpf_device_check){ .version = 1, __VA_ARGS__ })

/* Private: the beginning of a note. */
#define KVMBPF_NOTE_HEADER(bytes, kind)						\
	{ .namesz = sizeof("KVMBPF"), .descsz = (bytes), .type = (kind), .owner = "KVMBPF" }

/*
 * KVMBPF_MMIO(bytes): one region of memory-mapped registers, where there is room.
 *
 *	KVMBPF_DEVICE(two, .compatible = "acme,two",
 *		      .regions = { KVMBPF_MMIO(0x1000), KVMBPF_MMIO(0x100) });
 */
#define KVMBPF_MMIO(bytes)							\
	KVMBPF_REGION(KVMBPF_BUS_MMIO, 0, bytes,				\
		      (bytes) > 0, "a region has at least one byte",		\
		      (bytes) <= KVMBPF_MMIO_END, "a region ends at address 2^52")

/*
 * KVMBPF_PIO(ports): one region of I/O ports, on x86 only; at most 0x10000.
 * Devices with MMIO and port regions tell them by acc->region.
 *
 *	KVMBPF_DEVICE(mixed, .compatible = "acme,mixed",
 *		      .regions = { KVMBPF_MMIO(0x1000), KVMBPF_PIO(8) });
 */
#define KVMBPF_PIO(ports)							\
	KVMBPF_REGION(KVMBPF_BUS_PIO, 0, ports,					\
		      (ports) > 0 && (ports) <= KVMBPF_PIO_END,			\
		      "a region of ports has 1 to 0x10000 of them", 1, "")

/*
 * KVMBPF_MMIO_AT(address, bytes): one that must be at this guest physical
 * address, as a standard or a driver says.
 *
 *	KVMBPF_DEVICE(timer, .compatible = "acme,timer",
 *		      .regions = { KVMBPF_MMIO_AT(0xfed00000, 0x400) });
 */
#define KVMBPF_MMIO_AT(address, bytes)						\
	KVMBPF_REGION(KVMBPF_BUS_MMIO, address, bytes,				\
		      (bytes) > 0, "a region has at least one byte",		\
		      (address) > 0 && (address) < KVMBPF_MMIO_END &&		\
		      (bytes) <= KVMBPF_MMIO_END - (address),			\
		      "a region's address is not 0, and its end at most 2^52")

/*
 * KVMBPF_PIO_AT(port, ports): the same for ports.
 *
 *	KVMBPF_DEVICE(com1, .compatible = "ns16550a",
 *		      .regions = { KVMBPF_PIO_AT(0x3f8, 8) }, .irqs = 1);
 */
#define KVMBPF_PIO_AT(port, ports)						\
	KVMBPF_REGION(KVMBPF_BUS_PIO, port, ports,				\
		      (ports) > 0 && (ports) <= KVMBPF_PIO_END,			\
		      "a region of ports has 1 to 0x10000 of them",		\
		      (port) > 0 && (port) + (ports) <= KVMBPF_PIO_END,		\
		      "a region's first port is not 0, and its last at most 0xffff")

/* Private: a region whose size and base are checked. */
#define KVMBPF_REGION(region_bus, address, bytes, good_size, size_sentence, good_base, base_sentence) \
	{									\
		.bus = (region_bus),						\
		.size = (bytes) + 0 * sizeof(struct {				\
			_Static_assert(good_size, size_sentence);		\
			_Static_assert(good_base, base_sentence);		\
			int unused;						\
		}),								\
		.base = (address),						\
		.read = "kvmbpf_read",						\
		.write = "kvmbpf_write",					\
		.call_read = "kvmbpf_call_read",				\
		.call_write = "kvmbpf_call_write",				\
	}

/*
 * KVMBPF_PROPERTY(name, value): a property that the guest's firmware tells
 * about the device, at file scope, up to 64 of them. The value is text as in a
 * device tree's source; "" is a property that is there and has no value.
 *
 *	KVMBPF_PROPERTY("clock-frequency", "<1843200>");
 *	KVMBPF_PROPERTY("label", "\"front panel\"");
 *	KVMBPF_PROPERTY("local-mac-address", "[02 00 00 00 00 01]");
 *	KVMBPF_PROPERTY("wakeup-source", "");
 */
#define KVMBPF_PROPERTY(property_name, property_value)				\
	KVMBPF_PROPERTY_NUMBERED(property_name, property_value, __COUNTER__)

/*
 * Private: the same, with a number that makes the variable's name unique; in two
 * steps, as an argument of ## is not expanded.
 */
#define KVMBPF_PROPERTY_NUMBERED(property_name, property_value, number)		\
	KVMBPF_PROPERTY_NAMED(property_name, property_value, number)
#define KVMBPF_PROPERTY_NAMED(property_name, property_value, number)		\
	KVMBPF_PROPERTY_NOTE(property_name, property_value, kvmbpf_property_##number)

/* Private: the assertions and the note of a property. */
#define KVMBPF_PROPERTY_NOTE(property_name, property_value, variable)		\
	_Static_assert(sizeof("" property_name) > 1,				\
		       "a property has a name");				\
	_Static_assert(sizeof("" property_name) <= KVMBPF_NAME_BYTES,		\
		       "a property's name has at most 31 characters");		\
	_Static_assert(sizeof("" property_value) <= KVMBPF_VALUE_BYTES,		\
		       "a property's value has at most 1023 characters");	\
	_Static_assert(!KVMBPF_IS_TAKEN(property_name),				\
		       "this property is made from KVMBPF_DEVICE's fields or by the firmware"); \
	static const struct {							\
		struct kvmbpf_note_header header;				\
		__u32 format;							\
		char name[KVMBPF_NAME_BYTES];					\
		char value[(sizeof("" property_value) + 3) / 4 * 4];		\
	} __attribute__((packed, aligned(4))) variable				\
	__attribute__((section(".note.kvmbpf"), used, nodebug)) = {		\
		.header = KVMBPF_NOTE_HEADER(sizeof(variable) - sizeof(variable.header), \
					     KVMBPF_NOTE_PROPERTY),		\
		.format = KVMBPF_NOTE_FORMAT,					\
		.name = property_name,						\
		.value = property_value,					\
	}

/* Private: whether a name is one of those that are not the author's to give. */
#define KVMBPF_IS_TAKEN(name)							\
	(!__builtin_strcmp(name, "compatible") || !__builtin_strcmp(name, "reg") ||	\
	 !__builtin_strcmp(name, "interrupts") ||				\
	 !__builtin_strcmp(name, "interrupt-parent") ||				\
	 !__builtin_strcmp(name, "ranges") ||					\
	 !__builtin_strcmp(name, "#address-cells") ||				\
	 !__builtin_strcmp(name, "#size-cells") || !__builtin_strcmp(name, "phandle"))

#endif /* KVMBPF_NOTE_H */
