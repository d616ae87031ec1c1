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
shellcheck -x ci/*.sh .ci/run guest_driver/init guest_driver/control
# Sources only: clang-format cannot keep the tab-aligned tables of register headers.
mapfile -t sources < <(git ls-files '*.c' ':!:kernel_patches')
if [ "${#sources[@]}" -gt 0 ]; then clang-format --dry-run -Werror "${sources[@]}"; fi
say "lint is clean"
