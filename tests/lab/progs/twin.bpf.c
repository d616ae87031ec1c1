// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device with some of everything that both kinds of entry can do: it answers,
 * declines and fails by the offset, raises interrupts that it has and that it
 * has not, and keeps a history of all that it saw.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(twin, .compatible = "kvmbpf,twin", .regions = { KVMBPF_MMIO(0x2000), KVMBPF_PIO(64) },
	      .irqs = 2, .level_irqs = 2);

#define WORDS 16

__u64 words[WORDS];
__u64 history; /* a hash of every access and of its result */
__u64 reads;
__u64 writes;
int last_result;
int last_irq_result;

static __always_inline void note(__u64 value)
{
	history = (history ^ value) * 0x100000001b3ULL;
}

static __always_inline void note_access(const struct kvmbpf_access *acc, __u64 value)
{
	note(acc->offset << 32 | acc->region << 16 | acc->vcpu << 8 | acc->len);
	note(value);
}

static __always_inline int finished(int result)
{
	note(result);
	last_result = result;
	return result;
}

/* Not inlined: how authors' own functions get the access. */
static __attribute__((noinline)) int set_irq(struct kvmbpf_access *acc)
{
	return kvmbpf_irq(acc, acc->value & 3, acc->value >> 2 & 1);
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u64 *word = &words[acc->offset >> 3 & (WORDS - 1)];

	reads++;
	note_access(acc, 0);
	acc->value = *word + acc->offset + history;
	switch (acc->offset & 7) {
	case 3:
		return finished(KVMBPF_DECLINE);
	case 5:
		return finished(-EIO);
	case 6:
		last_irq_result = kvmbpf_irq(acc, 0, 1);
		break;
	}
	*word += acc->value;
	return finished(KVMBPF_ANSWERED);
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	__u64 *word = &words[acc->offset >> 3 & (WORDS - 1)];

	writes++;
	note_access(acc, acc->value);
	switch (acc->offset & 7) {
	case 1:
		return finished(KVMBPF_DECLINE);
	case 2:
		last_irq_result = kvmbpf_irq(acc, 32 + acc->value, 1);
		return finished(last_irq_result);
	case 4:
		last_irq_result = set_irq(acc);
		break;
	case 7:
		return finished(7);
	}
	*word ^= acc->value;
	return finished(KVMBPF_ANSWERED);
}
