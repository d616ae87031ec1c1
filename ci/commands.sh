#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run the commands that need no privilege for real, as installed in a venv and away from
# the checkout: what they read must be in the wheel.
#
#   ci/commands.sh VENV
set -eu

venv="$1"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
PATH="$venv/bin:$PATH"
set -x
python -c "import kvmbpf; assert kvmbpf.__file__.startswith('$venv/'), kvmbpf.__file__"
kvmbpf --version
kvmbpf --help
kvmbpf new bell
kvmbpf build bell/bell.bpf.c -o bell.bpf.o
kvmbpf inspect bell.bpf.o
kvmbpf inspect --json bell.bpf.o
kvmbpf check bell.bpf.o
kvmbpf dt --machine q35 bell.bpf.o
kvmbpf dt --machine q35 --format dtb -o bell.dtb bell.bpf.o
kvmbpf acpi --machine q35 bell.bpf.o
kvmbpf completion bash
kvmbpf lab status
python -m pytest -q -p no:cacheprovider bell
# What the demonstration and the benchmark compile.
python - <<-EOF
	from kvmbpf.author.compile import SHIPPED
	from kvmbpf.bench import minimal_vmm, paced_guest
	from kvmbpf.demo import guest_files

	needed = [SHIPPED / "demo" / "demo_v1.bpf.c", SHIPPED / "bench" / "bench.bpf.c"]
	needed += [minimal_vmm.SOURCE, paced_guest.SOURCE, guest_files.GUEST_INIT]
	missing = [str(path) for path in needed if not path.is_file()]
	assert not missing, missing
EOF
