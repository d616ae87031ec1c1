# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark, without a guest."""
