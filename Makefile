# SPDX-License-Identifier: GPL-2.0-or-later
# Short names for the scripts in ci/.
.PHONY: setup lint test demo fuzz mutate hammer qemus versions findings series vmx clean
setup: ; @ci/setup.sh
lint: ; @ci/lint.sh
test: ; @ci/test.sh
demo: ; @ci/demo.sh
fuzz: ; @FUZZ_SECONDS='$(SECONDS)' FUZZ_SEED='$(SEED)' ci/fuzz.sh
mutate: ; @MUTATIONS='$(COUNT)' FUZZ_SEED='$(SEED)' ci/mutate.sh
hammer: ; @UPDATES='$(UPDATES)' READS='$(READS)' ci/hammer.sh
qemus: ; @ci/qemus.sh
versions: ; @ci/versions.sh
series: ; @ci/series.sh
vmx: ; @VMX_TESTS='$(TESTS)' ci/vmx.sh
findings: ; @ci/findings.sh
clean: ; @rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
