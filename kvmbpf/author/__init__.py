# SPDX-License-Identifier: GPL-2.0-or-later
"""What the author of a device uses: the header, the compiler, the beginning of a folder.

A device's unit tests import :mod:`kvmbpf.testing`, a room of its own.
"""
