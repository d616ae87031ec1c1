# SPDX-License-Identifier: GPL-2.0-or-later
"""All that knows QEMU, without a guest."""
