# SPDX-License-Identifier: GPL-2.0-or-later
"""The running kernel's interfaces: descriptors, ioctls, rights, KVM, BPF, tracing.

Here is what asks the kernel for something. What a device *is* stands in
:mod:`kvmbpf.model`, which needs no privilege and imports nothing from here.
"""
