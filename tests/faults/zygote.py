"""Many short runs of the command line, each in a process of its own that may be killed, limited or starved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HOUSE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command line ended."""

    code: int
    """Exit code; minus the signal's number when it was killed."""
    out: str
    err: str
    seconds: float
    peak_bytes: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Zygote:
    """Forks command lines from a process that has imported everything. One at a time; make one per thread."""

    def __init__(self, folder: Path) -> None:
        """folder: where stdout and stderr of the children are kept until they are read."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote_main.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HOUSE,
            env=os.environ | {"PYTHONPATH": str(HOUSE), "OPENBLAS_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(
        self,
        *argv: object,
        kill_after_s: float | None = None,
        timeout_s: float = 120,
        die_at: tuple[int, float, str] | None = None,
        **limits: Any,
    ) -> Ended:
        """One command line.

        kill_after_s: SIGKILL from outside. die_at: (n, delay_s, folder): SIGKILL delay_s after the n-th write below a
        folder began. limits: as_bytes, cpu_s, file_bytes, env; script: a Python file
        to run in place of tilegate. A child that outlives timeout_s is killed (code -9).
        """
        request = {"argv": [str(a) for a in argv], "cwd": str(self._folder), "die_at": die_at, **limits}
        names = {name: self._folder / f"{id(self)}.{name}" for name in ("stdout", "stderr")}
        self._say(request | {name: str(path) for name, path in names.items()})
        pid = self._hear()["pid"]
        timer = threading.Timer(timeout_s if kill_after_s is None else kill_after_s, _kill, (pid,))
        timer.start()
        ended = self._hear()
        timer.cancel()
        out, err = (path.read_text(errors="replace") for path in names.values())
        return Ended(ended["status"], out, err, ended["seconds"], ended["peak_bytes"])

    def _say(self, request: dict[str, Any]) -> None:
        self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]

    def _hear(self) -> dict[str, Any]:
        return dict(json.loads(self._process.stdout.readline()))  # type: ignore[union-attr]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
