#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# -acpitable with QEMU's microvm: taken, and never shown to the guest.
#
# Guess:    microvm has ACPI tables (acpi=on is its default), so -acpitable adds one to them, as on
#           q35 and pc; or QEMU refuses the option there.
# In fact:  QEMU reads and checks the file, and the machine's own tables are all that the guest gets.
# Versions: Debian 12's QEMU 7.2.22; 10.0.13 and 11.1.3 drop it as well.
# Output:   q35: the guest's ACPI tables have the table
#           microvm: the guest's ACPI tables do not have the table
# Matters:  a device that is told by an SSDT is there, and the guest's driver never looks for it.
#           On microvm a device tree (-dtb) reaches the guest, or a machine's own device.
# Source:   acpi_build() in QEMU's hw/i386/acpi-build.c walks acpi_table_first() and acpi_table_next();
#           acpi_build_microvm() in hw/i386/acpi-microvm.c does not.
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

# An SSDT of nothing: 36 bytes of header (the sum of all is 0), by the OEM's name FINDINGS.
printf 'SSDT\x24\0\0\0\x02\xdbEXAMPLFINDINGS\x01\0\0\0TEST\x01\0\0\0' >"$work/bookworm/tmp/table"

# Print bytes of a file of QEMU's firmware interface in hex, as a guest reads them: select its
# number at port 0x510, read at port 0x511.
firmware_bytes() {
	{
		echo "o /h 0x510 $2"
		for ((i = 0; i < $3; i++)); do echo 'i /b 0x511'; done
		echo quit
	} | within bookworm qemu-system-x86_64 -M "$1" -accel tcg -S -nodefaults -display none -monitor stdio \
		-acpitable file=/tmp/table | tr -d '\r' | sed -n 's/^portb\[0x0511\] = 0x//p' | tr -d '\n'
}

# Tell whether the tables that a machine gives to its guest have ours.
tables_of() {
	local folder entry size tables
	# File 0x19 is the directory: a count, then size, number, two bytes and a name of 56 for each.
	folder="$(firmware_bytes "$1" 0x19 $((4 + 64 * 20)))"
	# "etc/acpi/tables" and what is before it
	entry="$(grep -o '.\{16\}6574632f616370692f7461626c657300' <<<"$folder")" ||
		changed "$1 has no ACPI tables at all"
	size=$((16#${entry:0:8}))
	tables="$(firmware_bytes "$1" "0x${entry:8:4}" $((size < 16384 ? size : 16384)))"
	# "FINDINGS"
	if [[ $tables == *46494e44494e4753* ]]; then echo "have"; else echo "do not have"; fi
}

q35="$(tables_of q35)" microvm="$(tables_of microvm)"
echo "q35: the guest's ACPI tables $q35 the table"
echo "microvm: the guest's ACPI tables $microvm the table"
[ "$q35" = "have" ] || changed "q35 drops it too"
[ "$microvm" = "do not have" ] || changed "microvm shows it"
