#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run all of the series' selftests, or $VMX_TESTS, on Intel's VMX, which Bochs
# emulates: about 10 minutes of two CPUs. Arguments go to `kvmbpf lab selftest`.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"
# shellcheck disable=SC2086 # several names
exec "$VENV/bin/kvmbpf" lab selftest --vmx "$@" ${VMX_TESTS:-}
