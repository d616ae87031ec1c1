#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Set a Debian 12 or 13 machine up: the packages that kvmbpf and its lab need,
# and a virtual environment in .venv. Run as root for the packages; safe to run
# again, and quick then: nothing is asked of the network when nothing is missing.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PACKAGES=(
	python3-venv python3-dev git make
	clang llvm clang-format libbpf1 libbpf-dev bpftool gcc
	qemu-system-x86 qemu-system-arm busybox-static device-tree-compiler acpica-tools
	linux-source-6.12 flex bison bc libelf-dev libssl-dev dwarves cpio kmod rsync
	perl xz-utils zstd tar file patch shellcheck
)
# For `kvmbpf lab selftest --vmx`; some of it is there for such machines only.
if [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ]; then
	PACKAGES+=(bochs bochs-term bochsbios vgabios grub-common grub-pc-bin xorriso)
fi
# Debian 12 has 1.1, which knows no struct_ops links.
LIBBPF_NEEDED=1:1.3
FROM_BACKPORTS=(libbpf1 libbpf-dev bpftool)

export DEBIAN_FRONTEND=noninteractive

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

libbpf_is_new_enough() {
	installed libbpf1 &&
		dpkg --compare-versions "$(dpkg-query -W -f '${Version}' libbpf1)" ge "$LIBBPF_NEEDED"
}

missing_packages() {
	local package
	for package in "${PACKAGES[@]}"; do
		installed "$package" || printf '%s\n' "$package"
	done
}

# The newest version of a package that apt could install from its suites is
# what `apt-cache policy` lists; priorities keep backports from being the candidate.
offers_libbpf() {
	local version
	while read -r version; do
		if dpkg --compare-versions "$version" ge "$LIBBPF_NEEDED"; then return 0; fi
	done < <(apt-cache madison libbpf1 | awk -F'|' '{ gsub(/ /, "", $2); print $2 }')
	return 1
}

# Name the backports suite at the very mirror this machine takes Debian from.
add_backports() {
	local codename="$1" uri
	# shellcheck disable=SC2016 # apt expands these
	uri="$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' |
		awk -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')"
	[ -n "$uri" ] || die "apt knows no Debian mirror for $codename; add $codename-backports to its sources"
	say "adding $codename-backports to apt's sources"
	printf '%s\n' '# Written by kvmbpf: libbpf 1.3 or newer.' 'Types: deb' "URIs: $uri" \
		"Suites: $codename-backports" 'Components: main' \
		'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' \
		>/etc/apt/sources.list.d/kvmbpf-backports.sources
}

install_packages() {
	local codename wanted=("$@") backports=() package
	# shellcheck source=/dev/null
	codename="$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")"
	quietly "apt-get update" apt-get -q update
	if ! libbpf_is_new_enough && [ "$codename" = bookworm ]; then
		if ! offers_libbpf; then
			add_backports "$codename"
			quietly "apt-get update" apt-get -q update
		fi
		for package in "${FROM_BACKPORTS[@]}"; do
			backports+=("$package/$codename-backports")
			mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | grep -vx -e "$package" -e '')
		done
	fi
	quietly "apt-get install ${wanted[*]}" \
		apt-get -q install -y --no-install-recommends "${wanted[@]}" "${backports[@]}"
}

set_up_packages() {
	local missing
	mapfile -t missing < <(missing_packages)
	if [ "${#missing[@]}" -eq 0 ] && libbpf_is_new_enough; then return; fi
	[ "$(id -u)" -eq 0 ] || die "missing ${missing[*]:-libbpf 1.3 or newer}; run ci/setup.sh as root"
	install_packages "${missing[@]}"
	libbpf_is_new_enough || die "libbpf $(dpkg-query -W -f '${Version}' libbpf1) is too old; 1.3 or newer is needed"
}

find_python() {
	local python
	for python in python3 python3.13 python3.12 python3.11; do
		if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			command -v "$python"
			return
		fi
	done
	die "Python 3.11 or newer with venv is needed; apt-get install python3-venv"
}

set_up_venv() {
	local stamp="$VENV/kvmbpf.stamp" python
	if [ -e "$stamp" ] && [ ! "$ROOT/pyproject.toml" -nt "$stamp" ] && "$VENV_PYTHON" -c '' 2>/dev/null; then
		return
	fi
	python="$(find_python)"
	quietly "making .venv with $python" "$python" -m venv --clear "$VENV"
	quietly "pip install -e .[lab,dev]" \
		"$VENV_PYTHON" -m pip install --disable-pip-version-check -q -e "${ROOT}[lab,dev]"
	touch "$stamp"
}

command -v dpkg-query >/dev/null || die "this is no Debian; install what PACKAGES in ci/setup.sh lists, then make .venv with pip install -e .[lab,dev]"
set_up_packages
set_up_venv
