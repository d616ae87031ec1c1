# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that need a usable /dev/kvm."""
