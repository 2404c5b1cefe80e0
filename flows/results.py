"""The end of a run: summary.json, tiles.parquet, areas.csv, overview.png, report.html."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from pyproj import CRS

from classifiers.domain_verdict import Judgement
from downstream.summary import ClassArea, class_areas, funnel, merge_stages, observed_area, tissue_area
from flows.area_told import claims_block, glass_block
from flows.audited import audit_block, audit_of
from flows.display import convert
from flows.domain import domain_block
from flows.objective import image_block
from flows.pages.picture import draw_overview
from flows.pages.report import render_report
from flows.plan_areas import plan_areas
from flows.radiometry import radiometry_block
from flows.recipe import Recipe, planned_recipe
from flows.zones.aoi import aoi_block, areas_of_interest
from flows.zones.areas import warnings_of, zones_block, zones_csv
from flows.zones.kept import zones_of
from storage.ledger import tiles_of
from storage.plan import RunPlan
from storage.run import Run
from tiling.errors import BadInput
from tiling.info import native_plane
from tiling.pixel_area import PixelAreas, plane_area, window_area
from tiling.record import TileRecord
from tiling.state import State

log = logging.getLogger("tilegate")

VERSIONED = (
    *("tilegate", "numpy", "zarr", "rasterio", "openslide-python", "simplejpeg", "pyproj"),
    *("openvino", "torch", "prefect"),
)


def publish(
    run: Run,
    recipe: Recipe,
    gated: Sequence[TileRecord],
    segmented: Sequence[TileRecord],
    found: Judgement,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Write every result file, summary.json last, and return the summary. found: how the image stands in the gate's domain."""
    tiles = every_tile(run.plan, gated, segmented)
    areas = areas_of_interest(run.plan)
    summary = summarise(run.plan, recipe, tiles, areas, seconds) | {"domain": domain_block(found)}
    summary |= zones_part(run, tiles)
    run.write_tiles(tiles)
    run.write("areas.csv", areas_csv(summary).encode())
    picture = io.BytesIO()
    draw_overview(run, tiles, summary).save(picture, format="PNG", compress_level=1)
    run.write("overview.png", picture.getvalue())
    write_told(run, tiles, summary, picture.getvalue())
    if summary["status"] == "complete":
        run.finish()
    return summary


def write_told(run: Run, tiles: Sequence[TileRecord], summary: dict[str, Any], overview: bytes) -> None:
    """zones.csv where there are zones, report.html, and summary.json last. overview: the picture as PNG."""
    if "zones" in summary:
        run.write("zones.csv", zones_csv(summary["zones"], summary["area"]["display_unit"]).encode())
    run.write("report.html", render_report(run, tiles, summary, overview).encode())
    run.write("summary.json", (json.dumps(summary, indent=2) + "\n").encode())


def zones_part(run: Run, tiles: Sequence[TileRecord]) -> dict[str, Any]:
    """The summary's `zones`; nothing where none are asked for. Raises BadInput for a file that cannot be used."""
    zones = zones_of(run)
    if zones is None:
        return {}
    block = zones_block(run, tiles, zones)
    for warning in warnings_of(block):
        log.warning("zones: %s", warning)
    return {"zones": block}


