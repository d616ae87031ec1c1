#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# REP MOVSB under QEMU's -icount: one instruction for each byte.
#
# Guess:    -icount counts instructions, and REP MOVSB is one, as for a processor's own
#           counter of retired instructions.
# In fact:  each round of a repeated string instruction is counted. 1,000 bytes more are
#           1,000 instructions more. A kernel and a libc that find ERMS or FSRM in CPUID copy
#           that way, and each of their copies is then weighed by its length.
# Versions: Debian 12's QEMU 7.2.22; 10.0.13 and 11.1.3 count alike.
# Output:   100 bytes: 103 instructions; 1100 bytes: 1103
# Matters:  what is measured is the emulator's way of copying. Take ERMS and FSRM from the CPU
#           (-cpu max,-erms,-fsrm), and a copy goes by loads and stores on both.
# Source:   do_gen_rep() in QEMU's target/i386/tcg/translate.c (10.0): CF_USE_ICOUNT has it translate a
#           single round, which ends in a jump to the instruction itself; so do all rounds in 7.2.
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

# Two copies between two readings of the time stamp, which is -icount's own clock.
cat >"$work/bookworm/tmp/copy.s" <<'EOF'
	.code32
	.long 0x1badb002, 0, -0x1badb002	# multiboot
	.globl _start
_start:	mov $stack, %esp
	cld
	.irp bytes, 100, 1100
	mov $0x200000, %esi
	mov $0x300000, %edi
	mov $\bytes, %ecx
	rdtsc
	mov %eax, %ebp
	rep movsb
	rdtsc
	sub %ebp, %eax
	call print
	.endr
	mov $0x31, %al
	out %al, $0xf4				# the end, by isa-debug-exit
1:	hlt
	jmp 1b

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
	.bss
	.skip 4096
stack:
EOF
within bookworm as --32 /tmp/copy.s -o /tmp/copy.o
within bookworm ld -m elf_i386 -Ttext=0x100000 /tmp/copy.o -o /tmp/copy

# isa-debug-exit makes an odd exit status of what is written: 99.
within bookworm qemu-system-x86_64 -M pc -accel tcg,thread=single -icount shift=0,sleep=off -cpu max \
	-nodefaults -display none -debugcon file:/tmp/seen -device isa-debug-exit,iobase=0xf4,iosize=4 \
	-kernel /tmp/copy || [ $? = 99 ] || changed "QEMU did not run the program to its end"

mapfile -t seen <"$work/bookworm/tmp/seen"
few=$((16#${seen[0]})) many=$((16#${seen[1]}))
echo "100 bytes: $few instructions; 1100 bytes: $many"
[ $((many - few)) = 1000 ] || changed "1000 bytes more are $((many - few)) instructions more, not 1000"
