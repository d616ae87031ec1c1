# SPDX-License-Identifier: GPL-2.0-or-later
"""What has an end: a context manager that is closed when its block is left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """A context manager over `close`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what this object holds; closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
