# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the scripts beside this one share: the checkout's root, a line of
# progress, a step whose noise is shown only when it fails, and the set-up.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
# shellcheck disable=SC2034 # used by the scripts that source this file
VENV_PYTHON="$VENV/bin/python"

say() { printf 'ci: %s\n' "$*"; }

die() {
	printf 'ci: %s\n' "$*" >&2
	exit 1
}

# quietly TEXT COMMAND...: run a command; show what it said only if it fails.
quietly() {
	local text="$1" log
	shift
	say "$text"
	log="$(mktemp)"
	if ! "$@" >"$log" 2>&1; then
		tail -n 40 "$log" >&2
		rm -f "$log"
		die "failed: $text"
	fi
	rm -f "$log"
}

# Set the machine up unless it is; quick when it is.
set_up() { "$ROOT/ci/setup.sh"; }
