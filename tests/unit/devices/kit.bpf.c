// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device that calls whatever a device may call, one thing for each offset
 *
 * What a call returned is in `result`. Tests of kvmbpf.testing drive it, natively
 * and, as far as that can be, on a kernel.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(kit, .compatible = "kvmbpf,kit", .regions = { KVMBPF_MMIO(0x1000), KVMBPF_PIO(8) },
	      .irqs = 3, .level_irqs = 0x2, .flags = KVMBPF_RESETS);

enum op {
	OP_ANSWER = 0x000,
	OP_DECLINE = 0x008,
	OP_FAULT = 0x010,
	OP_IRQ = 0x018, /* index << 8 | level */
	OP_TIMER = 0x020, /* in so many ns */
	OP_TIMER_CANCEL = 0x028,
	OP_WORK = 0x030,
	OP_GUEST = 0x038, /* a read: reads guest memory; a write: writes it; at `gpa` */
	OP_KICK = 0x040,
	OP_UCLAMP = 0x048,
	OP_FREQ = 0x050,
	OP_LOG = 0x058,
	OP_RANDOM = 0x060,
	OP_CLOCK = 0x068,
	OP_TAI = 0x070,
	OP_ARRAY = 0x078, /* adds 1 to an element */
	OP_HASH_SET = 0x080, /* key = value; flags in `flags` */
	OP_HASH_GET = 0x088,
	OP_HASH_DELETE = 0x090,
	OP_LRU_SET = 0x098,
	OP_PUSH = 0x0a0,
	OP_POP = 0x0a8,
	OP_PUSH_STACK = 0x0b0,
	OP_POP_STACK = 0x0b8,
	OP_RING = 0x0c0, /* so many bytes, at most 16 */
	OP_LOOP = 0x0c8, /* so many times */
	OP_EACH = 0x0d0,
	OP_LOCKED = 0x0d8,
	OP_OTHER_TIMER = 0x0e0,
	OP_SEEN = 0x0e8, /* read: region, vCPU and width */
	OP_KEPT_VALUE = 0x0f0, /* deletes a key and uses its value */
};

struct point {
	__s16 x, y;
	union {
		__u32 whole;
		__u8 part[4];
	};
	__u32 low : 4, high : 12;
};

__s64 result;
__u64 gpa;
__u64 flags;
__u64 ticks;
__u64 works;
__u32 timer_delay;
__s8 tiny;
_Bool flag;
char name[8] = "kit";
__u32 table[4];
struct point point = { .x = -1 };
const volatile __u32 limit = 7;
static __u32 hidden;
enum op last_op;
char text[16];

struct counter {
	struct bpf_spin_lock lock;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct counter);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u64);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2);
	__uint(key_size, 8);
	__uint(value_size, 8);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 2);
	__type(value, __u64);
} stack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

KVMBPF_WORK(copy)
{
	char data[8] = {};

	works++;
	result = kvmbpf_guest_read_later(later, gpa, data, sizeof(data));
	if (!result)
		result = kvmbpf_guest_write_later(later, gpa + 8, data, sizeof(data));
	kvmbpf_irq_later(later, 1, 1);
}

KVMBPF_TIMER(tick)
{
	ticks++;
	kvmbpf_irq_later(later, 0, 1);
	if (timer_delay)
		kvmbpf_timer_start(later, tick, timer_delay);
	else
		result = kvmbpf_timer_cancel(tick);
	if (flag)
		kvmbpf_work_start(later, copy);
}

KVMBPF_TIMER(other)
{
	result = kvmbpf_timer_start(later, tick, 0);
}

static long step(__u64 index, void *context)
{
	__u64 *sum = context;

	*sum += index;
	return index == 9;
}

static long each(void *map, __u64 *key, __u64 *value, __u64 *sum)
{
	(void)map;
	(void)key;
	*sum += *value;
	return 0;
}

static __always_inline void use_array(__u32 key)
{
	struct counter *found = bpf_map_lookup_elem(&array, &key);

	result = -1;
	if (!found)
		return;
	bpf_spin_lock(&found->lock);
	found->count++;
	result = found->count;
	bpf_spin_unlock(&found->lock);
}

static __always_inline void use_ring(__u64 bytes)
{
	char *record = bpf_ringbuf_reserve(&ring, 16, 0);

	result = -1;
	if (!record)
		return;
	__builtin_memset(record, 'r', 16);
	if (bytes)
		bpf_ringbuf_submit(record, 0);
	else
		bpf_ringbuf_discard(record, 0);
	result = 0;
}

