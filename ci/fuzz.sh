#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Fuzz the kernel series in the lab, for 10 minutes or $FUZZ_SECONDS, then kill
# VMMs and managers. $FUZZ_SEED, or KVMBPF_FUZZ_SEED, repeats a run; the seed is
# printed first. Arguments go to pytest.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"

# Beyond the fuzzer's own time: the boot, the ends of its processes, the kills.
SLACK_S=900

seconds="${FUZZ_SECONDS:-600}"
seed="${FUZZ_SEED:-${KVMBPF_FUZZ_SEED:-0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')}}"
say "fuzzing for $seconds s with KVMBPF_FUZZ_SEED=$seed"
export KVMBPF_FUZZ_SECONDS="$seconds" KVMBPF_FUZZ_SEED="$seed" KVMBPF_REQUIRE=1
export KVMBPF_LAB_SILENCE_S="${KVMBPF_LAB_SILENCE_S:-$((seconds + SLACK_S))}"
# Last what the debug kernel has to say of it all: its log, and what it lost.
LOG=tests/lab/test_kernel_log.py
exec "$VENV/bin/pytest" -rP tests/lab/kernel_patches/test_fuzz.py tests/lab/kernel_patches/test_kill.py \
	"$LOG::test_the_kernel_logged_no_bug_and_no_warning[debug]" \
	"$LOG::test_no_memory_of_kvm_or_bpf_was_lost[debug]" "$@"
