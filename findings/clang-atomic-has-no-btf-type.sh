#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# BTF of a variable that is _Atomic: clang 14 to 19 give it no type.
#
# Guess:    BTF leaves the qualifier out, as it does with those that it cannot say, and the type of
#           `_Atomic int` is int's.
# In fact:  clang 14 and 19 write type 0, which is void, for variables and for members, without a
#           word. A void has no size: who reads the variable by its BTF, as for a skeleton, a dump
#           of a map, or to carry it over to another object, finds no value of it. clang 21 writes int.
# Versions: clang 14.0.6 of Debian 12; 19.1.7 of Debian 13; 21.1.8 of its backports.
# Output:   clang 14.0.6: counter has type 0
#           clang 19.1.7: counter has type 0
#           clang 21.1.8: counter has type INT 'int'
# Matters:  a counter that several CPUs add to is the first thing that one would make _Atomic. With
#           an older clang: a plain type, and __sync_fetch_and_add().
# Source:   BTFDebug::visitDerivedType() in LLVM's llvm/lib/Target/BPF/BTFDebug.cpp, which knows no
#           DW_TAG_atomic_type in these versions.
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

packages bookworm clang-14=1:14.0.6-12 bpftool
packages trixie clang-19=1:19.1.7-3+b1
packages trixie-backports clang-21=1:21.1.8-3~bpo13+2

cat >"$work/bookworm/tmp/counter.c" <<'EOF'
_Atomic int counter;

__attribute__((section("socket"), used)) int count(void)
{
	__c11_atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
	return 0;
}
EOF

# Print the type of the variable, by the number of clang and the suite that has it.
type_of() {
	local btf type
	[ "$2" = bookworm ] || cp "$work/bookworm/tmp/counter.c" "$work/$2/tmp/"
	within "$2" "clang-$1" -target bpf -O2 -g -Wall -Wextra -c /tmp/counter.c -o /tmp/counter.o
	[ "$2" = bookworm ] || cp "$work/$2/tmp/counter.o" "$work/bookworm/tmp/"
	btf="$(within bookworm bpftool btf dump file /tmp/counter.o)"
	type="$(sed -n "s/.* VAR 'counter' type_id=\([0-9]*\),.*/\1/p" <<<"$btf")"
	if [ "$type" != 0 ]; then type="$(sed -n "s/^\[$type\] \([A-Z]* '[a-z]*'\).*/\1/p" <<<"$btf")"; fi
	echo "$type"
}

oldest="$(type_of 14 bookworm)" old="$(type_of 19 trixie)" new="$(type_of 21 trixie-backports)"
echo "clang 14.0.6: counter has type $oldest"
echo "clang 19.1.7: counter has type $old"
echo "clang 21.1.8: counter has type $new"
[ "$oldest" = 0 ] || changed "clang 14.0.6 writes $oldest"
[ "$old" = 0 ] || changed "clang 19.1.7 writes $old"
[ "$new" = "INT 'int'" ] || changed "clang 21.1.8 writes $new"
