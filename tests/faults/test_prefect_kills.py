"""kill -9 of what stands around a run on Prefect: its process, the worker, the server, a worker of Dask."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from broken_runs import Case, contents, differences, watching, write_scene
from counts import COUNTS
from zygote import Zygote

from flows import PREFECT_DEFAULTS
from flows.recipe import load_recipe

pytestmark = [pytest.mark.prefect, pytest.mark.faults]
HOUSE = Path(__file__).parents[2]
CHANGES = ("tile.size_px=32", "tile.batch=1", "gate.downsample=4", "gate.threshold=0", "audit.tiles=0")
"""323 tiles, each a batch, each segmented: some seconds in either stage."""


FAST = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    # ^ with Prefect's own 5, a flow run without a server takes two and a half minutes to give up
}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(write_scene(tmp_path_factory.mktemp("images") / "scene.tif"), "water", CHANGES)


@pytest.fixture(scope="module")
def wanted(zygote: Zygote, case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an unbroken run without Prefect leaves."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ended = zygote.call(*case.run(folder))
    assert ended.code == 0, ended.err
    return contents(folder)


@dataclass
class Site:
    """A Prefect server, a process pool and a worker of their own, as README.md starts them."""

    home: Path
    port: int
    env: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the API; a busy database answers 503, and wants to be asked again."""
        for _ in range(20):
            answer = httpx.request(method, f"http://127.0.0.1:{self.port}/api{path}", json=body, timeout=60)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, *argv: object, log: str) -> subprocess.Popen[bytes]:
        """A process in a session of its own, so that all of it can be killed at once."""
        with (self.home / log).open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, argv)],
                cwd=HOUSE, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def start_server(self) -> None:
        """Until it answers."""
        address = ("--host", "127.0.0.1", "--port", self.port, "--no-ui")
        self.server = self.start("prefect", "server", "start", *address, log="server.log")
        wait_until(self._answers, 120, "the server")

    def start_worker(self) -> None:
        """It polls at once and then every second."""
        pool = ("--pool", "tilegate", "--type", "process")
        self.worker = self.start("prefect", "worker", "start", *pool, log="worker.log")

    def call(self, *argv: object) -> None:
        """A prefect command to its end."""
        done = self.start("prefect", *argv, log="commands.log")
        assert done.wait(120) == 0, (self.home / "commands.log").read_text()

    def begin(self, case: Case, folder: Path) -> str:
        """A flow run of the deployment; its id."""
        recipe = load_recipe(case.recipe, case.changes).model_dump(mode="json")
        parameters = {"image": {"uris": [str(case.image)]}, "recipe": recipe, "out": str(folder)}
        deployment = self.ask("GET", "/deployments/name/gated-area/on-demand")
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"])

    def state(self, flow_run: str) -> str:
        """RUNNING, CRASHED, …"""
        return str(self.ask("GET", f"/flow_runs/{flow_run}")["state_type"])

    def _answers(self) -> bool:
        try:
            return bool(self.ask("GET", "/health"))
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Server, pool and deployments; every process is gone at the end."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    here = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PYTHONPATH": str(HOUSE)}
    found = Site(home, port, clean | PREFECT_DEFAULTS | here | FAST)
    try:
        found.start_server()
        found.call("work-pool", "create", "tilegate", "--type", "process")
        found.call("--no-prompt", "deploy", "--all")
        yield found
    finally:
        for process in found.started:
            kill_all_of(process)


@pytest.fixture
def working(site: Site) -> Site:
    """With a worker that lives."""
    if site.worker is None or site.worker.poll() is not None:
        site.start_worker()
    return site


