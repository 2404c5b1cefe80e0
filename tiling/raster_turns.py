"""Turns at the network: many threads read at once, but whoever opens or closes a file is alone.

GDAL holds locks of its file systems while it tells of a request, and telling is Python, which needs the interpreter.
rasterio keeps the interpreter while it asks for overviews and masks, which need those locks. One thread in each would
wait for the other for ever; reading gives the interpreter away before it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that readers share. Not to be taken twice by one thread; who waits to be alone comes before new readers."""

    def __init__(self) -> None:
        """Nobody is at work."""
        self._change = threading.Condition()
        self._reading, self._waiting, self._alone = 0, 0, False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside others that share."""
        with self._change:
            self._change.wait_for(lambda: not self._alone and not self._waiting)
            self._reading += 1
        try:
            yield
        finally:
            with self._change:
                self._reading -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Beside nobody."""
        with self._change:
            self._waiting += 1
            try:
                self._change.wait_for(lambda: not self._alone and not self._reading)
            finally:
                self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._change:
                self._alone = False
                self._change.notify_all()
