# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the checkout is that the tests belong to."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
