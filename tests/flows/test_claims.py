"""What the gate plane shows as data may hide pixels without: the summary claims no more than there is, or says so."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.enums import Resampling

from flows.display import observed_text
from flows.pages.report import render_report
from flows.results import ledger_tiles
from storage.run import Run

PLANAR = "area.method=planar"
"""Truths by pencil are in map metres."""
KEPT_OUT = ("gate.threshold=0.95", "gate.ring=0", PLANAR)


def speckled(scene, share=0.02, overviews=True):
    """(300, 260) True = data: single pixels set to nodata 0, everywhere; overviews average what is left."""
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, np.random.default_rng(11).random(pixels.shape[1:]) < share] = 0
        file.write(pixels)
    if overviews:
        with rasterio.open(scene.path, "r+") as file:
            file.build_overviews([2, 4], Resampling.average)
    return (pixels != 0).all(0)


@pytest.mark.parametrize("overviews", [True, False])
def test_what_hides_in_rejected_tiles_is_told(make_scene, measure, tmp_path, overviews):
    scene = make_scene(nodata=0)
    valid = speckled(scene, overviews=overviews)
    area = measure(scene, *KEPT_OUT, "audit.tiles=20")["area"]
    told, truth = area["observed_at_most"], 100.0 * valid.sum()
    tiles = pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()
    kept = [t for t in tiles if t["claimed_area"] and t["state"] == "negative"]
    hidden = [
        100.0 * (~valid[t["row"] * 32 : t["row"] * 32 + 32, t["col"] * 32 : t["col"] * 32 + 32]).sum() for t in kept
    ]
    assert told["tiles"] == len(kept) > 20
    assert told["area"] == pytest.approx(sum(t["claimed_area"] for t in kept))
    assert sum(hidden) > 0
    assert area["observed"] - sum(hidden) == pytest.approx(truth, rel=1e-12)
    assert told["hidden"]["low"] <= sum(hidden) <= told["hidden"]["high"] <= told["area"]
    assert told["hidden"]["estimate"] == pytest.approx(sum(hidden), rel=0.3)
    audited = [t for t in tiles if t["state"] == "audited" and t["claimed_area"]]
    found = [t["claimed_area"] - t["valid_area"] for t in audited]
    assert (told["audited"], told["lacking"]) == (len(found), sum(lost > 1 for lost in found))
    assert told["found"] == pytest.approx(sum(found))


def test_everything_audited_is_exact_and_says_nothing(make_scene, measure):
    scene = make_scene(nodata=0)
    valid = speckled(scene)
    area = measure(scene, *KEPT_OUT, "audit.tiles=1000")["area"]
    assert "observed_at_most" not in area
    assert area["observed"] == pytest.approx(100.0 * valid.sum(), rel=1e-12)


def test_one_plane_for_both_is_exact(make_scene, measure):
    scene = make_scene(nodata=0)
    valid = speckled(scene)
    area = measure(scene, *KEPT_OUT, "audit.tiles=0", "gate.downsample=1")["area"]
    assert "observed_at_most" not in area
    assert area["observed"] == pytest.approx(100.0 * valid.sum(), rel=1e-12)


@pytest.mark.parametrize(("file", "bound"), [({}, False), ({"nodata": 0}, True)])
def test_only_files_that_may_lack_pixels_are_told_of(make_scene, measure, tmp_path, file, bound):
    summary = measure(make_scene(**file), *KEPT_OUT, "audit.tiles=5")
    run = Run.open(tmp_path / "run")
    page = render_report(run, ledger_tiles(run), summary, b"")
    assert ("observed_at_most" in summary["area"]) == bound
    assert ("observed at most" in observed_text(summary)) == bound
    assert "may hide" not in observed_text(summary)  # an audit found nothing: the page tells how sure that is
    assert ("which may hide pixels without: none seen" in page) == bound
    assert ("observed, at most" in page) == bound
    assert (summary["area"].get("observed_at_most") or {}).get("lacking", 0) == 0


def test_a_mask_beside_the_pixels_may_lack_some(make_scene, measure):
    scene = make_scene()
    holes = np.random.default_rng(3).random((300, 260)) < 0.02
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(scene.path, "r+") as file:
        file.write_mask(~holes)
    area = measure(scene, *KEPT_OUT, "audit.tiles=20")["area"]
    told = area["observed_at_most"]
    assert told["lacking"] > 0
    truth = 100.0 * (~holes).sum()
    assert area["observed"] - told["hidden"]["high"] <= truth <= area["observed"] - told["hidden"]["low"]


def test_the_words_of_an_operator(make_scene, measure, tilegate, tmp_path):
    scene = make_scene(nodata=0)
    speckled(scene)
    measure(scene, *KEPT_OUT, "audit.tiles=0")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["area"]["observed_at_most"]["hidden"] is None
    assert "observed at most" in observed_text(summary)
    assert "may hide pixels without: unknown: no audit" in observed_text(summary)
    assert tilegate("report", tmp_path / "run", "--json").code == 0  # says what the ledger says
