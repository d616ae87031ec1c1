/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bare multiboot guest that takes the interrupts of the device lvl: three times it
 * raises two reasons, and its handler acknowledges one reason an interrupt, so that
 * six come. GSI is the line; ENTRY the low word of its IO-APIC entry: vector 0x40,
 * active high, fixed, unmasked, to CPU 0; bit 15 is set for a level-triggered one. With PIC
 * the guest knows of no IO-APIC, and GSI is one of the first PIC's lines.
 */
#ifdef PIC
#define VECTOR (0x40 + GSI)
#else
#define VECTOR 0x40
#endif
	.long	0x1badb002, 0, -0x1badb002
	.globl	_start
_start:
	cli
	mov	$stack_top, %esp
	lgdt	gdtr
	ljmp	$8, $1f
1:	mov	$16, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	# the idt: one vector
	mov	$handler, %eax
	movw	%ax, idt+VECTOR*8
	movw	$8, idt+VECTOR*8+2
	movw	$0x8e00, idt+VECTOR*8+4
	shr	$16, %eax
	movw	%ax, idt+VECTOR*8+6
	lidt	idtr
#ifdef PIC
	# the PICs: vectors from 0x40 and 0x48, one line unmasked; level if ENTRY says so
	mov	$0x11, %al
	out	%al, $0x20
	out	%al, $0xa0
	mov	$0x40, %al
	out	%al, $0x21
	mov	$0x48, %al
	out	%al, $0xa1
	mov	$4, %al
	out	%al, $0x21
	mov	$2, %al
	out	%al, $0xa1
	mov	$1, %al
	out	%al, $0x21
	out	%al, $0xa1
	mov	$(ENTRY >> 15 << GSI), %al
	mov	$0x4d0, %dx
	out	%al, %dx
	mov	$(0xff & ~(1 << GSI)), %al
	out	%al, $0x21
	mov	$0xff, %al
	out	%al, $0xa1
	# the local apic: LINT0 is the PIC's
	mov	$0xfee00000, %ebx
	movl	$0x1ff, 0xf0(%ebx)
	movl	$0x700, 0x350(%ebx)
#else
	# mask the PICs
	mov	$0xff, %al
	out	%al, $0x21
	out	%al, $0xa1
	# local apic on: spurious vector 0xff, enabled
	mov	$0xfee00000, %ebx
	movl	$0x1ff, 0xf0(%ebx)
	movl	$0, 0x80(%ebx)
	# ioapic: the entry of GSI
	mov	$0xfec00000, %esi
	movl	$(0x10 + 2*GSI), (%esi)
	movl	$ENTRY, 0x10(%esi)
	movl	$(0x11 + 2*GSI), (%esi)
	movl	$0, 0x10(%esi)
#endif
	mov	$0xfef00000, %edi
	sti
2:	movl	$3, (%edi)		# two reasons
	mov	$0x100000, %ecx
3:	nop
	loop	3b
	mov	count, %eax
	movl	%eax, 8(%edi)
	cmpl	$6, count
	jb	2b
4:	nop
	jmp	4b

handler:
	push	%eax
	incl	count
	movl	(%edi), %eax		# pending
	bsf	%eax, %ecx
	jz	5f
	mov	$1, %eax
	shl	%cl, %eax
	movl	%eax, 4(%edi)		# acknowledge one reason only
5:					# EOI
#ifdef PIC
	mov	$0x20, %al
	out	%al, $0x20
#else
	movl	$0, 0xb0(%ebx)
#endif
	pop	%eax
	iret
	.balign 8
gdt:	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:	.word	23
	.long	gdt
idtr:	.word	0x7ff
	.long	idt
count:	.long	0
	.balign 8
idt:	.fill	256, 8, 0
	.fill	1024
stack_top:
