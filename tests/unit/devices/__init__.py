# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that ship, and sources of devices that tests write."""
