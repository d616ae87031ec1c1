#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A nested guest's read of CR3 under QEMU 10's emulated SVM: it exits as a read of CR0.
#
# Guess:    a hypervisor that intercepts all reads of control registers is told by the exit code
#           which one its guest read: 3 for CR3, as AMD's manual lists them (VMEXIT_CR[0-15]_READ).
# In fact:  QEMU 10 looks at CR0's intercept, whichever register is read, and exits with CR0's code.
#           QEMU 7.2 has it right.
# Versions: Debian 12's QEMU 7.2.22 is right; 10.0.13 is wrong, and so are 10.0.2 and 11.1.3.
# Output:   QEMU 7.2.22: a read of CR3 exits with code 3
#           QEMU 10.0.13: a read of CR3 exits with code 0
# Matters:  a KVM in that QEMU whose guests are on shadow paging is not told that they read CR3. They get
#           another address than they wrote, and end in their kernel's first instructions. So an
#           emulated host of QEMU 10 wants nested paging (kvm_amd.npt=1, the default).
# Source:   decode_op() in QEMU's target/i386/tcg/decode-new.c.inc (10.0) adds the register's number to
#           the intercept of its table, svm(READ_CR0), unless that is 0, which it is;
#           disas_insn() in translate.c (7.2) adds it always.
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

# A hypervisor that runs a guest in real mode, which reads CR3 and calls the hypervisor.
cat >"$work/bookworm/tmp/cr3.s" <<'EOF'
	.code32
	.long 0x1badb002, 0, -0x1badb002	# multiboot
	.globl _start
_start:	mov $stack, %esp
	cld
	mov $0xff, %al				# no interrupts
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
	call run
	mov $0x31, %al
	out %al, $0xf4				# the end, by isa-debug-exit
1:	hlt
	jmp 1b

# Run the guest; print its exit code.
run:	mov $vmcb, %edi
	mov $1024, %ecx
	xor %eax, %eax
	rep stosl
	mov $vmcb, %edi
	movl $3, 0x10(%edi)			# intercept VMRUN and VMMCALL
	movl $1, 0x58(%edi)			# ASID
	movl $0xffff, (%edi)			# and reads of all control registers
	movl $0x009b0800, 0x410(%edi)		# CS
	movl $0xffff, 0x414(%edi)
	movl $0x8000, 0x418(%edi)
	.irp segment, 0x400, 0x420, 0x430, 0x440, 0x450
	movl $0x00930000, \segment(%edi)
	movl $0xffff, \segment + 4(%edi)
	.endr
	movl $0x1000, 0x4d0(%edi)		# EFER.SVME
	movl $0x10, 0x558(%edi)			# CR0.ET
	movl $2, 0x570(%edi)			# RFLAGS
	mov %edi, %eax
	vmrun %eax
	mov vmcb + 0x70, %eax

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
guest:	mov %cr3, %eax
	vmmcall
guest_end:
	.bss
	.balign 4096
vmcb:	.skip 4096
hsave:	.skip 4096
	.skip 4096
stack:
EOF
within bookworm as --32 /tmp/cr3.s -o /tmp/cr3.o
within bookworm ld -m elf_i386 -Ttext=0x100000 /tmp/cr3.o -o /tmp/cr3
cp "$work/bookworm/tmp/cr3" "$work/trixie/tmp/cr3"

# Print the code that the guest's read of CR3 exits with.
exit_code() {
	# isa-debug-exit makes an odd exit status of what is written: 99.
	within "$1" qemu-system-x86_64 -M pc -accel tcg -cpu max -nodefaults -display none \
		-debugcon file:/tmp/seen -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel /tmp/cr3 ||
		[ $? = 99 ] || changed "QEMU of $1 did not run the program to its end"
	echo $((16#$(cat "$work/$1/tmp/seen")))
}

old="$(exit_code bookworm)" new="$(exit_code trixie)"
echo "QEMU 7.2.22: a read of CR3 exits with code $old"
echo "QEMU 10.0.13: a read of CR3 exits with code $new"
[ "$old" = 3 ] || changed "QEMU 7.2.22 exits with $old, not 3"
[ "$new" = 0 ] || changed "QEMU 10.0.13 exits with $new, not 0"
