# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers and structures of the kernel's interfaces."""
