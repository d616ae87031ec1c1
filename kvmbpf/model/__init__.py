# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device is: its object file, its specification, its place, what the guest is told.

Everything here works on files and plain values. It needs no privilege, and imports
nothing that does.
"""
