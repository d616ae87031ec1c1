# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest: its driver, its init."""
