# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that run inside the lab: on the patched kernel, booted by the suite."""
