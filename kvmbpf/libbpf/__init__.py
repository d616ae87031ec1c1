# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf through ctypes: objects, maps, struct_ops, links."""
