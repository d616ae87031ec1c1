#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Show the whole chain on this machine: set up, build and boot the lab, and let
# a guest's driver talk to a device that is an eBPF program.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
cd "$ROOT"
exec "$VENV_PYTHON" -m kvmbpf.demo "$@"
