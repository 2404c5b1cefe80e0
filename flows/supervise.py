"""A parent that outlives crashes: native decoders run in the child, and a file that kills one costs its own tiles."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
MOST_CRASHES = 40
"""After so many something else is wrong with this machine."""
PATIENCE_S = 20
"""After a signal; a native call that hangs, on a dead server say, would hold the child for minutes."""
_begun = mmap.mmap(-1, 1)
"""Shared with the child: whether it has begun to work on tiles."""


def supervise() -> None:
    """Return in a child process; the parent waits, restarts what crashed over a tile, and leaves with its exit code.

    The child is forked before anything heavy is imported, so this costs a few milliseconds and 20 MB.
    """
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    }
    parent = os.getpid()
    for _ in range(MOST_CRASHES):
        _begun[0] = 0
        child = os.fork()
        if child == 0:
            _as_before(before)
            die_with_parent(parent)
            return
        code = _wait(child)
        if code >= 0 or -code not in CRASHES:
            _leave(code)
        name = signal.Signals(-code).name
        if not _begun[0]:
            _say(f"the file crashed its decoder ({name}) when it was opened: it is damaged, or made to do that")
            os._exit(2)
        _say(f"a decoder crashed ({name}); going on from what is done, the tiles to blame will be told")
    _say(f"{MOST_CRASHES} crashes; what is done is kept: tilegate resume goes on")
    os._exit(1)


def working() -> None:
    """Say that tiles are being worked on: from here on a crash is resumed."""
    _begun[0] = 1


def _wait(child: int) -> int:
    """Exit code of the child, minus the signal's number when it was killed; signals are passed on meanwhile."""

    def stop(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):  # it has ended already
            os.kill(child, signal.SIGKILL if number == signal.SIGALRM else number)
        signal.alarm(PATIENCE_S)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _as_before(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _leave(code: int) -> None:
    if code == -signal.SIGKILL:
        _say("killed: memory ran out, or it did not stop when told; what is done is kept: tilegate resume goes on")
    os._exit(code if code >= 0 else 128 - code)


def die_with_parent(parent: int) -> None:
    """Kill -9 of the parent takes this process with it (Linux; elsewhere it ends its work first)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it was dead before we asked
            os.kill(os.getpid(), signal.SIGKILL)


def _say(text: str) -> None:
    print(f"tilegate: {text}", file=sys.stderr, flush=True)
