# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that need nothing but Python and the tools that developers have."""
