# SPDX-License-Identifier: GPL-2.0-or-later
"""The series: what KVM and the verifier do."""