/* As RCU has it: the value stays until the program ends. */
static __always_inline void use_kept(__u64 key)
{
	__u64 *found = bpf_map_lookup_elem(&hash, &key);

	result = -1;
	if (!found)
		return;
	bpf_map_delete_elem(&hash, &key);
	result = *found;
}

static __always_inline void use_maps(__u64 offset, __u64 value)
{
	__u64 sum = 0, *found;

	switch (offset) {
	case OP_ARRAY:
		use_array(value);
		break;
	case OP_HASH_SET:
		sum = value >> 32;
		value = (__u32)value;
		result = bpf_map_update_elem(&hash, &value, &sum, flags);
		break;
	case OP_HASH_GET:
		found = bpf_map_lookup_elem(&hash, &value);
		result = found ? (__s64)*found : -1;
		break;
	case OP_HASH_DELETE:
		result = bpf_map_delete_elem(&hash, &value);
		break;
	case OP_LRU_SET:
		result = bpf_map_update_elem(&lru, &value, &value, 0);
		break;
	case OP_PUSH:
		result = bpf_map_push_elem(&queue, &value, flags);
		break;
	case OP_POP:
		result = bpf_map_pop_elem(&queue, &sum);
		result = result ? result : (__s64)sum;
		break;
	case OP_PUSH_STACK:
		result = bpf_map_push_elem(&stack, &value, flags);
		break;
	case OP_POP_STACK:
		result = bpf_map_pop_elem(&stack, &sum);
		result = result ? result : (__s64)sum;
		break;
	case OP_RING:
		use_ring(value);
		break;
	case OP_LOOP:
		result = bpf_loop(value, step, &sum, flags);
		ticks = sum;
		break;
	case OP_EACH:
		bpf_for_each_map_elem(&hash, each, &sum, 0);
		result = sum;
		break;
	case OP_KEPT_VALUE:
		use_kept(value);
		break;
	}
}

static __always_inline void use_log(__u64 value)
{
	__u64 arguments[] = { value };

	kvmbpf_log("value %llu of %s, %d", value, name, -1);
	kvmbpf_log("nothing");
	hidden++;
	result = bpf_snprintf(text, sizeof(text), "<%llx>", arguments, sizeof(arguments));
}

KVMBPF_READ_SLEEPABLE(struct kvmbpf_access *acc)
{
	__u64 data = 0;

	switch (acc->offset) {
	case OP_DECLINE:
		return KVMBPF_DECLINE;
	case OP_FAULT:
		acc->value = 1;
		return -EIO;
	case OP_GUEST:
		result = kvmbpf_guest_read(acc, gpa, &data, sizeof(data));
		acc->value = data;
		return result;
	case OP_FREQ:
		acc->value = (__u64)kvmbpf_cpu_max_freq(acc) << 32 | kvmbpf_cpu_freq(acc);
		return 0;
	case OP_RANDOM:
		acc->value = bpf_get_prandom_u32();
		return 0;
	case OP_CLOCK:
		acc->value = bpf_ktime_get_ns();
		return 0;
	case OP_TAI:
		acc->value = bpf_ktime_get_tai_ns();
		return 0;
	case OP_SEEN:
		acc->value = acc->region << 16 | acc->vcpu << 8 | acc->len;
		return 0;
	}
	acc->value = ~0ULL;
	return 0;
}

KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
{
	__u64 value = acc->value;

	last_op = acc->offset;
	switch (acc->offset) {
	case OP_DECLINE:
		return KVMBPF_DECLINE;
	case OP_FAULT:
		return -EIO;
	case OP_IRQ:
		result = kvmbpf_irq(acc, value >> 8, value & 0xff);
		break;
	case OP_TIMER:
		result = kvmbpf_timer_start(acc, tick, value);
		break;
	case OP_OTHER_TIMER:
		result = kvmbpf_timer_start(acc, other, value);
		break;
	case OP_TIMER_CANCEL:
		result = kvmbpf_timer_cancel(tick);
		break;
	case OP_WORK:
		result = kvmbpf_work_start(acc, copy);
		break;
	case OP_GUEST:
		result = kvmbpf_guest_write(acc, gpa, &value, sizeof(value));
		break;
	case OP_KICK:
		result = kvmbpf_kick(acc, value);
		break;
	case OP_UCLAMP:
		result = kvmbpf_uclamp(acc, value, limit * 100);
		break;
	case OP_LOG:
		use_log(value);
		break;
	default:
		use_maps(acc->offset, value);
	}
	return 0;
}

KVMBPF_RESET(struct kvmbpf_access *acc)
{
	result = flag ? kvmbpf_timer_start(acc, tick, 5) : kvmbpf_kick(acc, 0);
	return tiny;
}
