# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: the whole chain on one machine, with real output.

`parts` makes what it needs on this machine, `story` runs inside the lab, and
``python -m kvmbpf.demo`` does one after the other.
"""
