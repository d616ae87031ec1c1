#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# VMRUN of QEMU 7.2's emulated SVM: the VMCB's interrupt shadow is not read.
#
# Guess:    a hypervisor that left its guest between STI and HLT enters it again with
#           INTERRUPT_SHADOW set in the VMCB, and the guest's next instruction comes before any
#           interrupt, as AMD's manual has it (volume 2, "Interrupt Shadows" of the chapter on SVM).
# In fact:  QEMU 7.2 sets the bit at #VMEXIT and never looks at it at VMRUN: a pending virtual
#           interrupt is taken before the instruction. QEMU 10.0 has it right.
# Versions: Debian 12's QEMU 7.2.22 ignores it; 10.0.13 reads it, and 10.0.2 and 11.1.3 do.
# Output:   QEMU 7.2.22: no shadow 0, shadow 0 instructions before the interrupt
#           QEMU 10.0.13: no shadow 0, shadow 1 instructions before the interrupt
# Matters:  `sti; hlt` of a nested guest loses its wake-up: an exit between the two lets the
#           interrupt in before the HLT, which then sleeps until the next one. Linux guests seem
#           to hang for seconds; a bare guest has to spin.
# Source:   helper_vmrun() in QEMU's target/i386/tcg/sysemu/svm_helper.c (7.2), target/i386/tcg/
#           system/svm_helper.c (10.0), which there reads control.int_state.
set -eu

# --- the same in every finding: packages in a folder of their own, gone with it ---
# `packages SUITE NAME=VERSION...` unpacks them, and all that they depend on, as $work/SUITE;
# `within SUITE COMMAND...` runs a command there, with the libraries of that suite, for `limit` seconds.
name="$(basename "$0" .sh)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cannot() {
	echo "$name: cannot be had: $*" >&2
	exit 2
}

changed() {
	echo "$name: changed: $*" >&2
	exit 1
}

