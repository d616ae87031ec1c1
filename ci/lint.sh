#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Check what a reader should not have to: style, types and shell.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"

"$VENV/bin/ruff" check --quiet .
"$VENV/bin/ruff" format --check --quiet .
"$VENV/bin/mypy" --no-error-summary
shellcheck -x ci/*.sh .ci/run guest_driver/init guest_driver/control findings/*.sh
# Each finding stands alone, so all hold the part that gets packages: the same in all.
shared="$(for finding in findings/*.sh; do
	sed -n '/^# --- the same in every finding/,/^# --- so far/p' "$finding" | sha256sum
done | sort -u | wc -l)"
[ "$shared" -eq 1 ] || die "findings/*.sh differ between '--- the same in every finding' and '--- so far'"
# Sources only: clang-format cannot keep the tab-aligned tables of register headers.
mapfile -t sources < <(git ls-files '*.c' ':!:kernel_patches')
if [ "${#sources[@]}" -gt 0 ]; then clang-format --dry-run -Werror "${sources[@]}"; fi
say "lint is clean"
