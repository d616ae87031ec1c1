# SPDX-License-Identifier: GPL-2.0-or-later
"""Backends: who runs a device's programs.

`kernel` is the one there is: KVM itself, on a host kernel with the series of
kernel_patches/. A backend loads an object for a VM, attaches it and replaces
it; it keeps nothing on disk.
"""
