#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QMP's socket: a second client is connected, and never greeted.
#
# Guess:    a QMP socket (server=on) serves several clients, or refuses the second one.
# In fact:  one at a time, and the others wait in the socket's queue, which takes two: connect()
#           succeeds, the greeting comes when the client before has gone. One more gets EAGAIN from
#           a connect() that does not block, and waits in one that does.
# Versions: Debian 12's QEMU 7.2.22; 10.0.13 and 11.1.3 do the same.
# Output:   1 greeted, 2 silent, 3 silent, 4 EAGAIN, 2 greeted once 1 has gone
# Matters:  a client needs a time limit for the greeting, and has to take silence for "in use"; a
#           manager that stays connected shuts all others out, so it wants a socket of its own.
# Source:   tcp_chr_accept() in QEMU's chardev/char-socket.c: the listener is left alone while a client
#           is there; qio_net_listener_open_sync(..., 1, ...) in qmp_chardev_open_socket_server().
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

packages bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 python3

seen="$(within bookworm python3 - <<'EOF'
import os, socket, subprocess, time

qemu = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none"]
with subprocess.Popen([*qemu, "-qmp", "unix:/tmp/qmp,server=on,wait=off"]) as process:
    try:
        while not os.path.exists("/tmp/qmp"):
            time.sleep(0.1)
        seen, clients = [], []

        def look(number: int, client: socket.socket) -> str:
            try:
                return f"{number} greeted" if client.recv(1 << 16).startswith(b'{"QMP"') else "?"
            except TimeoutError:
                return f"{number} silent"

        for number in range(1, 5):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(2)
            try:
                client.connect("/tmp/qmp")
                seen.append(look(number, client))
            except BlockingIOError:
                seen.append(f"{number} EAGAIN")
            clients.append(client)
        clients[0].close()
        clients[1].settimeout(20)
        seen.append(f"{look(2, clients[1])} once 1 has gone")
        print(", ".join(seen))
    finally:
        process.kill()
EOF
)"
echo "$seen"
[ "$seen" = "1 greeted, 2 silent, 3 silent, 4 EAGAIN, 2 greeted once 1 has gone" ] || changed "$seen"
