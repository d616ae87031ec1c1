#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Check the kernel series patch by patch: each applies without fuzz, is clean for
# checkpatch --strict and sparse, and builds without a warning with KVM built in
# and as modules, with the option on and off. About half an hour on two cores.
#
#   ci/series.sh [FOLDER]    FOLDER keeps the trees for the next run
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up

SERIES="$ROOT/kernel_patches/v6.12"
SOURCE=/usr/src/linux-source-6.12.tar.xz
# What a patch may touch, as make goals.
GOALS=(virt/kvm/ arch/x86/kvm/ kernel/bpf/bpf_struct_ops.o)

# Without a typedef clang 14 loses the tag of a kptr (bpf/kvm_bpf.bpf.h of the selftests).
IGNORED=(--ignore NEW_TYPEDEFS)

FOLDER="${1:-}"
if [ -z "$FOLDER" ]; then
	FOLDER="$(mktemp -d)"
	trap 'rm -rf "$FOLDER"' EXIT
fi
mkdir -p "$FOLDER"
FOLDER="$(cd "$FOLDER" && pwd)"
TREE="$FOLDER/tree"
export GIT_CEILING_DIRECTORIES="$FOLDER"

command -v sparse >/dev/null || die "sparse is missing; apt-get install sparse"
[ -f "$SOURCE" ] || die "$SOURCE is missing; apt-get install linux-source-6.12"

unpack() {
	rm -rf "$TREE"
	mkdir "$TREE"
	tar -xf "$SOURCE" -C "$TREE" --strip-components=1 --exclude='*/drivers/gpu/drm/amd/include'
}

# What each configuration has over the lab's.
overlay() {
	case "$1" in
	built-in) ;;
	off) echo 'CONFIG_KVM_BPF=n' ;;
	module) printf 'CONFIG_%s\n' KVM=m KVM_AMD=m KVM_INTEL=m DEBUG_INFO_BTF_MODULES=y ;;
	esac
}

configure() {
	local name="$1" out="$FOLDER/$1"
	mkdir -p "$out"
	make -s -C "$TREE" O="$out" tinyconfig >/dev/null
	{
		cat "$SERIES/config.fragment"
		overlay "$name"
	} >>"$out/.config"
	make -s -C "$TREE" O="$out" olddefconfig >/dev/null 2>&1
	make -s -C "$TREE" O="$out" -j"$(nproc)" prepare >"$out/prepare.log" 2>&1 ||
		die "$name: make prepare failed, see $out/prepare.log"
}

# Build what the patch may touch; any line that is a warning or an error is a failure.
build() {
	local name="$1" patch="$2" out="$FOLDER/$1" log="$FOLDER/$1/build.log"
	# Again: an option that a patch adds is not in what was configured before it.
	{
		cat "$SERIES/config.fragment"
		overlay "$name"
	} >>"$out/.config"
	make -s -C "$TREE" O="$out" olddefconfig >/dev/null 2>&1
	if [ -f "$TREE/virt/kvm/kvm_bpf_dev.c" ] && [ "$name" != off ]; then
		grep -q '^CONFIG_KVM_BPF=y' "$out/.config" || die "$patch: $name: CONFIG_KVM_BPF is off"
	fi
	if ! make -s -C "$TREE" O="$out" -j"$(nproc)" "${GOALS[@]}" >"$log" 2>&1 ||
		grep -q 'warning:' "$log"; then
		grep -m 5 -E 'warning:|error:|\*\*\*' "$log" >&2
		die "$patch: $name: does not build cleanly, see $log"
	fi
}

check_sparse() {
	local patch="$1" log="$FOLDER/built-in/sparse.log" file
	while read -r file; do
		[ -f "$TREE/$file" ] && touch "$TREE/$file"
	done < <(cd "$TREE" && ls virt/kvm/kvm_bpf*.c 2>/dev/null)
	make -s -C "$TREE" O="$FOLDER/built-in" C=1 virt/kvm/ arch/x86/kvm/ >"$log" 2>&1 ||
		die "$patch: make C=1 fails, see $log"
	if grep -m 5 -E 'kvm_bpf[a-z_]*\.[ch].*(warning|error):' "$log" >&2; then
		die "$patch: sparse is not silent, see $log"
	fi
}

say "unpacking $(basename "$SOURCE")"
unpack
for name in built-in off module; do
	say "configuring: $name"
	configure "$name"
done
mapfile -t patches < <(sed -n 's/^ *"\(.*\.patch\)",$/\1/p' "$SERIES/series.toml")
[ "${#patches[@]}" -gt 0 ] || die "$SERIES/series.toml lists no patches"
for patch in "${patches[@]}"; do
	(cd "$TREE" && git apply --whitespace=nowarn "$SERIES/$patch") || die "$patch does not apply"
	(cd "$TREE" && ./scripts/checkpatch.pl --strict --no-tree -q "${IGNORED[@]}" "$SERIES/$patch") ||
		die "$patch: checkpatch is not silent"
	for name in built-in off module; do build "$name" "$patch"; done
	check_sparse "$patch"
	say "ok: $patch"
done
say "${#patches[@]} patches are clean, each with KVM built in, as modules, and with the option off"
