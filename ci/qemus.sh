#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run the tests that start QEMU on the QEMUs of Debian's suites: 7.2, 10 and 11. They
# are unpacked into kvmbpf's cache; nothing is installed. What the mirror does not have
# is said by name, and fails the run at its end. Arguments go to pytest in place of the
# usual tests; whatever starts a lab takes its QEMU from here too:
#
#   ci/qemus.sh
#   QEMUS=forky ci/qemus.sh tests/lab/manager/test_attach.py
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
. "$ROOT/ci/suites.sh"
cd "$ROOT"

TESTS=(tests/unit/qemu_glue tests/unit/cli/test_vm_errors.py)
PROGRAMS=(qemu-system-x86_64 qemu-system-aarch64)
# What Debian's own name of the suite stands for today; the version is what counts.
read -r -a suites <<<"${QEMUS:-bookworm trixie forky}"

# own_modules ROOT: keep programs from the modules of this machine's QEMU, which they look for
# when they have not got one themselves, and complain of. The folder's name is in the program.
own_modules() {
	local root="$1" program
	for program in "${PROGRAMS[@]}"; do
		LC_ALL=C sed -i "s#/usr/$LIBRARIES/qemu#/nil/$LIBRARIES/qemu#g" "$root/usr/bin/$program"
	done
}

# front ROOT: a folder for PATH, with a script a program. Newer QEMUs look for firmware in
# /usr/share only; the process that remains has the script's name as its own.
front() {
	local root="$1" program folder="$1/front"
	mkdir -p "$folder"
	for program in "${PROGRAMS[@]}"; do
		cat >"$folder/$program.new" <<-EOF
			#!/bin/bash
			export QEMU_MODULE_DIR='$root/usr/$LIBRARIES/qemu'
			exec -a "\$0" '$root/usr/bin/$program' -L '$root/usr/share/qemu' \\
			  -L '$root/usr/share/seabios' -L '$root/usr/lib/ipxe/qemu' "\$@"
		EOF
		chmod +x "$folder/$program.new"
		mv "$folder/$program.new" "$folder/$program"
	done
	printf '%s' "$folder"
}

[ "$#" -gt 0 ] || set -- -q "${TESTS[@]}"
failed=()
for suite in "${suites[@]}"; do
	if ! unpack_suite "$suite" qemu qemu-system-x86 qemu-system-arm ||
		! lead_to_libraries "${ROOTS[qemu]}" "${PROGRAMS[@]}"; then
		failed+=("QEMU of $suite: not to be had")
		continue
	fi
	own_modules "${ROOTS[qemu]}"
	path="$(front "${ROOTS[qemu]}"):$PATH"
	version="$(PATH="$path" qemu-system-x86_64 --version | awk 'NR == 1 { print $4 }')"
	[ -n "$version" ] || die "the QEMU of $suite does not run on this machine"
	say "QEMU $version, of $suite"
	PATH="$path" KVMBPF_REQUIRE=1 "$VENV/bin/pytest" "$@" || failed+=("QEMU $version, of $suite")
done
[ "${#failed[@]}" -eq 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
say "all of ${#suites[@]} QEMUs pass"
