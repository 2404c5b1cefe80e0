"""Training through a real Prefect server: three task runs, a table that grows, a retry that goes on where it was."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
import torch
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from flows.training.flow import ArtifactWatcher, fit_task, train_model
from flows.training.recipe import training_recipe

pytestmark = pytest.mark.prefect
RECIPE = training_recipe(
    {
        "kind": "gate",
        "model": {"name": "wet"},
        "data": {"pixel_size": 10},
        "network": {"architecture": "test_resnet"},
        "fit": {"epochs": 3, "batch": 8},
    },
    "test",
)


@pytest.fixture(scope="module", autouse=True)
def server():
    torch.set_num_threads(1)
    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture
def folders(tmp_path):
    """DATA/field and DATA/lake, 16 pictures each."""
    random = np.random.default_rng(4)
    for name, colour in {"field": (60, 130, 50), "lake": (30, 60, 140)}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(16):
            coarse = random.normal(0, 25, (8, 8, 1)).repeat(4, 0).repeat(4, 1)
            pixels = np.array(colour) + coarse + random.normal(0, 6, (32, 32, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / f"data/{name}/{i}.png")
    return tmp_path / "data"


def look(flow_run_id):
    """(flow run, its task runs by name, its artifacts by key, newest) as the server has them."""
    ours = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        tasks = client._client.post("/task_runs/filter", json=ours).json()
        artifacts = client._client.post("/artifacts/filter", json=ours | {"sort": "CREATED_DESC"}).json()
    newest = {artifact["key"]: artifact for artifact in reversed(artifacts)}
    return flow_run, {task["name"].partition("-")[0]: task for task in tasks}, newest


def train(data, out, recipe=RECIPE):
    return train_model(kind="gate", data=str(data), recipe=recipe, out=str(out), return_state=True)


def test_what_an_operator_sees(folders, tmp_path):
    state = train(folders, tmp_path / "gate")
    assert state.result() == json.loads((tmp_path / "gate/evaluation.json").read_text())
    flow_run, tasks, artifacts = look(state.state_details.flow_run_id)
    assert flow_run.name == "train gate wet: data"
    assert set(tasks) <= {"prepare", "fit", "evaluate"}  # the server may still be writing the last of them down
    assert artifacts["progress-training"]["data"] == 100.0
    rows = json.loads(artifacts["epochs"]["data"])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert f"accuracy   {state.result()['accuracy']:.4f}" in artifacts["evaluation"]["data"]
    assert "evaluation.html" in artifacts["evaluation-page"]["data"]


def test_a_retry_goes_on_after_the_last_epoch(folders, tmp_path, monkeypatch):
    told, epoch = [], ArtifactWatcher.epoch

    def blinking(self, report):
        told.append(report.epoch)
        if told == [1, 2]:
            raise OSError(errno.EIO, "the disk blinked")
        epoch(self, report)

    monkeypatch.setattr(ArtifactWatcher, "epoch", blinking)
    monkeypatch.setattr(fit_task, "retry_delay_seconds", [0.01, 0.01])
    assert train(folders, tmp_path / "gate").is_completed()
    assert told == [1, 2, 3]


def test_bad_data_is_not_tried_again(folders, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("flows.training.flow.prepare_stage", lambda *_: calls.append(1) or {}["none"])
    assert train(folders, tmp_path / "gate").is_failed()
    assert len(calls) == 1
    monkeypatch.undo()
    state = train(tmp_path / "nowhere", tmp_path / "gate")
    assert state.is_failed()
    assert "does not exist" in state.message


def test_the_form_in_the_ui_is_the_recipe():
    schema = train_model.parameters.model_dump()
    assert set(schema["properties"]) == {"kind", "data", "recipe", "out"}
    assert "epochs" in schema["definitions"]["FitSettings"]["properties"]
    assert "class" in schema["definitions"]["DataSettings"]["properties"]["classes"]["title"].lower()
