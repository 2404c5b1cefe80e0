"""What the commands do, without the command line."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from downstream.zones import Zones, load_zones
from flows.approval import Approve, approved, ask_at_the_desk
from flows.console import note, progress_for_people
from flows.engine import LocalEngine
from flows.holes import holes_of
from flows.job import prepare
from flows.overlap import models
from flows.pipeline import execute
from flows.planning import draft_plan, make_plan
from flows.progress import Silent
from flows.recipe import Recipe, planned_recipe
from flows.request import ImageRequest
from flows.results import is_true, ledger_tiles
from flows.zones.areas import zones_block
from flows.zones.kept import resumed_zones
from storage.place import folder_at, settled
from storage.plan import RESULTS_VERSION
from storage.run import Run
from tiling.errors import BadInput
from tiling.source import MAX_PIXELS, SourceSpec

EngineName = Literal["local", "prefect"]


def image_request(
    uris: list[str], bands: str, nodata: float | None, mpp: str, ground_m: str, max_pixels: int = MAX_PIXELS
) -> ImageRequest:
    """The options of a command as one request. Raises BadInput on what cannot be read."""
    if mpp and ground_m:
        raise BadInput("--mpp and --pixel-size exclude each other: micrometres on glass, or metres on the ground")
    size = parse_size(mpp, "--mpp") if mpp else parse_size(ground_m, "--pixel-size") if ground_m else None
    return ImageRequest(
        uris=uris,
        bands=parse_bands(bands),
        nodata=nodata,
        pixel_size=size,
        pixel_unit="m" if ground_m else "um",
        max_pixels=max_pixels,
    )


def parse_bands(text: str) -> dict[str, int | str]:
    """Read green=2,nir=B08 as {"green": 2, "nir": "B08"}."""
    bands: dict[str, int | str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, found, want = (word.strip() for word in part.partition("="))
        if not (name and found and want):
            raise BadInput(f"--bands {text}: write it as name=number or name=name, such as green=2,nir=B08")
        bands[name.lower()] = int(want) if want.isdigit() else want
    return bands


def parse_size(text: str, option: str) -> tuple[float, float]:
    """Read 0.25 or 0.25,0.26 as (y, x)."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 < value < 1e6 for value in values):
        raise BadInput(f"{option} {text}: one positive number, or two as Y,X")
    return values[0], values[-1]


def parse_count(text: str, option: str) -> int:
    """Read 1000000 or 1e6 as a whole number of at least 1."""
    try:
        count = float(text)
    except ValueError:
        count = 0.0
    if not 1 <= count < 1e18 or count != int(count):
        raise BadInput(f"{option} {text}: a whole number of at least 1, such as 1000000 or 1e6")
    return int(count)


def run_image(
    request: ImageRequest,
    recipe: Recipe,
    out: str,
    engine: EngineName | None,
    workers: int | None = None,
    dask: str = "",
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Run on the engine asked for; Prefect when an API is configured and nobody said, or on Dask."""
    if not dask and (engine or default_engine()) == "local":
        if engine is None and not quiet:
            note("local engine (no Prefect API is configured; --engine prefect starts one)")
        return run_local(request.spec(), recipe, out, workers, quiet=quiet)
    from flows.gated_area import gated_area, on_dask, start_server

    require_fit(request.spec(), recipe, out)
    start_server()
    flow = on_dask(dask) if dask else gated_area
    summary: Any = flow(image=request, recipe=recipe, out=settled(out))
    return dict(summary)


def require_fit(spec: SourceSpec, recipe: Recipe, out: str) -> None:
    """Raise BadInput now, not after a server has started."""
    if folder_at(out).names():
        Run.find(out, make_plan(spec, recipe))
    else:
        draft_plan(spec, recipe)


def run_local(
    spec: SourceSpec,
    recipe: Recipe,
    out: str,
    workers: int | None,
    *,
    quiet: bool,
    aoi: str | None = None,
    zones: Zones | None = None,
    approve: Approve = ask_at_the_desk,
) -> dict[str, Any]:
    """Threads of this process, with progress bars. aoi: see make_plan; zones and approve: see execute."""
    plan, engine = make_plan(spec, recipe, aoi), LocalEngine(workers)
    models().submit(prepare, plan)
    with closing(Silent() if quiet else progress_for_people()) as progress:
        return execute(plan, out, engine, progress, zones=zones, approve=approve)


def resume_run(folder: str, workers: int | None, *, quiet: bool, approve: bool = False) -> dict[str, Any]:
    """The rest of a run, from its own plan; the image is looked at again, files of polygons are not needed.

    approve: whatever it costs.
    """
    run = Run.open(folder)
    recipe, asked = planned_recipe(run.plan.recipe), approved if approve else ask_at_the_desk
    kept: dict[str, Any] = {"aoi": run.plan.aoi, "zones": resumed_zones(run)}
    return run_local(run.plan.source, recipe, folder, workers, quiet=quiet, approve=asked, **kept)


def report_run(folder: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(summary, what was not observed: see holes_of). Raises BadInput for a run that never came to its summary."""
    run = Run.open(folder)
    summary = run.summary()
    if summary is None:
        gated, batches = len(run.committed("gate")), run.plan.grid.shape_batches
        raise BadInput(
            f"{folder} is not finished: {gated} of {batches[0] * batches[1]} batches are gated, no summary yet. "
            f"Finish it with: tilegate resume {folder}"
        )
    if run.plan.results_version != RESULTS_VERSION:
        raise BadInput(
            f"{folder} was made by another version of tilegate (results version {run.plan.results_version}, this one "
            f"makes {RESULTS_VERSION}), which may count otherwise: its files stay as they are. To work on it, measure "
            "the image anew in another folder."
        )
    if not is_true(run, summary):
        raise BadInput(
            f"{folder}/summary.json does not say what the ledger says: one of them was edited or damaged. "
            f"Make it again from the ledger: tilegate resume {folder}"
        )
    return summary, holes_of(run.plan, ledger_tiles(run))


def zones_of_run(folder: str, path: str, column: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(summary, zones block) of a run that is over, for any file of zones; nothing is run or written. Raises BadInput."""
    summary, _ = report_run(folder)
    run = Run.open(folder)
    zones = load_zones(str(Path(path).resolve()), column, run.plan.image)
    return summary, zones_block(run, ledger_tiles(run), zones)


def default_engine() -> EngineName:
    """Prefect when an API is configured, by environment or profile; reading that costs no import of Prefect."""
    if os.environ.get("PREFECT_API_URL"):
        return "prefect"
    home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    profiles = home / "profiles.toml"
    return "prefect" if profiles.exists() and "PREFECT_API_URL" in profiles.read_text(errors="replace") else "local"
