# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device is: objects, notes, placement, firmware."""
