#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Python package fdt: a device tree with FDT_NOP, as QEMU makes them, cannot be read.
#
# Guess:    a library for flattened device trees knows the five tokens of the format, and reads any
#           tree that dtc reads.
# In fact:  FDT_NOP (4), which the specification has readers skip, is an error for it: "Unknown Tag: 4".
#           QEMU leaves it behind where it takes a node out, such as the memory of a tree that it
#           was given by -dtb.
# Versions: fdt 0.3.3; Debian 12's QEMU 7.2.22, dtc 1.6.1. It reads no such tree of
#           QEMU 10.0.13 and 11.1.3 either.
# Output:   dtc: 1 node /memory@40000000; fdt: Exception: Unknown Tag: 4
# Matters:  a tool that takes the tree of a running machine and adds to it needs to take the NOPs out first.
# Source:   parse_dtb() in fdt's __init__.py; arm_load_dtb() in QEMU's hw/arm/boot.c, "nop all root nodes
#           matching /memory"; "Devicetree Specification", v0.4, section 5.4.1.
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

packages bookworm qemu-system-arm=1:7.2+dfsg-7+deb12u18+b3 device-tree-compiler=1.6.1-4+b1 \
	python3-pip-whl python3 ca-certificates

# pip, by this machine's network and settings: outside of the folder, with its Python.
root="$work/bookworm"
[ -e /etc/ssl/certs/ca-certificates.crt ] || {
	cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$work/certificates"
	export PIP_CERT="$work/certificates"
}
PYTHONPATH="$(echo "$root"/usr/share/python-wheels/pip-*.whl)" "$root/lib64/ld-linux-x86-64.so.2" \
	--library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/python3" \
	-m pip install -q --only-binary :all: --no-deps --target "$root/tmp/site" fdt==0.3.3 >"$work/pip" 2>&1 ||
	cannot "fdt==0.3.3: $(tail -n 1 "$work/pip")"

within bookworm qemu-system-aarch64 -nodefaults -display none -M virt,dumpdtb=/tmp/own 2>/dev/null
within bookworm qemu-system-aarch64 -nodefaults -display none -M virt,dumpdtb=/tmp/tree -dtb /tmp/own 2>/dev/null
nodes="$(within bookworm dtc -q -I dtb -O dts /tmp/tree | grep -c 'memory@40000000 {')"
said="$(PYTHONPATH=/tmp/site within bookworm python3 - <<'EOF'
import pathlib

import fdt

content = pathlib.Path("/tmp/tree").read_bytes()
try:
    fdt.parse_dtb(content)
    print("reads it")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
EOF
)"
echo "dtc: $nodes node /memory@40000000; fdt: $said"
[ "$nodes" = 1 ] || changed "dtc finds $nodes nodes of memory"
[ "$said" = "Exception: Unknown Tag: 4" ] || changed "fdt: $said"
