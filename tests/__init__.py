# SPDX-License-Identifier: GPL-2.0-or-later
"""The test suite, in rooms by what the tests need: unit, bpf, kvm, lab."""
