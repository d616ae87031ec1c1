#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# btf_type_tag on a member that points to a structure: clang 14 leaves it out, unless by a typedef.
#
# Guess:    clang 14 knows btf_type_tag, it says nothing of it, and so the tag of a member is in BTF:
#           `struct task __kptr *owner;` makes a kptr.
# In fact:  where the member's pointer is the first that clang sees of the structure, it writes a bare
#           pointer to a forward declaration, and the tag is gone. Through a typedef it stays.
# Versions: clang 14.0.6 of Debian 12; 19.1.7 of Debian 13 keeps both.
# Output:   clang 14.0.6: struct PTR -> FWD; typedef PTR -> TYPE_TAG
#           clang 19.1.7: struct PTR -> TYPE_TAG; typedef PTR -> TYPE_TAG
# Matters:  BTF is where the verifier looks for the tag: such a member is no kptr, and bpf_kptr_xchg() on
#           it is refused. The typedef mends it.
# Source:   BTFDebug::visitDerivedType() in LLVM's llvm/lib/Target/BPF/BTFDebug.cpp: a pointer behind a
#           member is left for later (FixupDerivedTypes), without its annotations.
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

cat >"$work/bookworm/tmp/tags.c" <<'EOF'
#define __kptr __attribute__((btf_type_tag("kptr")))

struct device {
	int number;
};

typedef struct device device_type;

struct by_struct {
	struct device __kptr *owner_by_struct;
};

struct by_typedef {
	device_type __kptr *owner_by_typedef;
};

struct by_struct first;
struct by_typedef second;
EOF

# Print what a member's type leads to in BTF: its kind, and the kind behind it.
kinds_of() {
	local type next
	type="$(sed -n "s/.*'$1' type_id=\([0-9]*\) .*/\1/p" <<<"$2")"
	next="$(sed -n "s/^\[$type\] PTR .* type_id=\([0-9]*\)$/\1/p" <<<"$2")"
	echo "$(sed -n "s/^\[$type\] \([A-Z_]*\) .*/\1/p" <<<"$2") -> $(sed -n "s/^\[$next\] \([A-Z_]*\) .*/\1/p" <<<"$2")"
}

# Print both members' kinds, by the number of clang and the suite that has it.
tags_of() {
	local btf
	[ "$2" = bookworm ] || cp "$work/bookworm/tmp/tags.c" "$work/$2/tmp/"
	within "$2" "clang-$1" -target bpf -O2 -g -Wall -Wextra -c /tmp/tags.c -o /tmp/tags.o
	[ "$2" = bookworm ] || cp "$work/$2/tmp/tags.o" "$work/bookworm/tmp/"
	btf="$(within bookworm bpftool btf dump file /tmp/tags.o)"
	echo "struct $(kinds_of owner_by_struct "$btf"); typedef $(kinds_of owner_by_typedef "$btf")"
}

old="$(tags_of 14 bookworm)" new="$(tags_of 19 trixie)"
echo "clang 14.0.6: $old"
echo "clang 19.1.7: $new"
[ "$old" = "struct PTR -> FWD; typedef PTR -> TYPE_TAG" ] || changed "clang 14.0.6: $old"
[ "$new" = "struct PTR -> TYPE_TAG; typedef PTR -> TYPE_TAG" ] || changed "clang 19.1.7: $new"
