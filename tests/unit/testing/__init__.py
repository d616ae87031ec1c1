# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices' unit tests, which authors write with kvmbpf.testing."""
