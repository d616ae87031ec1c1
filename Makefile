# SPDX-License-Identifier: GPL-2.0-or-later
# Short names for the scripts in ci/.
.PHONY: setup lint test demo clean
setup: ; @ci/setup.sh
lint: ; @ci/lint.sh
test: ; @ci/test.sh
demo: ; @ci/demo.sh
clean: ; @rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
