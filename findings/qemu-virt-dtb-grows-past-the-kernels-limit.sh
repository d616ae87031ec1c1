#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU's arm64 virt: its own dumped device tree, given back with -dtb, is too large for the kernel.
#
# Guess:    `-M virt,dumpdtb=FILE`, and then -dtb FILE, changed or not, is what the machine starts with
#           anyway.
# In fact:  a dump holds QEMU's spare room and is 1 MiB large, though a few KiB are used. When QEMU loads a
#           tree it makes room for as much again and 20,000 bytes: the guest gets one of 2,117,152
#           bytes, and arm64's boot protocol allows 2 MiB (2,097,152). The kernel refuses it, and stops
#           before it has a console to say so.
# Versions: Debian 12's QEMU 7.2.22; 10.0.13 and 11.1.3 do the same.
# Output:   dumped: 1048576 bytes, of which 7378 are used; given back: 2117152 bytes
# Matters:  a tool that adds nodes to a dump must pack the tree (dtc does so when it writes a DTB; in
#           libfdt fdt_pack()) before -dtb.
# Source:   load_device_tree() in QEMU's softmmu/device_tree.c (7.2), system/device_tree.c (10.0): "Expand to
#           2x size"; in the kernel Documentation/arch/arm64/booting.rst ("must not exceed 2 megabytes"),
#           and fixmap_remap_fdt(), which setup_machine_fdt() calls.
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

packages bookworm qemu-system-arm=1:7.2+dfsg-7+deb12u18+b3

# Print a big-endian number of a file's header.
number_at() {
	local bytes
	bytes="$(od -An -tx1 -j "$2" -N 4 "$work/bookworm/tmp/$1" | tr -d ' ')"
	echo $((16#$bytes))
}

within bookworm qemu-system-aarch64 -nodefaults -display none -M virt,dumpdtb=/tmp/dumped 2>/dev/null
within bookworm qemu-system-aarch64 -nodefaults -display none -M virt,dumpdtb=/tmp/back -dtb /tmp/dumped 2>/dev/null
# The header: the size of all at 4, those of the strings and of the structure at 32 and 36.
dumped="$(number_at dumped 4)" back="$(number_at back 4)"
used=$(($(number_at dumped 32) + $(number_at dumped 36)))
echo "dumped: $dumped bytes, of which $used are used; given back: $back bytes"
[ "$dumped" -gt $((10 * used)) ] || changed "a dump has little room to spare now"
[ "$back" -gt 2097152 ] || changed "a dump that is given back is within 2 MiB now"
