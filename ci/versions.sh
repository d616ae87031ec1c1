#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run kvmbpf with what pyproject.toml says it works with, as a wheel, away from the
# checkout: the lowest versions of all dependencies on the lowest Python, then the newest
# on each Python, where a warning is an error. For each the commands that need no
# privilege, and unit tests: --quick runs those alone that a dependency can break, with
# the lowest versions only, and is what CI does. Pythons that this machine has not are
# unpacked from Debian's suites (ci/suites.sh); one that is not to be had is named.
#
#   ci/versions.sh [--quick | TEST...]     TESTs in place of all unit tests
#   PYTHONS='3.13 3.14' ci/versions.sh     the newest versions on these alone
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up
. "$ROOT/ci/suites.sh"
cd "$ROOT"

LOWEST=3.11
# A Python and the suite of Debian that has it. None has 3.12: it is run where PATH has one.
NEWER=(3.12: 3.13:trixie 3.14:forky)
# What touches click, fdt, pyelftools, qemu.qmp, dtschema, and pytest's and hypothesis's own.
NEAR=(
	tests/unit/cli/test_help.py tests/unit/cli/test_options.py tests/unit/cli/test_completion.py
	tests/unit/cli/test_errors.py tests/unit/cli/test_inspect.py tests/unit/bench
	tests/unit/model/test_firmware_dt.py tests/unit/model/test_firmware_dt_base.py
	tests/unit/model/test_object_elf.py tests/unit/qemu_glue/test_qmp.py
	tests/unit/qemu_glue/test_mtree.py tests/unit/devices/test_bindings.py
)
# It runs the linters, of which the lint step has the lowest versions.
STYLE=tests/unit/author/test_new.py::test_what_is_made_is_in_good_style
# The page shows what the newest pytest prints.
PAGE=tests/unit/author/test_first_device.py::test_each_command_prints_what_the_page_says

WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
# Some tests run the command as a user who owns nothing.
chmod 755 "$WORK"
missing=()

# find_python VERSION SUITE: set $python, and $headers to its suite's /usr/include; 1 where
# the version is not to be had.
find_python() {
	local version="$1" suite="$2" root
	python="/usr/bin/python$version"
	headers=
	if "$python" -c 'import venv' 2>/dev/null; then return 0; fi
	if [ -n "$suite" ] && unpack_suite "$suite" "python$version" "python$version-dev" &&
		lead_to_libraries "${ROOTS["python$version"]}" "python$version"; then
		root="${ROOTS["python$version"]}"
		python="$root/usr/bin/python$version"
		headers="$root/usr/include"
		"$python" -c 'import venv' && return 0
	fi
	python="$(command -v "python$version" || true)"
	[ -n "$python" ] && "$python" -c 'import venv' 2>/dev/null
}

# pip_of VENV ARGUMENT...: pip in a venv that has none: the newest, which knows every Python.
pip_of() {
	local venv="$1"
	shift
	PYTHONPATH="$WORK/pip" "$venv/bin/python" -m pip --disable-pip-version-check -q "$@"
}

# make_venv NAME EXTRAS [CONSTRAINTS]: a venv of $python with the wheel.
make_venv() {
	venv="$WORK/$1"
	"$python" -m venv --without-pip "$venv"
	# pylibfdt has no wheel. Python.h looks for pyconfig.h in /usr/include, where this
	# machine's libc comes before the suite's.
	CFLAGS="${headers:+-idirafter $headers}" quietly "$1: $("$python" -V), pip install kvmbpf[$2]" \
		pip_of "$venv" install "${WHEEL}[$2]" ${3:+-c "$3"}
}

# tests NAME ARGUMENT...: unit tests, of this checkout; what was found broken fails the run.
tests() {
	local name="$1"
	shift
	say "$name: tests"
	KVMBPF_REQUIRE=1 "$venv/bin/python" -m pytest -q -p no:cacheprovider "$@" ||
		die "failed: unit tests with $name"
}

lint() {
	cd "$ROOT"
	"$venv/bin/ruff" check --quiet . && "$venv/bin/ruff" format --check --quiet . &&
		"$venv/bin/mypy" --no-error-summary --cache-dir "$WORK/mypy" &&
		"$venv/bin/python" -m pytest -q -p no:cacheprovider "$STYLE"
}

quick=
[ "${1:-}" != --quick ] || quick=1
[ "$#" -gt 0 ] || set -- tests/unit
# Damaged files say little of versions, and take most of the time.
export KVMBPF_MUTATIONS="${KVMBPF_MUTATIONS:-5000}"

mkdir "$WORK/source"
git ls-files -z | tar --null -T - -c | tar -x -C "$WORK/source"
quietly "building the wheel" "$VENV_PYTHON" -m pip --disable-pip-version-check wheel -q \
	--no-deps -w "$WORK/wheel" "$WORK/source"
WHEEL="$(echo "$WORK"/wheel/kvmbpf-*.whl)"
quietly "fetching pip" "$VENV_PYTHON" -m pip --disable-pip-version-check install -q \
	--target "$WORK/pip" pip

# The lowest versions; with --quick that is all.
lowest() {
	find_python "$LOWEST" bookworm || die "Python $LOWEST is not to be had"
	"$VENV_PYTHON" ci/lowest.py lab test >"$WORK/lowest.txt"
	make_venv lowest lab,test "$WORK/lowest.txt"
	quietly "lowest: $(paste -sd ' ' "$WORK/lowest.txt"): commands" ci/commands.sh "$venv"
	if [ -n "$quick" ]; then
		tests lowest "${NEAR[@]}"
		say "the lowest versions work"
		exit
	fi
	tests lowest "$@" --deselect "$STYLE" --deselect "$PAGE"

	"$VENV_PYTHON" ci/lowest.py --only lint >"$WORK/lint.txt"
	make_venv lint lab,dev "$WORK/lint.txt"
	quietly "lint: $(paste -sd ' ' "$WORK/lint.txt")" lint
}

[ -n "${PYTHONS:-}" ] || lowest "$@"
for item in "$LOWEST:bookworm" "${NEWER[@]}"; do
	version="${item%%:*}"
	[[ " ${PYTHONS:-$version} " = *" $version "* ]] || continue
	if ! find_python "$version" "${item#*:}"; then
		missing+=("Python $version")
		say "Python $version: no suite of Debian has it, and none is on PATH; not run"
		continue
	fi
	make_venv "newest-$version" lab,test
	PYTHONWARNINGS=error quietly "Python $version: commands" ci/commands.sh "$venv"
	tests "Python $version" -W error "$@" --deselect "$STYLE"
done
[ "${#missing[@]}" -eq 0 ] || say "not run, for want of it: ${missing[*]}"
say "all other versions work"
