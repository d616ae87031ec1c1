# SPDX-License-Identifier: GPL-2.0-or-later
"""tracefs: a tracing instance of one's own, and the events that it records."""

from kvmbpf.kernel.tracefs.instance import TraceInstance, find_tracefs, remove_abandoned
from kvmbpf.kernel.tracefs.layout import EventLayout, Field, PageLayout
from kvmbpf.kernel.tracefs.pages import Event, Page, read_page

__all__ = [
    "Event",
    "EventLayout",
    "Field",
    "Page",
    "PageLayout",
    "TraceInstance",
    "find_tracefs",
    "read_page",
    "remove_abandoned",
]
