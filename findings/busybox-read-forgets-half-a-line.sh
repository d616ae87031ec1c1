#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# busybox sh's `read`: a child's end in the middle of a line loses the line's beginning.
#
# Guess:    `read` gives whole lines, whatever happens while it waits. A signal makes it go on.
# In fact:  when a child of the shell ends, `read` begins anew and throws away what it had
#           of the line. dash keeps it.
# Versions: Debian 12's busybox 1.35.0; 1.37.0 and 1.38.0 do the same. dash 0.5.12 does not.
# Output:   dash: one two
#           busybox: two
# Matters:  a guest's init in busybox sh that reads commands from a serial port, and starts anything
#           in the background, now and then runs the end of a command. Read the port in a
#           process of its own, which has no children that end while it reads.
# Source:   readcmd() in busybox's shell/ash.c calls shell_builtin_read() (shell/shell_common.c) again
#           when that gave EINTR; the buffer is shell_builtin_read()'s own.
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

packages bookworm busybox-static=1:1.35.0-4+deb12u1+b1 dash=0.5.12-2

# A shell reads a line of which half comes, then its child's end, then the other half.
line_of() {
	mkfifo "$work/bookworm/tmp/line"
	{
		printf 'one '
		sleep 2
		printf 'two\n'
	} >"$work/bookworm/tmp/line" &
	# shellcheck disable=SC2016 # the shell under test expands it
	within bookworm "$@" -c '{ /bin/busybox sleep 1; } & read -r line; echo "$line"' <"$work/bookworm/tmp/line"
	wait
	rm "$work/bookworm/tmp/line"
}

dash="$(line_of dash)" busybox="$(line_of busybox sh)"
echo "dash: $dash"
echo "busybox: $busybox"
[ "$dash" = "one two" ] || changed "dash lost a part too"
[ "$busybox" = "two" ] || changed "busybox read '$busybox', not 'two'"
