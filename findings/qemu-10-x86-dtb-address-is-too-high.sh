#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU 10's -dtb on x86: the kernel is told an address where there is no device tree.
#
# Guess:    -dtb FILE with -kernel BZIMAGE gives the kernel a struct setup_data with the tree, and the
#           boot protocol's header field `setup_data` points at it.
# In fact:  since 10.0 the address is too high by the size of the kernel's real-mode part. QEMU
#           appends the tree to the whole file, and works the address out by the whole file's
#           length, but the real-mode part is not loaded with the rest. The kernel reads zeros
#           there, which is no type of setup_data that it knows, and boots without the tree, in silence.
# Versions: Debian 12's QEMU 7.2.22 is right; 10.0.13 is wrong, and so are 10.0.2 and 11.1.3.
# Output:   QEMU 7.2.22: told 0x101000, where the type is 2; the tree is 0x0 lower
#           QEMU 10.0.13: told 0x101400, where the type is 0; the tree is 0x400 lower
# Matters:  a guest without ACPI learns of no device. A file that holds the tree twice, the second one
#           behind a setup_data of its own where the address points, works with all versions.
# Source:   x86_load_linux() in QEMU's hw/i386/x86-common.c (10.0), hw/i386/x86.c (7.2);
#           struct setup_data in the kernel's Documentation/arch/x86/boot.rst.
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

packages bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 binutils device-tree-compiler
packages trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1

# A kernel by the boot protocol: a real-mode part of 1,024 bytes, then 4,096 of nothing. It prints
# where its header's setup_data points, the type there, and where the tree is in fact.
cat >"$work/bookworm/tmp/kernel.s" <<'EOF'
	.code16
	.org 0x1f1
	.byte 1				# one sector of set-up after this one
	.org 0x1fe
	.word 0xaa55
	jmp setup
	.ascii "HdrS"
	.word 0x20c			# the boot protocol's version
	.org 0x211
	.byte 1				# the kernel proper is loaded at 1 MiB
	.org 0x214
	.long 0x100000
	.org 0x22c
	.long 0x7fffffff, 0x1000
	.org 0x238
	.long 255
	.org 0x250
data:	.quad 0				# QEMU's: where struct setup_data is
	.org 0x268
setup:	cli
	lgdtl %cs:gdtr - 0x200
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $8, $0x10000 + flat
	.code32
flat:	mov $16, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x9000, %esp
	mov 0x10000 + data, %ebx
	mov %ebx, %eax
	call print			# where the kernel is told to look
	mov 8(%ebx), %eax
	call print			# the type that it finds there
	mov $0x100000, %ebx
1:	add $4, %ebx
	cmpl $0xedfe0dd0, (%ebx)
	jne 1b
	lea -16(%ebx), %eax
	call print			# where the tree's own is
	mov $0x31, %al
	out %al, $0xf4			# the end, by isa-debug-exit
1:	hlt
	jmp 1b

# EAX in hex, and the end of the line, to the debug console.
print:	mov %eax, %edx
	mov $8, %ecx
1:	rol $4, %edx
	mov %edx, %eax
	and $15, %eax
	mov 0x10000 + digits(%eax), %al
	out %al, $0xe9
	loop 1b
	mov $10, %al
	out %al, $0xe9
	ret
digits:	.ascii "0123456789abcdef"
	.balign 8
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word gdtr - gdt - 1
	.long 0x10000 + gdt
	.org 0x400
	.skip 4096
EOF
within bookworm as --32 /tmp/kernel.s -o /tmp/kernel.o
within bookworm ld -m elf_i386 -Ttext=0 -e 0 --oformat binary /tmp/kernel.o -o /tmp/kernel
echo '/dts-v1/; / { };' | within bookworm dtc -I dts -O dtb -o /tmp/tree -
cp "$work/bookworm/tmp/kernel" "$work/bookworm/tmp/tree" "$work/trixie/tmp/"

# Print what the kernel sees.
seen_by_kernel() {
	local seen
	# isa-debug-exit makes an odd exit status of what is written: 99.
	within "$1" qemu-system-x86_64 -M pc -accel tcg -cpu max -nodefaults -display none \
		-debugcon file:/tmp/seen -device isa-debug-exit,iobase=0xf4,iosize=4 \
		-kernel /tmp/kernel -dtb /tmp/tree || [ $? = 99 ] || changed "QEMU of $1 did not run the kernel to its end"
	mapfile -t seen <"$work/$1/tmp/seen"
	printf 'told 0x%x, where the type is %d; the tree is 0x%x lower\n' \
		"0x${seen[0]}" "0x${seen[1]}" $((16#${seen[0]} - 16#${seen[2]}))
}

old="$(seen_by_kernel bookworm)" new="$(seen_by_kernel trixie)"
echo "QEMU 7.2.22: $old"
echo "QEMU 10.0.13: $new"
[ "$old" = "told 0x101000, where the type is 2; the tree is 0x0 lower" ] || changed "QEMU 7.2.22: $old"
[ "$new" = "told 0x101400, where the type is 0; the tree is 0x400 lower" ] || changed "QEMU 10.0.13: $new"
