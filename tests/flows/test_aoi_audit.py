"""The audit at the border of an area of interest: a tile counts as far as it is inside."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from shapely.geometry import mapping

from downstream.audit import draw_audit, estimate_missed
from flows.audited import audit_of, rejected_of
from flows.recipe import Recipe
from flows.results import ledger_tiles
from storage.ledger import tiles_of
from storage.run import Run
from tiling.state import State

LEFT, TOP, RIGHT, BOTTOM = 500_000, 5_000_000, 502_600, 4_997_000
"""Of make_scene: 260 x 300 px of 10 m."""
RIVER = shapely.LineString([(500_000, 4_999_700), (501_300, 4_998_900), (502_600, 4_997_100)]).buffer(130)
"""Narrower than a tile: nearly every tile that holds some of it is cut by its border."""
SHORES = shapely.union_all([RIVER, shapely.Point(500_700, 4_999_400).buffer(500).boundary.buffer(90)])
BLIND = ("gate.threshold=0.97", "gate.ring=0", "area.method=planar")
"""Keeps nearly every tile out, the shores of the lakes too."""


@pytest.fixture
def aoi(tmp_path) -> str:
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(SHORES)}
    path = tmp_path / "shores.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    return f"area.aoi={path}"


def truth_by_tile(chosen: np.ndarray) -> dict[tuple[int, int], float]:
    """Area of the chosen pixels of every tile, each by exactextract's share of it in the area of interest, m2."""
    raster = NumPyRasterSource(np.ones((300, 260)), xmin=LEFT, ymin=BOTTOM, xmax=RIGHT, ymax=TOP)
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(SHORES)}
    (found,) = exact_extract(raster, [feature], ["coverage", "cell_id"])
    shares = np.zeros(300 * 260)
    shares[found["properties"]["cell_id"]] = found["properties"]["coverage"]
    area = 100.0 * shares.reshape(300, 260) * chosen
    return {
        (r, c): area[r * 32 : r * 32 + 32, c * 32 : c * 32 + 32].sum() for r in range(10) for c in range(9)
    }  # fmt: skip


@pytest.fixture
def blind_run(make_scene, measure, tmp_path, aoi):
    """(scene, run, its tiles, its recipe); what it audits says nothing: draws are made again below."""
    scene = make_scene()
    measure(scene, aoi, *BLIND, "audit.tiles=8")
    run = Run.open(tmp_path / "run")
    return scene, run, ledger_tiles(run), Recipe.model_validate(run.plan.recipe)


def test_a_rejected_tile_is_as_large_as_what_of_it_is_inside(blind_run):
    _, run, tiles, recipe = blind_run
    inside = truth_by_tile(np.ones((300, 260)))
    rejected = rejected_of(run.plan, recipe, tiles)
    passed = {(t.row, t.col) for t in tiles if t.state is State.SEGMENTED}
    assert {tile.key for tile in rejected} == {key for key, area in inside.items() if area > 0} - passed
    for tile in rejected:
        assert tile.area == pytest.approx(inside[tile.key], rel=1e-6)  # theirs are float32
    assert sum(tile.area < 32 * 32 * 100 for tile in rejected) > 0.8 * len(rejected)
    audit = audit_of(run.plan, recipe, tiles)
    assert audit.area == pytest.approx(sum(inside[tile.key] for tile in rejected), rel=1e-6)
    assert audit == audit_of(run.plan, recipe, tiles_of(run.committed("gate")))


def test_the_summary_tells_bounds_of_what_is_inside(blind_run):
    scene, run, tiles, _ = blind_run
    summary, water, inside = run.summary(), truth_by_tile(scene.water), truth_by_tile(np.ones((300, 260)))
    seen = [(t.row, t.col) for t in tiles if t.state in (State.AUDITED, State.SEGMENTED)]
    left = [(t.row, t.col) for t in tiles if t.state is State.NEGATIVE]
    audited = [(t.row, t.col) for t in tiles if t.state is State.AUDITED]
    (told,) = summary["area"]["classes"]
    assert told["mapped"] == pytest.approx(sum(water[key] for key in seen), rel=1e-6)
    missed = sum(water[key] for key in left)
    assert missed > 0
    assert told["missed_low"] <= missed <= told["missed_high"] <= sum(inside[key] for key in left) * (1 + 1e-6)
    assert summary["area"]["audit"]["rejected"] == pytest.approx(sum(inside[key] for key in left + audited), rel=1e-6)


@pytest.mark.parametrize("size", [4, 12, 30])
def test_the_interval_covers_at_a_border_as_often_as_it_says_and_is_narrower(blind_run, size):
    """150 draws from the tiles of a real run; what they hold is counted by numpy and exactextract."""
    scene, run, tiles, recipe = blind_run
    water = truth_by_tile(scene.water)
    rejected = rejected_of(run.plan, recipe, tiles)
    whole = [replace(tile, area=float(32 * 32 * 100)) for tile in rejected]
    covered, widths, before = 0, [], []
    for seed in range(150):
        audit = draw_audit(rejected, size, f"border {seed}")
        found = [water[draw.key] for draw in audit.draws]
        missed, truth = estimate_missed(audit, found), sum(water[tile.key] for tile in rejected) - sum(found)
        covered += missed.low <= truth * (1 + 1e-6) and truth <= missed.high * (1 + 1e-6)
        if seed >= 30:
            continue
        widths.append(missed.high - missed.low)
        audit = draw_audit(whole, size, f"border {seed}")
        missed = estimate_missed(audit, [water[draw.key] for draw in audit.draws])
        before.append(missed.high - missed.low)
    assert covered >= 0.95 * 150
    assert math.fsum(widths) < 0.8 * math.fsum(before)
