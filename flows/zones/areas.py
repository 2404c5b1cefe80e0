"""Areas per zone of a run: at its end, and again for other zones without a run."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream.zones import Overlap, Zone, Zones, load_zones, overlaps, within
from downstream.zones_count import Counted, ZoneArea, shape_area, zone_area
from flows.display import convert
from flows.plan_areas import plan_areas
from flows.zones.aoi import aoi_of, areas_of_interest
from storage.plan import RunPlan
from storage.run import Run
from tiling.errors import BadData, BadInput
from tiling.grid import Tile
from tiling.open import open_source
from tiling.pixel_area import PixelAreas
from tiling.record import TileRecord
from tiling.source import Source

log = logging.getLogger("tilegate")

MISSED = "What the gate may have missed is told for the whole image only: the audit was not drawn by zone."


class RunPixels:
    """Labels of a run, and which pixels of its image hold data, tile by tile."""

    def __init__(self, run: Run) -> None:
        """The image is opened when it is first asked for."""
        self._run = run
        self._source: Source | None = None
        self._mask = run.array("mask/0")
        self.labels = lru_cache(64)(self._labels)
        self.valid = lru_cache(64)(self._valid)
        self.guessed = set[tuple[int, int]]()
        """Tiles whose data could not be looked at again: it was taken for evenly spread."""

    def _labels(self, tile: Tile) -> NDArray[Any]:
        return np.asarray(self._mask[tile.core.slices])

    def _valid(self, tile: Tile) -> NDArray[Any]:
        try:
            return self._open().read(tile.core, self._run.plan.fine).valid
        except (BadData, BadInput) as error:
            log.warning("zones: data in tile %s is taken for evenly spread: %s", tile.id, error)
            self.guessed.add((tile.row, tile.col))
            return np.ones(tile.core.shape_px, bool)

    def _open(self) -> Source:
        if self._source is None:
            self._source = open_source(self._run.plan.source)
        return self._source

    def close(self) -> None:
        """Let go of the image."""
        if self._source is not None:
            self._source.close()


def planned_zones(plan: RunPlan) -> Zones | None:
    """The zones a plan asks for, None = none. Raises BadInput."""
    area = plan.recipe["area"]
    path = area.get("zones")
    return None if path is None else load_zones(path, area.get("zones_name"), plan.image)


def zones_block(run: Run, tiles: Sequence[TileRecord], zones: Zones) -> dict[str, Any]:
    """What the summary says of zones; areas in m2 or um2. tiles: every tile of the run."""
    plan, pixels = run.plan, RunPixels(run)
    try:
        areas = plan_areas(plan)
        counted = counted_of(plan, tiles, areas, pixels)
        rows = [zone_row(zone, counted, plan) for zone in zones.zones]
        shared = [_overlap_row(each, plan, areas) for each in overlaps(zones.zones, zones.tolerance_px)]
    finally:
        pixels.close()
    return {
        "path": zones.path,
        "sha256": zones.sha256,
        "name_column": zones.column,
        "tolerance_px": zones.tolerance_px,
        "unit": areas.unit,
        "method": areas.method,
        "missed": MISSED,
        "rows": rows,
        "overlaps": shared,
        "outside_image": [zone.name for zone in zones.zones if zone.shape.is_empty],
        "tiles_taken_for_evenly_valid": len(pixels.guessed),
        "notes": list(zones.notes),
    }


def counted_of(plan: RunPlan, tiles: Sequence[TileRecord], areas: PixelAreas, pixels: RunPixels) -> Counted:
    """A run as zones are counted in it."""
    return Counted(
        grid=plan.grid,
        scale=plan.fine.scale,
        areas=areas,
        observable=areas_of_interest(plan),
        records={(tile.row, tile.col): tile for tile in tiles},
        classes=len(plan.classes),
        labels=pixels.labels,
        valid=pixels.valid,
    )


def zone_row(zone: Zone, counted: Counted, plan: RunPlan) -> dict[str, Any]:
    """One zone with all its classes."""
    aoi = aoi_of(plan)
    found: ZoneArea = zone_area(within(zone, aoi.shape if aoi else None), counted)
    whole = found.inside if aoi is None else shape_area(zone.shape, plan.grid, plan.fine.scale, counted.areas)
    return {
        "zone": zone.number,
        "name": zone.name,
        "inside": found.inside,
        "observed": found.observed,
        "not_observed": found.not_observed,
        "outside": zone.outside,
        **({} if aoi is None else {"outside_aoi": max(0.0, whole - found.inside)}),
        "classes": [
            {"name": name, "mapped": mapped, "pixels": pixels}
            for name, mapped, pixels in zip(plan.classes, found.mapped, found.pixels, strict=True)
        ],
    }


def _overlap_row(found: Overlap, plan: RunPlan, areas: PixelAreas) -> dict[str, Any]:
    return {
        "zones": [found.first.number, found.second.number],
        "names": [found.first.name, found.second.name],
        "area": shape_area(found.shape, plan.grid, plan.fine.scale, areas),
    }


def warnings_of(block: dict[str, Any]) -> list[str]:
    """What a person should know before they use the table."""
    told = list(block["notes"])
    if block["overlaps"]:
        pairs = "; ".join(" and ".join(row["names"]) for row in block["overlaps"][:5])
        more = len(block["overlaps"]) - 5
        told.append(
            f"{len(block['overlaps']):,} {'pair of zones overlaps' if len(block['overlaps']) == 1 else 'pairs of zones overlap'} ({pairs}{f'; and {more:,} more' if more > 0 else ''}): "
            "what they share is counted in both."
        )
    if block["outside_image"]:
        names = ", ".join(block["outside_image"][:5])
        more = len(block["outside_image"]) - 5
        told.append(f"No part of the image lies in {names}{f' and {more:,} more zones' if more > 0 else ''}.")
    if block["tiles_taken_for_evenly_valid"]:
        told.append(
            f"In {block['tiles_taken_for_evenly_valid']:,} tiles at borders the image could not be read again: what is "
            "observed there was shared out by area."
        )
    return told


def zones_csv(block: dict[str, Any], display_unit: str) -> str:
    """One row per zone and class, in the display unit; empty where an area is not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("inside", "observed", "not_observed", "outside")
    writer.writerow(["zone", "name", "class", "unit", "method", "mapped", "pixels", *columns])
    for row in block["rows"]:
        for each in row["classes"]:
            values = [
                convert(area, block["unit"], display_unit) for area in (each["mapped"], *(row[c] for c in columns))
            ]
            mapped, *around = ("" if value is None else repr(value) for value, _ in values)
            writer.writerow(
                [row["zone"], row["name"], each["name"], values[0][1], block["method"], mapped, each["pixels"], *around]
            )
    return out.getvalue()
