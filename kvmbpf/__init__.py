# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf: virtual devices as eBPF programs in the host kernel of a KVM guest.

The library behind the ``kvmbpf`` command. Modules that read files (`spec`,
`objfile`, `firmware`, `placement`) need no privilege and import nothing that
does; see CONTRIBUTING.md for the layers.
"""

__version__ = "0.1.0"
