// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's memory, its code, which is put together of random accesses, and
 * the registers that say where these go.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/kvm.h>

#include "guest.h"

#define HANDLER      0x500 /* of all interrupts */
#define RAM_PLACE    0x100000000000
#define RAM_DISTANCE 0x1000000

/* One access each, or several; the operand-size prefix makes 16 bits 32. */
static const struct {
	uint8_t bytes[6];
	uint8_t len;
} accesses[] = {
	{ { 0x88, 0x07 }, 2 }, /* mov [bx], al */
	{ { 0x89, 0x07 }, 2 }, /* mov [bx], ax */
	{ { 0x66, 0x89, 0x07 }, 3 }, /* mov [bx], eax */
	{ { 0x8a, 0x07 }, 2 }, /* mov al, [bx] */
	{ { 0x8b, 0x07 }, 2 }, /* mov ax, [bx] */
	{ { 0x66, 0x8b, 0x07 }, 3 }, /* mov eax, [bx] */
	{ { 0x66, 0x87, 0x07 }, 3 }, /* xchg [bx], eax */
	{ { 0xf0, 0x66, 0x01, 0x07 }, 4 }, /* lock add [bx], eax */
	{ { 0x66, 0x0f, 0xb1, 0x07 }, 4 }, /* cmpxchg [bx], eax */
	{ { 0x0f, 0xc7, 0x0f }, 3 }, /* cmpxchg8b [bx] */
	{ { 0x0f, 0x7f, 0x07 }, 3 }, /* movq [bx], mm0 */
	{ { 0x0f, 0x6f, 0x07 }, 3 }, /* movq mm0, [bx] */
	{ { 0x0f, 0x11, 0x07 }, 3 }, /* movups [bx], xmm0 */
	{ { 0x0f, 0x10, 0x07 }, 3 }, /* movups xmm0, [bx] */
	{ { 0xff, 0x37 }, 2 }, /* push [bx] */
	{ { 0xf3, 0x66, 0xab }, 3 }, /* rep stosd */
	{ { 0xf3, 0xaa }, 2 }, /* rep stosb */
	{ { 0xf3, 0xa5 }, 2 }, /* rep movsw */
	{ { 0xf3, 0x66, 0xad }, 3 }, /* rep lodsd */
	{ { 0xee }, 1 }, /* out dx, al */
	{ { 0xef }, 1 }, /* out dx, ax */
	{ { 0x66, 0xef }, 2 }, /* out dx, eax */
	{ { 0xec }, 1 }, /* in al, dx */
	{ { 0xed }, 1 }, /* in ax, dx */
	{ { 0x66, 0xed }, 2 }, /* in eax, dx */
	{ { 0xf3, 0x6c }, 2 }, /* rep insb */
	{ { 0xf3, 0x66, 0x6d }, 3 }, /* rep insd */
	{ { 0xf3, 0x6e }, 2 }, /* rep outsb */
	{ { 0xf3, 0x66, 0x6f }, 3 }, /* rep outsd */
	{ { 0x43 }, 1 }, /* inc bx */
	{ { 0x42 }, 1 }, /* inc dx */
	{ { 0xb1, 0x09 }, 2 }, /* mov cl, 9 */
	{ { 0xfb }, 1 }, /* sti */
	{ { 0xe6, 0x80 }, 2 }, /* out 0x80, al: to user space */
};

/* Acknowledge and return. */
static const uint8_t handler[] = { 0x50, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0xa0, 0x58, 0xcf };

static void fill_code(char *code)
{
	int i;

	memcpy(code + HANDLER, handler, sizeof(handler));
	for (i = 0; i < 256; i++) {
		uint16_t vector[2] = { HANDLER, 0 };

		memcpy(code + i * sizeof(vector), vector, sizeof(vector));
	}
}

/*
 * Code stays; data may be unmapped by whoever uses the VM, so it lies where
 * nothing else is put into the hole.
 */
int guest_map_ram(struct guest_ram *ram, unsigned int home)
{
	void *place = (void *)(RAM_PLACE + home * RAM_DISTANCE);

	ram->code = mmap(place, GUEST_CODE_BYTES + GUEST_DATA_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (ram->code == MAP_FAILED)
		return -errno;

	ram->data = ram->code + GUEST_CODE_BYTES;
	fill_code(ram->code);
	return 0;
}

int guest_set_memory(int vm, const struct guest_ram *ram)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = GUEST_CODE_BYTES,
		.userspace_addr = (unsigned long)ram->code,
	};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		return -errno;

	region.slot = 1;
	region.guest_phys_addr = GUEST_DATA_GPA;
	region.memory_size = GUEST_DATA_BYTES;
	region.userspace_addr = (unsigned long)ram->data;
	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

