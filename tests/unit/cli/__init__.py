# SPDX-License-Identifier: GPL-2.0-or-later
"""The command, as a process of its own."""
