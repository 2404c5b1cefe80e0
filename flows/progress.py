"""Telling people how far it is."""

from __future__ import annotations

import logging
from typing import Protocol

from flows.span import SpanReport

log = logging.getLogger("tilegate")


class Progress(Protocol):
    """Hears of every stage and span."""

    def start(self, stage: str, tiles: int) -> None:
        """A stage with so many tiles begins."""

    def advance(self, report: SpanReport) -> None:
        """A span of it ended."""

    def warn(self, text: str) -> None:
        """Something a person should know now."""

    def close(self) -> None:
        """The run is over, however it ended."""


class Silent:
    """Says nothing of how far it is."""

    def start(self, stage: str, tiles: int) -> None:
        """See Progress."""

    def advance(self, report: SpanReport) -> None:
        """See Progress."""

    def warn(self, text: str) -> None:
        """See Progress."""
        log.warning(text)

    def close(self) -> None:
        """See Progress."""


_: type[Progress] = Silent
