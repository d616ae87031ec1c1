# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is told of a device."""
