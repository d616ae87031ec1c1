#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Read damaged input: a million notes and objects, and as many property values, or
# $MUTATIONS of each. $FUZZ_SEED, or KVMBPF_FUZZ_SEED, repeats a run; the seed is
# printed first. Arguments go to pytest. It needs no privilege and no lab.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"

count="${MUTATIONS:-1000000}"
seed="${FUZZ_SEED:-${KVMBPF_FUZZ_SEED:-0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')}}"
say "$count mutations with KVMBPF_FUZZ_SEED=$seed"
export KVMBPF_MUTATIONS="$count" KVMBPF_FUZZ_SEED="$seed" KVMBPF_REQUIRE=1
exec "$VENV/bin/pytest" -rP tests/unit/model/test_object_mutations.py \
	tests/unit/model/test_dts_mutations.py "$@"
