"""The Prefect flow: the same path as on a laptop, with one task run per span, retries and artifacts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import Flow, flow, get_run_logger
from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.server.api.server import SubprocessASGIServer
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.approval_prefect import ask_in_prefect
from flows.artifacts import ArtifactProgress, ended, publish_artifacts
from flows.pipeline import execute
from flows.planning import make_plan
from flows.recipe import Recipe
from flows.request import ImageRequest
from flows.stopping import deaf_to_ctrl_c, take_along
from flows.tasks import PrefectEngine
from tiling.address import public
from tiling.errors import NeedsApproval, TilegateError

WORKERS = os.cpu_count() or 1
RUNNER: Any = ThreadPoolTaskRunner(max_workers=WORKERS)


def _run_name() -> str:
    """Such as "water: scene.tif"."""
    parameters = flow_run.parameters
    image, recipe = parameters["image"], parameters["recipe"]
    uris = image["uris"] if isinstance(image, dict) else image.uris
    name = recipe["name"] if isinstance(recipe, dict) else recipe.name
    return f"{name}: {Path(public(uris[0])).name}{f' +{len(uris) - 1}' if len(uris) > 1 else ''}"


@flow(
    name="gated-area",
    description="Areas from one huge image: gate every tile, segment what passes, audit what does not.",
    flow_run_name=_run_name,
    task_runner=RUNNER,
    persist_result=False,
)
def gated_area(image: ImageRequest, recipe: Recipe, out: str) -> Any:
    """Run a recipe on an image into the folder `out`; finishes an unfinished run of the same plan there."""
    try:
        plan = make_plan(image.spec(), recipe)
    except TilegateError as error:
        raise error from None  # what GDAL said below it names the whole address, and Prefect logs all of it
    rows, cols = plan.grid.shape_batches
    get_run_logger().info("%s tiles in %s x %s batches", f"{len(plan.grid):,}", rows, cols)
    try:
        summary = execute(plan, out, PrefectEngine(WORKERS), ArtifactProgress(), approve=ask_in_prefect)
    except NeedsApproval as waiting:
        return Failed(name="NeedsApproval", message=str(waiting), data=waiting)
    publish_artifacts(summary, out)
    return ended(summary)


def on_dask(scheduler: str) -> Flow[..., dict[str, Any]]:
    """The same flow with its spans on a Dask cluster: an address (tcp://…), or "local" for one made on the spot."""
    from prefect_dask import DaskTaskRunner

    if scheduler == "local":
        runner: Any = DaskTaskRunner(
            cluster_kwargs={
                "n_workers": WORKERS,
                "threads_per_worker": 1,
                "dashboard_address": None,
                "host": "127.0.0.1",
            }
        )
    else:
        runner = DaskTaskRunner(address=scheduler)
    return gated_area.with_options(task_runner=runner)


def start_server() -> None:
    """Where no API is configured, start Prefect's embedded server so that it outlives Ctrl-C and can note the end."""
    with deaf_to_ctrl_c():
        client = get_client(sync_client=True)
    if client.server_type is ServerType.EPHEMERAL:
        server = SubprocessASGIServer().server_process  # the one just started: one per process
        assert server is not None
        take_along(server)
