#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# libbpf's maps of variables: BPF_F_MMAPABLE depends on a variable that is not static.
#
# Guess:    since kernels know mmapable arrays, libbpf makes every .data and .bss map one (flag
#           BPF_F_MMAPABLE, 0x400), so that another process can map a pinned one and read it.
# In fact:  only a section with at least one variable that is not static gets the flag. With
#           `static int count;` alone the map is plain, and the kernel refuses to mmap() it; one more
#           variable without `static` changes that for the whole section.
# Versions: Debian 12's libbpf 1.1.2 and Debian 13's 1.5.0 alike; 1.4.6 too.
# Output:   libbpf 1.1.2: .data.static 0x0, .data.global 0x400, .data.both 0x400
#           libbpf 1.5.0: .data.static 0x0, .data.global 0x400, .data.both 0x400
# Matters:  `static` is the habit of a careful author, and a reader of the maps has to know both ways:
#           mmap(), and BPF_MAP_LOOKUP_ELEM on the one element.
# Source:   map_is_mmapable(), called by bpf_object__init_internal_map(), in libbpf's libbpf.c: "static
#           variables are not exposed through BPF skeleton".
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

packages bookworm libbpf1=1:1.1.2-0+deb12u1 clang-14 python3
packages trixie libbpf1=1:1.5.0-3 python3

cat >"$work/bookworm/tmp/variables.c" <<'EOF'
__attribute__((section(".data.static"), used)) static int hidden = 1;
__attribute__((section(".data.global"))) int shown = 1;
__attribute__((section(".data.both"), used)) static int beside = 1;
__attribute__((section(".data.both"))) int shown_as_well = 1;

__attribute__((section("socket"), used)) int program(void)
{
	return ++hidden + ++shown + ++beside + ++shown_as_well;
}
EOF
within bookworm clang-14 -target bpf -O2 -g -Wall -Wextra -c /tmp/variables.c -o /tmp/variables.o
cp "$work/bookworm/tmp/variables.o" "$work/trixie/tmp/"

# Open the object, which asks nothing of the kernel, and print the flags of its maps.
flags_by() {
	within "$1" python3 - <<'EOF'
import ctypes

libbpf = ctypes.CDLL("libbpf.so.1")
libbpf.bpf_object__open_file.restype = ctypes.c_void_p
libbpf.bpf_object__next_map.restype = ctypes.c_void_p
libbpf.bpf_object__next_map.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
libbpf.bpf_map__name.restype = ctypes.c_char_p
libbpf.bpf_map__name.argtypes = (ctypes.c_void_p,)
libbpf.bpf_map__map_flags.argtypes = (ctypes.c_void_p,)
opened = libbpf.bpf_object__open_file(b"/tmp/variables.o", None)
flags = {}
found = libbpf.bpf_object__next_map(opened, None)
while found:
    flags[libbpf.bpf_map__name(found).decode()] = libbpf.bpf_map__map_flags(found)
    found = libbpf.bpf_object__next_map(opened, found)
names = (".data.static", ".data.global", ".data.both")
print(", ".join(f"{name} {flags[name]:#x}" for name in names))
EOF
}

old="$(flags_by bookworm)" new="$(flags_by trixie)"
echo "libbpf 1.1.2: $old"
echo "libbpf 1.5.0: $new"
as_stated=".data.static 0x0, .data.global 0x400, .data.both 0x400"
[ "$old" = "$as_stated" ] || changed "libbpf 1.1.2: $old"
[ "$new" = "$as_stated" ] || changed "libbpf 1.5.0: $new"
