# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports that another system writes are read whole lines at a time."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.relay import ReportReader


def test_a_line_counts_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    reader = ReportReader(path)
    assert reader.read() == []
    line = json.dumps({"nodeid": "ä"}) + "\n"
    with path.open("w", encoding="utf-8") as out:
        out.write(line + line[:5])
        out.flush()
        assert reader.read() == [{"nodeid": "ä"}]
        assert reader.read() == []
        out.write(line[5:] + line)
        out.flush()
        assert reader.read() == [{"nodeid": "ä"}] * 2
