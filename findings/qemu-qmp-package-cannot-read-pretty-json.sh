#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU's own Python client, the package qemu.qmp: it does not understand a monitor with pretty=on.
#
# Guess:    qemu.qmp reads all that QEMU's QMP says, and `-qmp-pretty`, or `-mon pretty=on`, which differs by
#           white space only, is the same to it.
# In fact:  it takes each line for a message, and fails at the greeting's first, "{".
# Versions: qemu.qmp 0.0.6 with Debian 12's QEMU 7.2.22; with 10.0.13 and 11.1.3 too.
# Output:   -qmp: running
#           -qmp-pretty: ConnectError: Failed to establish session: Did not understand Greeting
# Matters:  attaching to a QEMU that somebody else started fails for an option that people set to read
#           along. A client of one's own has to decode values, not lines.
# Source:   QMPProtocol._do_recv() and AsyncProtocol._readline() in qemu.qmp's qmp_client.py and protocol.py;
#           docs/interop/qmp-spec in QEMU: messages are JSON, ended by CRLF, and pretty is the monitor's choice.
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

packages bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 python3-pip-whl python3 ca-certificates

# pip, by this machine's network and settings: outside of the folder, with its Python.
root="$work/bookworm"
[ -e /etc/ssl/certs/ca-certificates.crt ] || {
	cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$work/certificates"
	export PIP_CERT="$work/certificates"
}
PYTHONPATH="$(echo "$root"/usr/share/python-wheels/pip-*.whl)" "$root/lib64/ld-linux-x86-64.so.2" \
	--library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/python3" \
	-m pip install -q --only-binary :all: --no-deps --target "$root/tmp/site" qemu.qmp==0.0.6 >"$work/pip" 2>&1 ||
	cannot "qemu.qmp==0.0.6: $(tail -n 1 "$work/pip")"

seen="$(PYTHONPATH=/tmp/site within bookworm python3 - <<'EOF'
import asyncio
import os
import subprocess
import time

from qemu.qmp import QMPClient, QMPError

QEMU = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none"]


async def ask(path: str) -> str:
    client = QMPClient("finding")
    try:
        await client.connect(path)
    except QMPError as error:
        return f"{type(error).__name__}: {error}".split(": Failed to deserialize")[0]
    try:
        return (await client.execute("query-status"))["status"]
    finally:
        await client.disconnect()


for option in ("-qmp", "-qmp-pretty"):
    path = f"/tmp/socket{option}"
    with subprocess.Popen([*QEMU, option, f"unix:{path},server=on,wait=off"]) as process:
        try:
            while not os.path.exists(path):
                time.sleep(0.1)
            print(f"{option}: {asyncio.run(ask(path))}")
        finally:
            process.kill()
EOF
)" 2>"$work/said"
echo "$seen"
[ "$seen" = "-qmp: running
-qmp-pretty: ConnectError: Failed to establish session: Did not understand Greeting" ] || changed "the output"
