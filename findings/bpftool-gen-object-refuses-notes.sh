#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `bpftool gen object`: an object with an ELF note, which libbpf loads, cannot be linked.
#
# Guess:    an object that libbpf opens and loads goes through libbpf's linker as well; what the linker
#           does not know, such as a note, it copies or leaves out.
# In fact:  the linker refuses any section that is neither code nor data nor one of the few that it
#           knows: SHT_NOTE among them. clang makes that of every section whose name begins with .note.
# Versions: bpftool 7.1.0 (libbpf 1.1) of Debian 12; 7.5.0 and 7.8.0 (libbpf 1.8) refuse it too.
# Output:   bpftool reads the object's types: yes
#           bpftool gen object: libbpf: unrecognized section #N (.note.example) in /tmp/noted.o
# Matters:  an object that carries its own description in notes, as executables do, has to be one
#           source file: it cannot be linked from several.
# Source:   linker_load_obj_file() in libbpf's linker.c, "unrecognized section"; bpf_object__elf_collect()
#           in libbpf.c skips what it does not know ("elf: skipping section").
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

packages bookworm bpftool=7.1.0+6.1.176-1 clang-14

cat >"$work/bookworm/tmp/noted.c" <<'EOF'
/* An owner of four bytes, a description of four, and a type. */
__attribute__((section(".note.example"), used)) static const struct {
	unsigned int owner_bytes, description_bytes, type;
	char owner[4], description[4];
} note = { 4, 4, 1, "EXA", "abc" };

__attribute__((section("socket"), used)) int program(void)
{
	return 0;
}
EOF
within bookworm clang-14 -target bpf -O2 -g -Wall -Wextra -c /tmp/noted.c -o /tmp/noted.o
within bookworm bpftool btf dump file /tmp/noted.o | grep -q "FUNC 'program'" ||
	changed "bpftool cannot read the object at all"
echo "bpftool reads the object's types: yes"

if said="$(within bookworm bpftool gen object /tmp/linked.o /tmp/noted.o 2>&1)"; then
	changed "bpftool gen object links an object with a note"
fi
said="$(grep -m1 '^libbpf:' <<<"$said" | sed 's/#[0-9]*/#N/')"
echo "bpftool gen object: $said"
[ "$said" = "libbpf: unrecognized section #N (.note.example) in /tmp/noted.o" ] || changed "bpftool says: $said"
