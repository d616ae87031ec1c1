# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab, with a small world in the place of kernels and QEMU."""
