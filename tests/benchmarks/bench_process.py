"""One command as a whole process: wall and CPU seconds, and peak memory of its process tree (Linux only)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_S = 0.1
"""Between two looks at the memory of the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A command that has ended."""

    code: int
    """Exit code, minus the signal's number when it was killed."""
    wall_s: float
    """From its start to its end, interpreter and imports included."""
    cpu_s: float
    """User and system, of the process and of every descendant that was waited for."""
    peak_bytes: int
    """Highest sampled sum of PSS over the tree; shared pages count once."""
    out: str
    """What it printed."""
    err: str
    """What it complained."""

    def figures(self) -> dict[str, Any]:
        """For the record."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_bytes": self.peak_bytes}


class CommandFailed(RuntimeError):
    """A measured command did not do what it should."""


def measure(
    command: Sequence[object], *, env: Mapping[str, str] | None = None, timeout_s: float = 3600, quiet: bool = True
) -> Measured:
    """Run a command to its end. Raises CommandFailed when it fails, unless quiet is False: then its code is looked at."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=err, env=told_to_dump(env), start_new_session=True
        )
        watcher = _Watcher(process.pid, started + timeout_s)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill_group(process.pid)
            raise
        finally:
            watcher.stop()
        wall_s, code = time.perf_counter() - started, os.waitstatus_to_exitcode(status)
        process.returncode = code
        out.seek(0), err.seek(0)
        done = Measured(
            code=code,
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=watcher.peak_bytes,
            out=out.read(),
            err=err.read(),
        )
    if watcher.late:
        raise CommandFailed(f"not done after {timeout_s:g} s: {' '.join(map(str, command))[:300]}\n{done.err[-6000:]}")
    if quiet and code != 0:
        last = " | ".join((done.err.strip() or done.out.strip()).splitlines()[-2:])
        raise CommandFailed(f"exit code {code} of {' '.join(map(str, command))[:300]}: {last[:800]}")
    return done


class _Watcher:
    """Looks at the memory of a process tree until it is told to stop, and kills the tree when its time is up."""

    def __init__(self, pid: int, deadline: float) -> None:
        self.peak_bytes, self.late, self._pid, self._deadline = 0, False, pid, deadline
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause_s = SAMPLE_S / 5
        while not self._ended.wait(pause_s):
            began = time.perf_counter()
            self.peak_bytes = max(self.peak_bytes, tree_bytes(self._pid))
            if began > self._deadline:
                self.late = True
                _kill_group(self._pid, signal.SIGABRT)  # Python tells then where each thread stands
                self._ended.wait(2)
                _kill_group(self._pid)
            pause_s = max(SAMPLE_S, 20 * (time.perf_counter() - began))  # looking costs a twentieth at most


def _kill_group(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def told_to_dump(env: Mapping[str, str] | None) -> dict[str, str]:
    """The environment of a command that hangs: it tells the stack of every thread before it is ended."""
    return dict(os.environ if env is None else env) | {"PYTHONFAULTHANDLER": "1"}


def tree_bytes(pid: int) -> int:
    """Sum of the proportional set sizes of a process and its descendants, bytes; 0 where /proc does not tell."""
    return sum(map(pss_bytes, tree(pid)))


def tree(pid: int) -> list[int]:
    """A process and its living descendants, through the children of each of its threads."""
    found, left = list[int](), [pid]
    while left:
        found.append(left.pop())
        for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            with suppress(OSError):
                left += map(int, children.read_text().split())
    return found


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process, bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def python(script: str, *arguments: object) -> list[object]:
    """The command that runs a script of this folder with this interpreter."""
    return [sys.executable, Path(__file__).with_name(script), *arguments]


def tilegate(*arguments: object) -> list[object]:
    """The command line of this environment."""
    return [Path(sys.executable).with_name("tilegate"), *arguments]
