#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run the whole test suite; arguments go to pytest. What the machine lacks is a
# failure here, not a skip.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"
KVMBPF_REQUIRE=1 exec "$VENV/bin/pytest" "$@"
