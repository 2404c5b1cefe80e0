"""Stopping within seconds: a signal, or an error in one span, is heeded by every thread at its next checkpoint."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_stop: ContextVar[Event | None] = ContextVar("stop", default=None)
_begun: list[str] = []


class Stopped(BaseException):
    """The run was told to stop. No Exception: it must not pass for a tile that failed, or for an error to retry."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        """number: of the signal."""
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def heeding(stop: Event, run_path: str) -> Iterator[None]:
    """Work handed to threads in here, with a copy of this context, ends at its next checkpoint once `stop` is set."""
    _begun[:] = [run_path]
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def checkpoint() -> None:
    """Raise Stopped when this work is not wanted any more; called where nothing is half done."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Stopped


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM unwind what runs in here and exit with 128 + signal; a second one kills at once."""
    before = {number: signal.signal(number, _unwind) for number in SIGNALS}
    try:
        yield
    except Stopped as stopped:
        print(f"tilegate: {_what_is_kept()}", file=sys.stderr, flush=True)
        sys.exit(128 + stopped.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _unwind(number: int, _frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


def _what_is_kept() -> str:
    if not _begun:
        return "stopped; nothing was begun"
    return f"stopped; what is done is kept: tilegate resume {_begun[0]} finishes it"