def kill_all_of(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of a process and all that it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def wait_until(is_so: Callable[[], bool], at_most_s: float, what: str) -> float:
    """Seconds it took."""
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < at_most_s, f"{what}: not after {at_most_s:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - start


def committed(folder: Path, stage: str) -> int:
    """Batches of a stage that are done."""
    return len(list((folder / "ledger" / stage).glob("*.parquet")))


def holder(folder: Path) -> int | None:
    """The process that holds a run: the one with its lock file open."""
    lock = folder / ".lock"
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if descriptor.readlink() == lock:
                return int(descriptor.parts[2])
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
    return None


def wait_for(folder: Path, stage: str, batches: int) -> int:
    """The process of a run that has come so far."""
    wait_until(lambda: committed(folder, stage) >= batches, 120, f"{batches} batches of stage {stage}")
    found = holder(folder)
    assert found is not None, "it was over before it could be killed"
    assert not (folder / "summary.json").exists()
    return found


def finish(zygote: Zygote, case: Case, folder: Path, wanted: dict[str, str]) -> None:
    """Resumed without Prefect, and compared."""
    wait_until(lambda: holder(folder) is None, 30, "the run is let go")
    ended = zygote.call(*case.resume(folder))
    assert ended.code == 0, ended.err
    assert differences(folder, wanted) == []


def tell(text: str) -> None:
    COUNTS.append(text)


def test_a_run_with_an_embedded_server_is_killed(zygote, case, wanted, tmp_path):
    """kill -9 of `--engine prefect`: what is left of its server does not disturb a resume."""
    folder, changes = tmp_path / "run", [word for change in case.changes for word in ("--set", change)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    command = ["run", case.image, "--recipe", case.recipe, "--out", folder, "--engine", "prefect", "--json", *changes]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, command)],
        cwd=HOUSE, env=clean | {"PREFECT_HOME": str(tmp_path / "home")}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(folder, "gate", 20)
        assert servers_of(process.pid)
        process.kill()
        process.wait()
        finish(zygote, case, folder, wanted)
        left = "lives on" if servers_of(process.pid) else "is gone"
    finally:
        kill_all_of(process)
    tell(f"run with an embedded server killed: resumed, 0 bytes different; the server {left}")


def servers_of(session: int) -> list[int]:
    """Servers of Prefect in a session."""
    return [pid for pid, fields, command in processes() if int(fields[3]) == session and b"uvicorn" in command]


def processes() -> Iterator[tuple[int, list[str], bytes]]:
    """(process, its fields after the name in /proc/PID/stat: state, parent, group, session, …; its command line)."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            yield int(status.parts[2]), fields, status.with_name("cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue


@pytest.mark.parametrize(("stage", "batches"), [("gate", 40), ("segment", 60)])
def test_the_process_of_a_flow_run_is_killed(stage, batches, working, zygote, case, wanted, tmp_path):
    folder = tmp_path / "run"
    flow_run = working.begin(case, folder)
    with watching(folder) as watch:
        os.kill(wait_for(folder, stage, batches), signal.SIGKILL)
        seconds = wait_until(lambda: working.state(flow_run) == "CRASHED", 60, "the worker sees it")
        finish(zygote, case, folder, wanted)
    assert watch.lies == []
    tell(f"flow process killed in stage {stage}: CRASHED after {seconds:.1f} s, resumed, 0 bytes different")


def test_the_worker_is_killed_with_its_flow_run(working, zygote, case, wanted, tmp_path):
    folder = tmp_path / "run"
    flow_run = working.begin(case, folder)
    process = wait_for(folder, "segment", 30)
    kill_all_of(working.worker)
    with suppress(ProcessLookupError):  # where it was not of the worker's session
        os.kill(process, signal.SIGKILL)
    finish(zygote, case, folder, wanted)
    tell(f"worker killed with its flow run: stays {working.state(flow_run)}, resumed, 0 bytes different")


def dask_workers(process: int) -> list[int]:
    """The processes that Dask's nannies started below one."""
    return [pid for pid, fields, command in processes() if int(fields[1]) == process and b"spawn_main" in command]


def test_a_worker_of_dask_is_killed(site, zygote, case, wanted, tmp_path):
    """Dask starts another one, and the span is done again."""
    folder = tmp_path / "run"
    command = ["run", case.image, "--recipe", case.recipe, "--out", folder, "--dask", "local", "--json"]
    changes = [word for change in case.changes for word in ("--set", change)]
    process = site.start("flows.cli", *command, *changes, log="dask.log")
    held = wait_for(folder, "segment", 30)
    workers = dask_workers(held)
    assert workers, "no worker of Dask was found"
    os.kill(workers[0], signal.SIGKILL)
    code = process.wait(150)
    log = (site.home / "dask.log").read_text()
    assert code in (0, 1), log[-3000:]
    finish(zygote, case, folder, wanted)
    tell(f"one of {len(workers)} Dask workers killed: the run ended with {code}, then 0 bytes different")


def test_the_server_is_killed_while_a_flow_run_works(working, zygote, case, wanted, tmp_path):
    """It may finish or fail, but it ends; what it did is kept. Last: the server does not come back."""
    folder = tmp_path / "run"
    working.begin(case, folder)
    process = wait_for(folder, "gate", 30)
    kill_all_of(working.server)
    seconds = wait_until(lambda: not Path(f"/proc/{process}").exists(), 240, "the flow run ends without a server")
    how = "had finished" if (folder / "summary.json").exists() else "had not finished"
    finish(zygote, case, folder, wanted)
    tell(f"server killed: the flow run {how} when it ended after {seconds:.0f} s, then 0 bytes different")
