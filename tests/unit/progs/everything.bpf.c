// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * everything.bpf.c - a device that has one of everything a reader of objects meets
 *
 * Regions of both buses, with and without a place; irqs, properties, flags;
 * state of many types; maps, a timer, a work, a log, functions that are called.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(everything,
	      .compatible = "acme,everything\0"
			    "acme,some",
	      .regions = { KVMBPF_MMIO(0x1000), KVMBPF_MMIO_AT(0xfed00000, 0x400),
			   KVMBPF_PIO_AT(0x3f8, 8) },
	      .irqs = 2, .level_irqs = 0x2, .version = 7,
	      .flags = KVMBPF_RESETS | KVMBPF_CONCURRENT);

KVMBPF_PROPERTY("clock-frequency", "<1843200>");
KVMBPF_PROPERTY("label", "\"front\", \"panel\"");
KVMBPF_PROPERTY("wakeup-source", "");

enum mode { MODE_OFF, MODE_ON = 5, MODE_NEGATIVE = -1 };

struct part {
	__u8 low : 3;
	__u8 high : 5;
	union {
		int number;
		char text[4];
	};
};

typedef struct part part_t;

struct state {
	__u64 accesses;
	part_t parts[2][3];
	const char *const *names;
	int (*callback)(int);
	enum mode mode;
	volatile _Bool ready;
};

struct state state;
__u32 level = 3;
static volatile __u64 hidden[8];

struct entry {
	struct bpf_spin_lock lock;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u64);
	__type(value, struct entry);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 24);
} plain SEC(".maps");

KVMBPF_TIMER(tick)
{
	__sync_fetch_and_add(&state.accesses, 1);
	kvmbpf_irq_later(later, 1, 1);
}

KVMBPF_WORK(fill)
{
	__u64 zero = 0;

	kvmbpf_guest_write_later(later, 0x1000, &zero, sizeof(zero));
}

static __noinline __u64 find(__u64 key)
{
	static __u32 searches;
	struct entry *entry = bpf_map_lookup_elem(&table, &key);

	searches++;
	return entry ? entry->count : searches;
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u32 key = 1;

	if (acc->region == 2)
		return KVMBPF_DECLINE;
	if (!bpf_map_lookup_elem(&plain, &key))
		return 1;
	kvmbpf_log("read %llx", acc->offset);
	acc->value = find(acc->offset) + level + hidden[acc->offset & 7];
	return kvmbpf_timer_start(acc, tick, 1000);
}

KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
{
	__u64 word = 0;
	int result = kvmbpf_guest_read(acc, 0x1000, &word, sizeof(word));

	if (result)
		return result;
	hidden[acc->region & 7] = word;
	state.mode = acc->value ? MODE_ON : MODE_NEGATIVE;
	kvmbpf_work_start(acc, fill);
	return kvmbpf_irq(acc, 0, 1);
}

KVMBPF_RESET(struct kvmbpf_access *acc)
{
	state.accesses = 0;
	level = 3;
	return kvmbpf_irq(acc, 1, 0);
}
