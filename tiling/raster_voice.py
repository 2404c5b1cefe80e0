"""What GDAL says in a thread, whatever logging is told to keep or to drop: of some damage it only warns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rasterio import _env, _err

Ear = Callable[[str], bool]
"""Takes a message of GDAL's; True when it need not be logged."""

_SPEAKERS = (_err, _env)
"""The modules of rasterio that pass on what GDAL says, each to its global `log`."""
_mine = threading.local()


class _Voice:
    """In the place of a logger of rasterio's: first to the ears of this thread, then to the logger.

    A level, a filter, `disabled` or logging.disable() stop a record before any handler or later filter sees it, and the
    whole process may set them: tilegate's own command line, Prefect, a library that is tired of GDAL.
    """

    def __init__(self, logger: logging.Logger) -> None:
        """logger: the one that others configure, and that decides what is printed."""
        self._logger = logger

    def log(self, level: int, message: str, *args: object, **options: Any) -> None:
        """As logging.Logger.log."""
        ears: list[Ear] = getattr(_mine, "ears", [])
        text = message % args if ears and args else message
        known = [ear(text) for ear in ears]  # each of them hears it
        if not any(known):
            self._logger.log(level, message, *args, **options)

    def debug(self, message: str, *args: object, **options: Any) -> None:
        """As logging.Logger.debug."""
        self.log(logging.DEBUG, message, *args, **options)

    def info(self, message: str, *args: object, **options: Any) -> None:
        """As logging.Logger.info: rasterio's level for GDAL's failures."""
        self.log(logging.INFO, message, *args, **options)

    def warning(self, message: str, *args: object, **options: Any) -> None:
        """As logging.Logger.warning."""
        self.log(logging.WARNING, message, *args, **options)

    def error(self, message: str, *args: object, **options: Any) -> None:
        """As logging.Logger.error."""
        self.log(logging.ERROR, message, *args, **options)

    def __getattr__(self, name: str) -> Any:
        """All else is the logger's."""
        return getattr(self._logger, name)


@contextmanager
def heard_by(ear: Ear) -> Iterator[None]:
    """Meanwhile, ear gets all that GDAL says in this thread. Changes no level, filter or handler."""
    for speaker in _SPEAKERS:
        log = speaker.log
        if not isinstance(log, _Voice):
            speaker.log = _Voice(log)  # two threads at once put the same here
    ears: list[Ear] = _mine.__dict__.setdefault("ears", [])
    ears.append(ear)
    try:
        yield
    finally:
        ears.pop()
