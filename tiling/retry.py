"""Trying again what may go better the next time: exponential backoff with full jitter, and an end to it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class GaveUp(Exception):
    """Nothing more is tried; the last error is its cause."""

    def __init__(self, attempts: int, seconds: float) -> None:
        """attempts: how often it was tried. seconds: from the first attempt to the end of the last."""
        super().__init__(f"tried {attempts} times in {seconds:.0f} s" if attempts > 1 else "tried once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often to try, and how long to wait in between."""

    attempts: int = 10
    first_delay_s: float = 0.4
    """The longest first wait; every further one may be twice as long. The wait itself is anything from 0 to that, so
    that many readers who failed together do not come back together."""
    longest_delay_s: float = 4.0
    """No wait is longer: a server that fails half of the time is better asked often than seldom."""
    last_start_s: float = 20.0
    """No attempt starts later than that."""
    sleep: Callable[[float], object] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    clock: Callable[[], float] = time.monotonic


def retrying(do: Callable[[], T], may_pass: Callable[[Exception, int], bool], patience: Patience) -> T:
    """What do() returns. Raises GaveUp when patience is at an end, or may_pass(error, attempts so far) says so."""
    started = patience.clock()
    for attempt in range(1, patience.attempts + 1):
        try:
            return do()
        except Exception as error:
            wait = patience.uniform(0, min(patience.longest_delay_s, patience.first_delay_s * 2 ** (attempt - 1)))
            elapsed = patience.clock() - started
            if attempt == patience.attempts or not may_pass(error, attempt) or elapsed + wait > patience.last_start_s:
                raise GaveUp(attempt, elapsed) from error
            patience.sleep(wait)
    raise AssertionError("patience.attempts is 1 or more")


@dataclass(slots=True, kw_only=True)
class Line:
    """What is known of a server that is asked by many: one that is down for good must not cost its wait every time."""

    tired_after: int = 3
    """Failures in a row, each after all retries, from which on everything is tried once only."""
    pause_s: float = 15.0
    """While it is tired and cannot even be opened, one attempt in so long; the others fail at once."""
    fresh_after_s: float = 120.0
    """A failure so long ago says nothing any more."""
    clock: Callable[[], float] = time.monotonic
    complaint: str = ""
    """What was said last."""
    closed: bool = False
    """True when it could not be opened the last time that was tried."""
    _failures: int = 0
    _failed_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tired(self) -> bool:
        """True when to try once is enough."""
        with self._lock:
            if self.clock() - self._failed_at > self.fresh_after_s:
                self._failures = 0
            return self._failures >= self.tired_after

    def dead(self, closed: bool) -> bool:
        """True when there is no use in asking right now. closed: nothing can be opened there, either."""
        return closed and self.tired() and self.clock() - self._failed_at < self.pause_s

    def worked(self) -> None:
        """All is well again."""
        with self._lock:
            self._failures = 0

    def failed(self, complaint: str) -> None:
        """Once more, after all retries."""
        with self._lock:
            self._failures, self._failed_at, self.complaint = self._failures + 1, self.clock(), complaint
