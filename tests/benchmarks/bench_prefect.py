"""What Prefect adds: the same run through threads and through a Prefect server that is already up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench_models import TILE_PX
from bench_runs import score_tiles, thresholds
from bench_session import HOUSE, Session
from bench_setup import Setup, clean_environment, run

START_S = 240


def bench_prefect(session: Session, setup: Setup) -> None:
    """The slide at 10 % positive (25 % when quick), both engines in turn."""
    image, recipe = setup.images["slide"], setup.recipe("slide", TILE_PX)
    gated = session.measure("gate/slide", lambda: score_tiles(setup, image, recipe))
    if gated is None:
        return
    share = 25 if setup.quick else 10
    threshold = thresholds(gated["scores"], (share,))[str(share)]
    try:
        with server() as env:
            for number in range(setup.rounds + 1):  # the first one fills caches and is not counted
                for engine in ("local", "prefect") if number % 2 else ("prefect", "local"):
                    key = f"prefect/{engine}/round-{number}" if number else f"prefect/warm-up-{engine}"
                    session.measure(
                        key,
                        lambda e=engine: run(setup, image, recipe, threshold, ("--engine", e), env),
                    )
    except OSError as error:
        session.measure("prefect/server", lambda e=error: {"error": f"{type(e).__name__}: {e}"})


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A Prefect server on a free port of this machine, in a home of its own; the environment that leads to it."""
    with tempfile.TemporaryDirectory(prefix="bench-prefect-", ignore_cleanup_errors=True) as home:
        log, port = Path(home, "server.log"), free_port()
        env = prefect_settings() | {"PREFECT_HOME": home}
        start = [Path(sys.executable).with_name("prefect"), "server", "start", "--host", "127.0.0.1", "--port", port]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in start],
                env=clean_environment() | env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=home,
            )
        try:
            wait_for(f"http://127.0.0.1:{port}/api/health", process, log)
            yield env | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        finally:
            stop(process)


def free_port() -> int:
    """Of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def prefect_settings() -> dict[str, str]:
    """What pyproject.toml ships, as environment variables."""
    shipped = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["prefect"]
    found: dict[str, str] = {"DO_NOT_TRACK": "1"}

    def walk(prefix: str, branch: dict[str, object]) -> None:
        for name, value in branch.items():
            if isinstance(value, dict):
                walk(f"{prefix}_{name}", value)
            else:
                found[f"{prefix}_{name}".upper()] = str(value).lower()

    walk("prefect", shipped)
    return found


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers. Raises OSError when it ends before, or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.5)
    raise OSError(f"no Prefect server after {START_S} s: {log.read_text(errors='replace')[-500:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """The server and its children, which are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
            return
