#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Hammer the demo device in the lab from four vCPUs while its program is
# replaced 10,000 times, or $UPDATES; then have them read a port a thousand million
# times, or $READS, under as many updates; show the figures. Then unbind, bind and
# reload the guest's driver under load, on the debug kernel too. Arguments go to pytest.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"

updates="${UPDATES:-10000}"
reads="${READS:-1000000000}"
say "$updates updates under load, then $reads reads under as many"
export KVMBPF_HAMMER_UPDATES="$updates" KVMBPF_STREAM_READS="$reads"
export KVMBPF_GUEST_ON_DEBUG=1 KVMBPF_REQUIRE=1
# A report comes after 50 updates, or under the stream after 200: 9 s an update are plenty.
export KVMBPF_LAB_SILENCE_S="${KVMBPF_LAB_SILENCE_S:-1800}"
exec "$VENV/bin/pytest" -rP tests/lab/guest_driver/test_hammer.py tests/lab/kernel_patches/test_stream.py \
	tests/lab/guest_driver/test_guest_driver_life.py "$@"
