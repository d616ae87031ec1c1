#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU's -qmp takes the human monitor away that -nographic has behind Ctrl-A c.
#
# Guess:    -qmp adds a socket for programs, and leaves what a person has as it was.
# In fact:  any -qmp, -qmp-pretty, -monitor or -mon leaves out the default monitor, so that of
#           -nographic too. The same monitor told by a file of -readconfig ([mon] and [chardev])
#           does not.
# Versions: Debian 12's QEMU 7.2.22; 10.0.13 and 11.1.3 do the same with -qmp.
# Output:   as it is: monitor; with -qmp: no monitor; QMP by -readconfig: monitor
# Matters:  a tool that adds a QMP socket to a user's command line takes Ctrl-A c away from
#           that user.
# Source:   qemu_init() in QEMU's softmmu/vl.c (7.2), system/vl.c (10.0): `default_monitor = 0` in the cases
#           of these options; qemu_create_default_devices() adds one where that is not 0.
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

packages bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3

cat >"$work/bookworm/tmp/config" <<'EOF'
[chardev "socket"]
  backend = "socket"
  path = "/tmp/socket"
  server = "on"
  wait = "off"

[mon "qmp"]
  chardev = "socket"
  mode = "control"
EOF

# Tell whether a machine of -nographic, with these options more, answers to a monitor's command.
monitor_with() {
	# A monitor obeys `quit`; without one QEMU runs until it is ended.
	if printf 'info name\nquit\n' |
		limit=20 within bookworm qemu-system-x86_64 -M none -nographic -name finding "$@" 2>/dev/null |
		grep -q '^finding'; then
		echo "monitor"
	else
		echo "no monitor"
	fi
}

plain="$(monitor_with)"
qmp="$(monitor_with -qmp unix:/tmp/socket,server=on,wait=off)"
config="$(monitor_with -readconfig /tmp/config)"
echo "as it is: $plain; with -qmp: $qmp; QMP by -readconfig: $config"
[ "$plain" = "monitor" ] || changed "-nographic has no monitor"
[ "$qmp" = "no monitor" ] || changed "-qmp leaves the monitor"
[ "$config" = "monitor" ] || changed "-readconfig takes the monitor away as well"
