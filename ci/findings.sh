#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run all of findings/, one after the other, and print a line each. Ends with 1 when one
# does not behave as stated, else with 2 when one cannot be had.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

worst=0
for finding in findings/*.sh; do
	status=0
	said="$("$finding" 2>&1)" || status=$?
	case $status in
	0) printf '%s: as stated\n' "$(basename "$finding" .sh)" ;;
	1 | 2) printf '%s\n' "${said##*$'\n'}" ;;
	*) printf '%s: ended with %d: %s\n' "$(basename "$finding" .sh)" "$status" "${said##*$'\n'}" ;;
	esac
	if [ "$status" -eq 2 ]; then
		[ "$worst" -ne 0 ] || worst=2
	elif [ "$status" -ne 0 ]; then
		worst=1
	fi
done
exit "$worst"
