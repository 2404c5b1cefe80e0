"""The same path through a real Prefect server: names, task runs, artifacts, retries, Dask."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

import flows.job
from flows.gated_area import gated_area, on_dask
from flows.recipe import load_recipe
from flows.request import ImageRequest
from tiling.errors import BadInput
from tiling.open import open_source

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


def test_a_disk_error_is_retried_and_bad_input_is_not(make_scene, tmp_path, monkeypatch):
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

    def refused(spec):
        calls.append("refused")
        raise BadInput("the image is gone")

    monkeypatch.setattr(flows.job, "open_source", refused)
    state, _ = run(gated_area, scene, tmp_path / "refused")
    assert state.is_failed()
    assert calls.count("refused") <= 2  # one per span in flight, none of them again


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
