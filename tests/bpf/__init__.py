# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the libbpf layer against the running kernel."""
