"""The same path through a real Prefect server: names, task runs, artifacts, retries, Dask."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectAlreadyExists
from prefect.flow_runs import resume_flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelling, Failed
from prefect.testing.utilities import prefect_test_harness

import flows.job
from classifiers.rules import RULES
from downstream.rule_segmenter import RuleSegmenter
from flows.gated_area import gated_area, on_dask
from flows.recipe import load_recipe
from flows.request import ImageRequest
from flows.stopping import Stopped
from flows.tasks import is_passing
from tiling.errors import BadInput, NeedsApproval
from tiling.open import open_source

HOUSE = Path(__file__).parents[2]
SMALL = ("tile.size_px=32", "tile.batch=2", "gate.downsample=4", "audit.tiles=5")
pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module", autouse=True)
def server():
    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


def run(flow, scene, out, *changes):
    recipe = load_recipe("water", (*SMALL, *changes))
    state = flow(image=ImageRequest(uris=[str(scene.path)]), recipe=recipe, out=str(out), return_state=True)
    return state, state.state_details.flow_run_id


def look(flow_run_id):
    """(flow run, its task runs, its artifacts by key) as the server has them."""
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        tasks = client._client.post(
            "/task_runs/filter", json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
        ).json()
        artifacts = client._client.post(
            "/artifacts/filter", json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
        ).json()
    return flow_run, tasks, {artifact["key"]: artifact for artifact in artifacts}


def test_what_an_operator_sees(make_scene, measure, tmp_path):
    scene = make_scene()
    state, flow_run_id = run(gated_area, scene, tmp_path / "prefect")
    summary = state.result()
    local = measure(scene, "audit.tiles=5", out="local")
    assert summary["area"] == local["area"]
    assert summary["tiles"] == local["tiles"]

    flow_run, _, artifacts = look(flow_run_id)
    assert flow_run.name == "water: scene.tif"
    assert {"summary", "funnel", "overview", "progress-gate", "progress-segment"} <= set(artifacts)
    assert "water" in artifacts["summary"]["data"]
    assert artifacts["overview"]["data"].startswith("data:image/jpeg;base64,")
    assert artifacts["progress-gate"]["data"] == 100.0


@pytest.mark.parametrize("name", ["scene.tif", "gone.tif"])
def test_prefect_hears_nothing_of_a_signature(make_scene, tmp_path, host, name):
    """Neither in parameters, names, states and logs of a run, nor of one that failed to open its image."""
    make_scene().path.rename(tmp_path / "web/scene.tif")
    image = ImageRequest(uris=[f"http://{host}/{name}?X-Amz-Signature=SECRET123"])
    recipe = load_recipe("water", (*SMALL, "audit.tiles=0"))
    state = gated_area(image=image, recipe=recipe, out=str(tmp_path / "run"), return_state=True)
    assert state.is_completed() == (name == "scene.tif")
    flow_run_id = state.state_details.flow_run_id
    time.sleep(3)  # logs are sent in batches
    with get_client(sync_client=True) as client:
        ours = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
        told = [client._client.get(f"/flow_runs/{flow_run_id}").text]
        told += [client._client.post(f"/{what}/filter", json=ours).text for what in ("task_runs", "artifacts")]
        told.append(
            client._client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(flow_run_id)]}}}).text
        )
    assert f"http://{host}/{name}" in told[0]
    assert len(told[-1]) > 500
    assert "SECRET123" not in "".join(told)


def test_task_runs_are_spans_not_tiles(make_scene, tmp_path):
    """90 tiles in 25 batches: two spans a stage on two workers, and nothing left to do the second time."""
    scene = make_scene()
    seen: list[str] = []

    class Counting:
        def __init__(self, task):
            self._task = task

        def submit(self, *arguments):
            seen.append(self._task.name)
            return self._task.submit(*arguments)

    import flows.gated_area
    import flows.tasks as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.gated_area, "WORKERS", 2)
        patch.setattr(module, "gate_task", Counting(module.gate_task))
        patch.setattr(module, "segment_task", Counting(module.segment_task))
        run(gated_area, scene, tmp_path / "run")
        assert seen == ["gate", "gate", "segment", "segment"]
        run(gated_area, scene, tmp_path / "run")
        assert len(seen) == 4


def test_a_disk_error_is_retried(make_scene, tmp_path, monkeypatch):
    scene = make_scene()
    calls = []

    def flaky(spec):
        calls.append(spec)
        if len(calls) == 1:
            raise OSError(errno.EIO, "the disk blinked")
        return open_source(spec)

    monkeypatch.setattr(flows.job, "open_source", flaky)
    monkeypatch.setattr("flows.tasks.gate_task.retry_delay_seconds", [0.01, 0.01, 0.01])
    state, _ = run(gated_area, scene, tmp_path / "retried")
    assert state.is_completed()


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EIO, "the disk blinked"), True),
        (TimeoutError("no answer"), True),
        (ConnectionResetError("gone"), True),
        (MemoryError("not now"), True),
        (BadInput("the image is gone"), False),
        (ValueError("a bug"), False),
        (Stopped(), False),
    ],
)
def test_only_what_may_pass_is_retried(error, passes):
    assert is_passing(None, None, Failed(data=error)) is passes


def test_a_run_with_holes_is_seen_to_have_them(make_scene, tmp_path, monkeypatch):
    class Sick(RuleSegmenter):
        def segment(self, stack):
            if stack.tiles[0].id in ("r0001c0001", "r0001c0002"):
                raise RuntimeError(f"CUDA is gone at {stack.tiles[0].id}")
            return super().segment(stack)

    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: Sick(RULES["ndwi"]))
    scene = make_scene()
    state, flow_run_id = run(gated_area, scene, tmp_path / "run", "gate.threshold=0", "audit.tiles=0")
    assert state.is_completed()
    assert state.result()["status"] == "partial"
    flow_run, _, artifacts = look(flow_run_id)
    assert (flow_run.state.type, flow_run.state.name) == (StateType.COMPLETED, "Partial")
    assert flow_run.state.message == "Completed with holes: 2 of 90 tiles (20.5 ha) not observed"
    (hole,) = json.loads(artifacts["holes"]["data"])
    assert (hole["tiles"], hole["area"], hole["state"]) == ("2", "20.5 ha", "failed")
    assert hole["reason"] == "segmenter: RuntimeError: CUDA is gone at r0001c…"
    assert hole["where"] == "rows 32-64 columns 32-96"

    recipe = load_recipe("water", (*SMALL, "gate.threshold=0", "audit.tiles=0"))
    same = {"image": ImageRequest(uris=[str(scene.path)]), "recipe": recipe, "out": str(tmp_path / "run")}
    assert gated_area(**same)["status"] == "partial"  # a plain call gives the summary, not the state
    monkeypatch.undo()
    assert gated_area(**same)["status"] == "complete"


def test_spans_on_dask(make_scene, measure, tmp_path):
    scene = make_scene()
    state, _ = run(on_dask("local"), scene, tmp_path / "dask")
    local = measure(scene, "audit.tiles=5", out="local")
    assert state.result()["area"] == local["area"]
    assert (tmp_path / "dask" / "tiles.parquet").read_bytes() == (tmp_path / "local" / "tiles.parquet").read_bytes()


def test_telemetry_is_off_however_prefect_is_started():
    import flows

    assert os.environ["DO_NOT_TRACK"]
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    root = Path(__file__).parents[2]
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["prefect"]
    assert told["server"]["analytics_enabled"] is False
    alone = {k: v for k, v in os.environ.items() if k not in flows.PREFECT_DEFAULTS}
    script = "from prefect.settings import get_current_settings as s; print(s().server.analytics_enabled)"
    seen = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=alone, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "False"


def test_the_form_in_the_ui_is_the_recipe():
    schema = gated_area.parameters.model_dump()
    assert set(schema["properties"]) == {"image", "recipe", "out"}
    assert "gate" in schema["definitions"]["Recipe"]["properties"]


@pytest.fixture
def worker(tmp_path):
    """A worker of a process pool, as an operator starts it; the name of its pool."""
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name="machines", type="process"))
    settings = {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "machines", "--type", "process"],
        cwd=HOUSE,
        env=os.environ | settings | {"PYTHONPATH": str(HOUSE)},
        stdout=(tmp_path / "worker.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    yield "machines"
    process.kill()  # told nicely, it takes its time; it has nothing left to do
    process.wait(60)


def deploy(pool, name="slow", entrypoint="tests/flows/slow_flow.py:gated_area"):
    with get_client(sync_client=True) as client:
        return client.create_deployment(
            flow_id=client.create_flow(gated_area),
            name=name,
            entrypoint=entrypoint,
            work_pool_name=pool,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(HOUSE)}}],  # no copy
        )


def wait_until(true, seconds):
    for _ in range(seconds * 5):
        if true():
            return
        time.sleep(0.2)
    pytest.fail("waited in vain")


def contents(folder):
    """Digests of all that counts: shards and tables, not the timings."""
    files = [*(folder / "run.zarr").rglob("c/**/*"), folder / "areas.csv", folder / "tiles.parquet"]
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()}


def test_a_cancelled_flow_run_stops_and_is_finished_later(make_scene, measure, tmp_path, worker):
    """On a worker, in stage 2, where 90 tiles take more than a minute: cancelled in the UI, gone within seconds."""
    scene, out = make_scene(), tmp_path / "run"
    changes = ("tile.batch=1", "gate.threshold=0", "audit.tiles=0")
    recipe = load_recipe("water", (*SMALL, *changes)).model_dump(mode="json")
    parameters = {"image": {"uris": [str(scene.path)]}, "recipe": recipe, "out": str(out)}
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(deploy(worker), parameters=parameters)
        wait_until(lambda: len(list((out / "ledger/segment").glob("r*.parquet"))) >= 3, 120)
        asked = time.monotonic()
        client.set_flow_run_state(flow_run.id, Cancelling())

        def cancelled():
            return client.read_flow_run(flow_run.id).state.is_cancelled()

        wait_until(cancelled, 60)
    print(f"cancelled after {time.monotonic() - asked:.1f} s")
    done = len(list((out / "ledger/segment").glob("r*.parquet")))
    time.sleep(4)
    assert len(list((out / "ledger/segment").glob("r*.parquet"))) == done < 60  # nobody works on

    state, _ = run(gated_area, scene, out, *changes)
    assert state.result()["status"] == "complete"
    measure(scene, *changes, out="unbroken")
    assert contents(out) == contents(tmp_path / "unbroken")


def test_a_deployment_waits_suspended_and_resume_agrees(make_scene, measure, tmp_path, worker):
    """On a worker: its process ends and holds nothing, the button Resume starts another that does the rest."""
    scene, out = make_scene(), tmp_path / "run"
    recipe = load_recipe("water", (*SMALL, "segment.approve_above=7")).model_dump(mode="json")
    parameters = {"image": {"uris": [str(scene.path)]}, "recipe": recipe, "out": str(out)}
    entrypoint = "flows/gated_area.py:gated_area"
    with get_client(sync_client=True) as client:
        deployment = deploy(worker, "approved", entrypoint)
        flow_run = client.create_flow_run_from_deployment(deployment, parameters=parameters)

        def state():
            return client.read_flow_run(flow_run.id).state

        wait_until(lambda: state().is_paused() or state().is_final(), 120)
        assert (state().type, state().name) == (StateType.PAUSED, "Suspended")
        gated = {path: path.read_bytes() for path in (out / "ledger/gate").iterdir()}
        assert len(gated) == 25
        assert not (out / "ledger/segment").exists()
        _, _, artifacts = look(flow_run.id)
        assert "more than the 7 agreed (segment.approve_above): less than a minute." in artifacts["approval"]["data"]
        wait_until(lambda: (tmp_path / "worker.log").read_text().count("is paused") == 1, 30)  # nobody holds the run

        resume_flow_run(flow_run.id)
        wait_until(lambda: state().is_final(), 120)
        assert state().is_completed(), state()
    assert {path: path.read_bytes() for path in (out / "ledger/gate").iterdir()} == gated  # kept, not redone
    local = measure(scene, "audit.tiles=5", out="local")
    assert contents(out) == contents(tmp_path / "local")
    assert json.loads((out / "summary.json").read_text())["fingerprint"] == local["fingerprint"]


def test_without_a_deployment_the_flow_run_ends_in_a_state_that_says_so(make_scene, tmp_path):
    scene = make_scene()
    state, flow_run_id = run(gated_area, scene, tmp_path / "run", "segment.approve_above=7")
    assert (state.type, state.name) == (StateType.FAILED, "NeedsApproval")
    assert f"tilegate resume {tmp_path / 'run'} --approve" in look(flow_run_id)[0].state.message
    recipe = load_recipe("water", (*SMALL, "segment.approve_above=7"))
    with pytest.raises(NeedsApproval, match="more than the 7 agreed"):
        gated_area(image=ImageRequest(uris=[str(scene.path)]), recipe=recipe, out=str(tmp_path / "run"))
    state, _ = run(gated_area, scene, tmp_path / "run", "segment.approve_above=1000")
    assert state.is_completed()
