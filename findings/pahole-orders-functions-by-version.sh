#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# BTF of the same object by two versions of pahole: the functions are in another order.
#
# Guess:    pahole writes functions to BTF in the order of DWARF, that is, of the source; at least a
#           newer pahole keeps the order, so that a kernel's type numbers depend on its source alone.
# In fact:  pahole 1.24 writes them from the last one of the unit to the first, pahole 1.30 sorted by name.
# Versions: Debian 12's pahole 1.24 (dwarves); Debian 13's 1.30; 1.32 sorts as well.
# Output:   pahole 1.24: last_in_source beta alpha zeta
#           pahole 1.30: alpha beta last_in_source zeta
# Matters:  libbpf finds a kernel function by walking the kernel's types from 1 on, for each call in
#           an object. How far it walks, which is most of a load's time, is set by the pahole
#           of the kernel's build: the same function of the same source was type 7,638 with one,
#           and 53,680 with the other. Nothing may remember a type's number over a rebuild.
# Source:   btf_encoder__add_saved_funcs() in pahole's btf_encoder.c (1.30);
#           btf__find_by_name_kind() in libbpf's btf.c.
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

packages bookworm dwarves=1.24-4.1 gcc-12 bpftool
packages trixie pahole=1.30-1

cat >"$work/bookworm/tmp/order.c" <<'EOF'
int zeta(int number)
{
	return number + 1;
}

int alpha(int number)
{
	return number + 2;
}

int beta(int number)
{
	return number + 3;
}

int last_in_source(int number)
{
	return number + 4;
}
EOF
within bookworm gcc-12 -Wall -Wextra -g -c /tmp/order.c -o /tmp/order.o
cp "$work/bookworm/tmp/order.o" "$work/trixie/tmp/"

# Print the functions in the order of their type numbers.
order_of() {
	within "$1" pahole --btf_encode_detached=/tmp/order.btf /tmp/order.o
	[ "$1" = bookworm ] || cp "$work/$1/tmp/order.btf" "$work/bookworm/tmp/order.btf"
	within bookworm bpftool btf dump file /tmp/order.btf |
		sed -n "s/^\[[0-9]*\] FUNC '\([a-z_]*\)'.*/\1/p" | paste -sd ' '
}

old="$(order_of bookworm)" new="$(order_of trixie)"
echo "pahole 1.24: $old"
echo "pahole 1.30: $new"
[ "$old" = "last_in_source beta alpha zeta" ] || changed "pahole 1.24: $old"
[ "$new" = "alpha beta last_in_source zeta" ] || changed "pahole 1.30: $new"
