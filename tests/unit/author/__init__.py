# SPDX-License-Identifier: GPL-2.0-or-later
"""The header, the compiler, what `kvmbpf new` makes, and what the docs say of them."""