def with_zones(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary of a finished run with the zones its plan asks for now: they are counted again when they changed."""
    zones, told = zones_of(run), summary.get("zones")
    asked = None if zones is None else (zones.path, zones.sha256, zones.column)
    if asked == (None if told is None else (told["path"], told["sha256"], told["name_column"])):
        return summary
    tiles = ledger_tiles(run)
    fresh = {key: value for key, value in summary.items() if key != "zones"} | zones_part(run, tiles)
    write_told(run, tiles, fresh, run.read("overview.png") or b"")
    return fresh


def ledger_tiles(run: Run) -> list[TileRecord]:
    """What the ledger says of every tile of the grid."""
    return every_tile(run.plan, tiles_of(run.committed("gate")), tiles_of(run.committed("segment")))


def every_tile(plan: RunPlan, gated: Sequence[TileRecord], segmented: Sequence[TileRecord]) -> list[TileRecord]:
    """Both stages over the whole grid, in its order; a tile nobody spoke of, or that still waits, is planned."""
    told = {
        (t.row, t.col): replace(t, state=State.PLANNED) if t.state is State.POSITIVE else t
        for t in merge_stages(gated, segmented)
    }
    rows, cols = plan.grid.shape_tiles
    return [
        told.get((row, col)) or TileRecord(row=row, col=col, state=State.PLANNED)
        for row in range(rows)
        for col in range(cols)
    ]


def finished(run: Run) -> dict[str, Any] | None:
    """The summary of a complete run, None for any other: written last, so all of it is there."""
    try:
        summary = run.summary()
    except BadInput:
        return None  # damaged: it is made again
    if summary is None or summary.get("status") != "complete" or not is_true(run, summary):
        return None
    run.finish()
    return summary


def is_true(run: Run, summary: dict[str, Any]) -> bool:
    """Whether a summary says what the ledger says: neither edited nor damaged.

    Its block `domain` is not looked at: to make it again takes the gate's bundle, which may be elsewhere.
    """
    tiles = ledger_tiles(run)
    areas = areas_of_interest(run.plan)
    fresh = json.loads(json.dumps(summarise(run.plan, planned_recipe(run.plan.recipe), tiles, areas, {})))
    return all(summary.get(key) == fresh[key] for key in fresh.keys() - {"seconds", "versions"})


def summarise(
    plan: RunPlan, recipe: Recipe, tiles: Sequence[TileRecord], areas: PixelAreas, seconds: dict[str, float]
) -> dict[str, Any]:
    """The contract other programs read: fields are added, never renamed."""
    counts = funnel(tiles)
    image = plan.image
    holes = counts["unreadable"] + counts["failed"] + counts.get("planned", 0)
    return {
        "schema": 1,
        "status": "partial" if holes else "complete",
        "image": {
            "uri": image.uri,
            "kind": image.kind,
            "shape_px": list(image.shape_px),
            **image_block(image),
            "crs": crs_name(image.crs),
            "reader": image.reader,
            **radiometry_block(plan),
            **({} if image.date is None else {"date": image.date.day, "date_from": image.date.whence}),
        },
        "tiles": counts,
        "area": area_block(plan, recipe, tiles, areas) | {"display_unit": recipe.area.unit},
        "gate": model_block(plan, "gate")
        | {"threshold": recipe.gate.threshold, "cut": recipe.gate.cut, "runtime": recipe.gate.runtime}
        | recall_block(recipe),
        "segmenter": model_block(plan, "segmenter") | {"cut": recipe.segment.cut, "runtime": recipe.segment.runtime},
        "recipe": plan.name,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "fingerprint": plan.fingerprint,
        "versions": {name: version(name) for name in VERSIONED},
    }


def recall_block(recipe: Recipe) -> dict[str, Any]:
    """What the threshold was chosen to keep; a recall of area holds on average, so it has no confidence."""
    gate = recipe.gate
    of_tiles = gate.recall is not None and gate.recall_of == "tiles"
    return {
        "target_recall": gate.recall,
        "confidence": gate.confidence if of_tiles else None,
        "recall_of": None if gate.recall is None else gate.recall_of,
    }


def model_block(plan: RunPlan, which: str) -> dict[str, Any]:
    """Who did it, to the bit."""
    return {"model": plan.models[which]["name"], "sha256": plan.models[which]["sha256"]}


def crs_name(crs: str | None) -> str | None:
    """EPSG:32633 where the CRS has such a name, else its WKT."""
    authority = CRS.from_user_input(crs).to_authority(min_confidence=100) if crs else None
    return ":".join(authority) if authority else crs


def area_block(plan: RunPlan, recipe: Recipe, tiles: Sequence[TileRecord], areas: PixelAreas) -> dict[str, Any]:
    """Everything measured in m2 or um2."""
    native = plan_areas(plan, native_plane(plan.image))
    whole = plane_area(native, plan.image.shape_px)
    audit = audit_of(plan, recipe, tiles)
    unreadable = [t for t in tiles if t.state in (State.UNREADABLE, State.FAILED, State.PLANNED)]
    lost = [plan.grid.tile(t.row, t.col).core for t in unreadable]
    classes, tissue = class_areas(tiles, plan.classes, areas.unit, audit), tissue_area(tiles)
    return {
        "unit": areas.unit,
        "method": areas.method,
        "image": whole,
        **aoi_block(plan),
        "observed": observed_area(tiles),
        **claims_block(tiles, audit),
        "tissue": tissue,
        **glass_block(plan, classes, tissue),
        "not_observed": math.fsum(window_area(areas, core) for core in lost),
        "classes": [class_row(found) for found in classes],
        "audit": audit_block(audit, tiles),
    }


def class_row(found: ClassArea) -> dict[str, Any]:
    """One entry of area.classes."""
    missed = found.missed
    return {
        "name": found.name,
        "mapped": found.mapped.area,
        "pixels": found.mapped.pixels,
        "missed_estimate": missed.estimate if missed else None,
        "missed_low": missed.low if missed else None,
        "missed_high": missed.high if missed else None,
    }


def areas_csv(summary: dict[str, Any]) -> str:
    """One row per class, in the display unit."""
    block = summary["area"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["class", "unit", "method", "mapped", "pixels", "missed_estimate", "missed_low", "missed_high"])
    for row in block["classes"]:
        values = [
            convert(row[key], block["unit"], block["display_unit"])
            for key in ("mapped", "missed_estimate", "missed_low", "missed_high")
        ]
        mapped, *missed = ("" if value is None else repr(value) for value, _ in values)
        writer.writerow([row["name"], values[0][1], block["method"], mapped, row["pixels"], *missed])
    return out.getvalue()
