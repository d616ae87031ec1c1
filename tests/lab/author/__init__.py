# SPDX-License-Identifier: GPL-2.0-or-later
"""What authors write, in KVM."""