/* Where a device may be: few places, so that devices and accesses meet. */
uint64_t guest_place(struct rng *rng)
{
	static const uint64_t strange[] = {
		0,
		GUEST_DATA_GPA,
		GUEST_DATA_GPA + GUEST_DATA_BYTES - 8,
		0xfec00000,
		0xfee00000,
		0xfffff000,
		~0ULL - 0xfff,
		0x20000,
	};

	if (rng_one_in(rng, 16))
		return rng_pick(rng, strange);

	return GUEST_WINDOW + rng_below(rng, 4) * 0x1000;
}

uint16_t guest_port(struct rng *rng)
{
	static const uint16_t strange[] = { 0, 0x20, 0x40, 0x60, 0x80, 0xcf8, 0xfff8, 0xffff };

	if (rng_one_in(rng, 16))
		return rng_pick(rng, strange);

	return GUEST_PORTS + rng_below(rng, 4) * 8;
}

/* A few accesses, then a halt or the same again. */
void guest_write_code(struct rng *rng, struct guest_ram *ram, uint16_t at)
{
	char *start = ram->code + at, *end = start;
	int i, n = 1 + rng_below(rng, 12);

	for (i = 0; i < n; i++) {
		unsigned int which = rng_below(rng, sizeof(accesses) / sizeof(*accesses));

		memcpy(end, accesses[which].bytes, accesses[which].len);
		end += accesses[which].len;
	}

	if (rng_one_in(rng, 16)) {
		*end = 0xf4; /* hlt */
		return;
	}
	*end++ = 0xeb; /* jmp start */
	*end = start - (end + 1);
}

/* All but the first wait for another to start them, where KVM has their APICs. */
static void set_runnable(int vcpu)
{
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

	ioctl(vcpu, KVM_SET_MP_STATE, &state);
}

static void set_base(struct kvm_segment *segment, uint64_t base)
{
	segment->base = base;
	segment->selector = base >> 4;
}

int guest_set_registers(struct rng *rng, int vcpu, uint16_t at)
{
	static const uint16_t offsets[] = { 0, 1, 4, 0x7ff, 0xff8, 0xffd, 0xffe, 0xfff };
	struct kvm_regs regs = {
		.rip = at,
		.rflags = 2 | (rng_one_in(rng, 2) ? 0x200 : 0),
		.rax = rng_odd(rng),
		.rbx = rng_pick(rng, offsets),
		.rcx = rng_below(rng, 24),
		.rdx = guest_port(rng),
		.rsi = rng_pick(rng, offsets),
		.rdi = rng_pick(rng, offsets),
		.rsp = 0x8000,
	};
	struct kvm_sregs sregs;

	set_runnable(vcpu);
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -errno;

	set_base(&sregs.cs, 0);
	set_base(&sregs.ss, rng_one_in(rng, 8) ? guest_place(rng) & 0xffffffff : 0);
	set_base(&sregs.ds, rng_one_in(rng, 4) ? GUEST_DATA_GPA : guest_place(rng) & 0xffffffff);
	set_base(&sregs.es, rng_one_in(rng, 2) ? GUEST_DATA_GPA : guest_place(rng) & 0xffffffff);
	sregs.cr4 |= 0x600; /* OSFXSR, OSXMMEXCPT */
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
		return -errno;

	return ioctl(vcpu, KVM_SET_REGS, &regs) ? -errno : 0;
}

/* Have a vCPU write and read the first window and the first port for ever. */
int guest_hammer(struct guest_ram *ram, int vcpu, uint16_t at)
{
	static const uint8_t code[] = {
		0x66, 0x89, 0x07, /* mov [bx], eax */
		0x66, 0x8b, 0x07, /* mov eax, [bx] */
		0x66, 0xef, /* out dx, eax */
		0x66, 0xed, /* in eax, dx */
		0xeb, 0xf4, /* jmp back */
	};
	struct kvm_regs regs = { .rip = at, .rflags = 2, .rdx = GUEST_PORTS, .rsp = 0x8000 };
	struct kvm_sregs sregs;

	memcpy(ram->code + at, code, sizeof(code));
	set_runnable(vcpu);
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -errno;

	set_base(&sregs.cs, 0);
	set_base(&sregs.ds, GUEST_WINDOW);
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
		return -errno;

	return ioctl(vcpu, KVM_SET_REGS, &regs) ? -errno : 0;
}
