# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m kvmbpf``: the same as the ``kvmbpf`` command."""

from kvmbpf.cli import main

main()
