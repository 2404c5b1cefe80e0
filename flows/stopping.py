"""Stopping within seconds: a signal, or an error in one span, is heeded by every thread at its next checkpoint."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from subprocess import Popen
from threading import Event
from types import FrameType
from typing import Any

from flows.supervise import working

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_stop: ContextVar[Event | None] = ContextVar("stop", default=None)
ECHO_S = 0.5
"""One Ctrl-C comes twice: from the terminal, and by way of the parent process, which passes it on."""
_told_s: list[float] = []
_begun: list[str] = []
_children: list[Popen[Any]] = []


class Stopped(BaseException):
    """The run was told to stop. No Exception: it must not pass for a tile that failed, or for an error to retry."""

    def __init__(self, number: int | None = None) -> None:
        """number: of the signal that said so; None in the threads that hear of it at a checkpoint."""
        super().__init__("the run was told to stop" if number is None else signal.Signals(number).name)
        self.number = number or signal.SIGTERM


@contextmanager
def heeding(stop: Event, run_path: str) -> Iterator[None]:
    """Work handed to threads in here, with a copy of this context, ends at its next checkpoint once `stop` is set."""
    _begun[:] = [run_path]
    working()
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


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """A process started in here does not hear Ctrl-C, which a terminal sends to every process in its foreground."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_along(child: Popen[Any]) -> None:
    """End a deaf process, too, when a second signal kills this one."""
    _children.append(child)


def _unwind(number: int, _frame: FrameType | None) -> None:
    _told_s[:] = [time.monotonic()]
    for each in SIGNALS:
        signal.signal(each, _kill)
    raise Stopped(number)


def _kill(number: int, _frame: FrameType | None) -> None:
    if time.monotonic() - _told_s[0] < ECHO_S:
        return
    for child in _children:
        child.terminate()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _what_is_kept() -> str:
    if not _begun:
        return "stopped; nothing was begun"
    return f"stopped; what is done is kept: tilegate resume {_begun[0]} finishes it"
