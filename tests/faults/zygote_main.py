"""A process that has everything imported and forks one command line per request: a run starts in milliseconds.

Reads one JSON object per line from stdin: {"argv", "cwd", "stdout", "stderr", "env", "as_bytes", "cpu_s", "die_at"},
and "script" where it is no tilegate command but a Python file to run with the argv.
Answers two lines per request: {"pid"} when it runs, {"pid", "status", "seconds", "peak_bytes"} when it has ended.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import sys
import threading
import time

import dask  # noqa: F401
import pyarrow.parquet  # noqa: F401
import tifffile  # noqa: F401
import zarr  # noqa: F401

import flows.commands
import flows.console
import flows.estimate
import flows.pages.picture
import flows.pipeline
import flows.recipe  # noqa: F401
import tiling.raster
import tiling.slide  # noqa: F401
from flows.cli import main

WRITES = {"os.rename", "os.remove", "os.mkdir"}


def die_at_write(number: int, delay_s: float, folder: str) -> None:
    """SIGKILL this process delay_s after its `number`-th write below a folder began; 0: never."""
    seen = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "open" and isinstance(args[0], str | os.PathLike | bytes):
            writes = isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            writes = event in WRITES
        if not writes or not os.fsdecode(args[0]).startswith(folder):  # type: ignore[arg-type]
            return
        seen += 1
        if seen == number:
            if delay_s <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    sys.addaudithook(hook)


def child(request: dict[str, object]) -> None:
    """The command line, as if it had been called."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    os.chdir(str(request["cwd"]))
    os.environ.update(request.get("env") or {})  # type: ignore[arg-type]
    for limit, key in (
        (resource.RLIMIT_AS, "as_bytes"),
        (resource.RLIMIT_CPU, "cpu_s"),
        (resource.RLIMIT_FSIZE, "file_bytes"),
    ):
        if request.get(key):
            most = int(request[key])  # type: ignore[call-overload]
            resource.setrlimit(limit, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_at = request.get("die_at")
    if die_at:
        die_at_write(*die_at)  # type: ignore[misc]
    if request.get("script"):
        sys.argv = [str(request["script"]), *request["argv"]]  # type: ignore[misc]
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    sys.argv = ["tilegate", *request["argv"]]  # type: ignore[misc]
    main()


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                child(request)
                code = 0
            except SystemExit as leave:
                code = leave.code if isinstance(leave.code, int) else int(bool(leave.code))
            except BaseException:
                import traceback

                traceback.print_exc()  # as Python itself would have done
                code = 1
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                threading._shutdown()  # waits for threads, as an interpreter does at its end
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)
        _, status, usage = os.wait4(pid, 0)
        ended = {"pid": pid, "status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - started}
        print(json.dumps(ended | {"peak_bytes": usage.ru_maxrss * 1024}), flush=True)


if __name__ == "__main__":
    serve()