packages() {
	local suite="$1" root="$work/$1" apt="$work/apt-$1" mirror each options
	shift
	[ "$(id -u)" = 0 ] || cannot "chroot, which is root's"
	[ "$(dpkg --print-architecture)" = amd64 ] || cannot "packages for amd64: this machine is another"
	mirror="$(apt-get update --print-uris |
		sed -n "s|^'\(.*\)/dists/$(. /etc/os-release && echo "$VERSION_CODENAME")/InRelease.*|\1|p" | head -n 1)"
	[ -n "$mirror" ] || cannot "a mirror: apt's sources name none of this Debian"
	mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$root/tmp" "$root/dev"
	: >"$apt/status"
	: >"$root/dev/null"
	for each in "${suite%-backports}" "$suite"; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $each main"
	done | sort -u >"$apt/sources.list"
	options=(-q -y -t "$suite" --no-install-recommends --download-only -o APT::Sandbox::User=root
		-o Acquire::Languages=none -o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
		-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null)
	{ apt-get "${options[@]}" update && apt-get "${options[@]}" install "$@"; } >"$apt/log" 2>&1 ||
		cannot "$* of $suite: $(grep '^E: ' "$apt/log" | head -n 1)"
	for each in "$apt"/archives/*.deb; do dpkg-deb -x "$each" "$root"; done
	for each in bin sbin lib lib64; do [ -e "$root/$each" ] || ln -s "usr/$each" "$root/$each"; done
	rm -r "$apt"
}

within() {
	local root="$work/$1"
	shift
	PATH=/usr/sbin:/usr/bin:/sbin:/bin timeout "${limit:-120}" chroot "$root" "$@"
}
# --- so far ---

packages bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 binutils
packages trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1

# A hypervisor that runs a guest in real mode twice, with a virtual interrupt pending: without
# an interrupt shadow, then with one. The guest's first instruction sets BL.
cat >"$work/bookworm/tmp/svm.s" <<'EOF'
	.code32
	.long 0x1badb002, 0, -0x1badb002	# multiboot
	.globl _start
_start:	mov $stack, %esp
	cld
	mov $0xff, %al				# no interrupts but the virtual one
	out %al, $0x21
	out %al, $0xa1
	mov $0xc0000080, %ecx			# EFER.SVME
	rdmsr
	or $0x1000, %eax
	wrmsr
	mov $0xc0010117, %ecx			# VM_HSAVE_PA
	mov $hsave, %eax
	xor %edx, %edx
	wrmsr
	mov $guest, %esi			# the guest is at 0x8000
	mov $0x8000, %edi
	mov $guest_end - guest, %ecx
	rep movsb
	movl $0x08000000 + taken - guest, 0x20 * 4	# its handler of interrupt 0x20
	movl $0, shadow
	call run
	movl $1, shadow
	call run
	mov $0x31, %al
	out %al, $0xf4				# the end, by isa-debug-exit
1:	hlt
	jmp 1b

# Run the guest; print its exit code, its IP and its BL.
run:	mov $vmcb, %edi
	mov $1024, %ecx
	xor %eax, %eax
	rep stosl
	mov $vmcb, %edi
	movl $3, 0x10(%edi)			# intercept VMRUN and VMMCALL
	movl $1, 0x58(%edi)			# ASID
	movl $0x1f0100, 0x60(%edi)		# V_IRQ of the highest priority, V_IGN_TPR
	movl $0x20, 0x64(%edi)			# its vector
	mov shadow, %eax
	mov %eax, 0x68(%edi)			# INTERRUPT_SHADOW
	movl $0x009b0800, 0x410(%edi)		# CS
	movl $0xffff, 0x414(%edi)
	movl $0x8000, 0x418(%edi)
	.irp segment, 0x400, 0x420, 0x430, 0x440, 0x450
	movl $0x00930000, \segment(%edi)
	movl $0xffff, \segment + 4(%edi)
	.endr
	movl $0x3ff, 0x484(%edi)		# IDTR
	movl $0x1000, 0x4d0(%edi)		# EFER.SVME
	movl $0x10, 0x558(%edi)			# CR0.ET
	movl $0x202, 0x570(%edi)		# RFLAGS.IF
	movl $0x7000, 0x5d8(%edi)		# RSP
	xor %ebx, %ebx
	mov %edi, %eax
	vmrun %eax
	mov vmcb + 0x70, %eax
	call print
	mov vmcb + 0x578, %eax
	call print
	mov %ebx, %eax

# EAX in hex, and the end of the line, to the debug console.
print:	mov %eax, %edx
	mov $8, %ecx
1:	rol $4, %edx
	mov %edx, %eax
	and $15, %eax
	mov digits(%eax), %al
	out %al, $0xe9
	loop 1b
	mov $10, %al
	out %al, $0xe9
	ret
digits:	.ascii "0123456789abcdef"

	.code16
guest:	mov $1, %bl
	vmmcall
taken:	vmmcall
guest_end:
	.bss
	.balign 4096
vmcb:	.skip 4096
hsave:	.skip 4096
shadow:	.skip 4
	.skip 4096
stack:
EOF
within bookworm as --32 /tmp/svm.s -o /tmp/svm.o
within bookworm ld -m elf_i386 -Ttext=0x100000 /tmp/svm.o -o /tmp/svm
cp "$work/bookworm/tmp/svm" "$work/trixie/tmp/svm"

# Print what the guest had done when its interrupt came: without and with a shadow.
before_interrupt() {
	local seen
	# isa-debug-exit makes an odd exit status of what is written: 99.
	within "$1" qemu-system-x86_64 -M pc -accel tcg -cpu max -nodefaults -display none \
		-debugcon file:/tmp/seen -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel /tmp/svm ||
		[ $? = 99 ] || changed "QEMU of $1 did not run the program to its end"
	mapfile -t seen <"$work/$1/tmp/seen"
	# VMMCALL (0x81) of the handler, at 5, both times.
	[ "${seen[*]:0:2} ${seen[*]:3:2}" = "00000081 00000005 00000081 00000005" ] ||
		changed "QEMU of $1: the guest came back by ${seen[*]}"
	echo "no shadow $((16#${seen[2]})), shadow $((16#${seen[5]})) instructions before the interrupt"
}

old="$(before_interrupt bookworm)" new="$(before_interrupt trixie)"
echo "QEMU 7.2.22: $old"
echo "QEMU 10.0.13: $new"
[ "$old" = "no shadow 0, shadow 0 instructions before the interrupt" ] || changed "QEMU 7.2.22 reads the shadow"
[ "$new" = "no shadow 0, shadow 1 instructions before the interrupt" ] || changed "QEMU 10.0.13 does not read it"
