#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QMP's system_reset of an x86 guest: two resets, or more.
#
# Guess:    one system_reset, one RESET event, and one reset of each device.
# In fact:  SeaBIOS finds itself started once more in memory that it used before, and makes a hard reset of
#           its own, so that QEMU loads the BIOS anew. That is a second reset of all devices, with an
#           event that says `guest: true`, reason `guest-reset`; on some runs a third one comes,
#           for it asks by several ways, one after the other, until one works.
# Versions: Debian 12's QEMU 7.2.22 with SeaBIOS 1.16.2; 10.0.13 and 11.1.3 with their own alike.
# Output:   1 system_reset: host-qmp-system-reset guest-reset
#           SeaBIOS: Attempting a hard reboot
# Matters:  who counts resets, or resets something with the guest, has to be ready for a second one
#           while the first is being worked on, and cannot tell from `guest` who wanted it.
# Source:   tryReboot() in SeaBIOS's src/resume.c, and qemu_prep_reset() in src/fw/shadow.c, which says
#           why; qemu_system_reset() in QEMU's softmmu/runstate.c.
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

packages bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 seabios=1.16.2-1

log="$work/bookworm/tmp/seabios"
touch "$log"

# Wait until SeaBIOS has found nothing to boot so many times.
until_idle() {
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		[ "$(grep -ac 'No bootable device' "$log")" -lt "$1" ] || return 0
		sleep 0.1
	done
	return 1
}

seen="$({
	echo '{"execute": "qmp_capabilities"}'
	until_idle 1
	echo '{"execute": "system_reset"}'
	until_idle 2
	echo '{"execute": "quit"}'
} | within bookworm qemu-system-x86_64 -M q35 -accel tcg -nodefaults -vga none -display none -qmp stdio \
	-chardev file,id=log,path=/tmp/seabios -device isa-debugcon,iobase=0x402,chardev=log)"
events="$(sed -n 's/.*"event": "RESET".*"reason": "\([a-z-]*\)".*/\1/p' <<<"$seen" | paste -sd ' ')"
echo "1 system_reset: $events"
echo "SeaBIOS: $(grep -ao -m1 'Attempting a hard reboot' "$log" || echo nothing)"
[[ $events == "host-qmp-system-reset guest-reset"* ]] || changed "1 system_reset: $events"
