"""The audit of whole runs: the draw in the ledger, the interval against the truth, and audits of many runs as one."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zarr

import flows.job
from classifiers.bundle import load_bundle
from flows.audited import audit_of
from flows.models import bundle_folder
from flows.planning import make_plan
from flows.recipe import Recipe, load_recipe
from flows.results import ledger_tiles
from storage.ledger import tiles_of
from storage.run import Run
from tiling.errors import BadInput
from tiling.source import SourceSpec
from tiling.state import State

OFF = ("gate.threshold=0", "audit.tiles=0")
BLIND = "gate.threshold=0.6"
"""Misses the shores of the lakes and all of the small one."""


def class_of(summary):
    (water,) = summary["area"]["classes"]
    return water


def test_gate_off_gate_at_0_and_an_audited_gate(make_scene, measure, tmp_path):
    """Off and 0 give one table; everything audited maps what off does; the interval covers what was missed."""
    scene = make_scene()
    off = measure(scene, *OFF, out="off")
    truth = class_of(off)["mapped"]
    assert class_of(off)["pixels"] == scene.water.sum()
    ring = measure(scene, "gate.threshold=0.999", "gate.ring=16", "audit.tiles=0", out="ring")  # rings over all
    zero = measure(scene, "gate.threshold=0", "audit.tiles=30", out="zero")
    names = ("off", "zero")
    tables = [pq.read_table(tmp_path / name / "tiles.parquet") for name in names]
    assert tables[0].equals(tables[1])
    assert (tmp_path / "off/areas.csv").read_bytes() == (tmp_path / "zero/areas.csv").read_bytes()
    masks = [zarr.open_array(tmp_path / name / "run.zarr/mask/0", mode="r")[...] for name in names]
    assert np.array_equal(*masks)
    assert class_of(zero)["mapped"] == truth
    assert class_of(ring)["mapped"] <= truth
    whole = measure(scene, BLIND, "audit.tiles=1000", out="whole")
    assert class_of(whole)["mapped"] == pytest.approx(truth, rel=1e-12)
    assert class_of(whole)["pixels"] == scene.water.sum()
    assert (class_of(whole)["missed_low"], class_of(whole)["missed_high"]) == (0, 0)
    for n in (5, 25, 60):
        water = class_of(measure(scene, BLIND, f"audit.tiles={n}", out=f"audited{n}"))
        assert water["missed_low"] <= truth - water["mapped"] <= water["missed_high"]
        assert water["missed_low"] <= water["missed_estimate"] <= water["missed_high"]
        assert water["missed_high"] > 0


def test_what_was_drawn_is_what_the_records_say(make_scene, measure, tmp_path):
    """The draw is made again from the scores: its tiles are the audited ones, with the area and chances told."""
    summary = measure(make_scene(), BLIND, "audit.tiles=12")
    run = Run.open(tmp_path / "run")
    recipe, tiles = Recipe.model_validate(run.plan.recipe), ledger_tiles(run)
    audit = audit_of(run.plan, recipe, tiles)
    assert audit == audit_of(run.plan, recipe, tiles_of(run.committed("gate")))
    assert {draw.key for draw in audit.draws} == {(t.row, t.col) for t in tiles if t.state is State.AUDITED}
    told = summary["area"]["audit"]
    rejected = [t for t in tiles if t.state in (State.NEGATIVE, State.AUDITED)]
    assert (told["drawn"], told["tiles"], told["not_segmented"]) == (12, 12, 0)
    assert told["rejected_tiles"] == len(rejected)
    assert told["rejected"] == pytest.approx(sum(t.valid_area for t in rejected))
    assert told["confidence"] == 0.95
    assert 0 < told["chance"][0] <= told["chance"][1] <= 1


def test_an_audited_tile_that_fails_is_told_and_widens_the_interval(make_scene, measure, monkeypatch, tmp_path):
    scene = make_scene()
    whole = measure(scene, BLIND, "audit.tiles=12", out="whole")
    plan = Run.open(tmp_path / "whole").plan
    lost = next(t for t in ledger_tiles(Run.open(tmp_path / "whole")) if t.state is State.AUDITED and t.area == (0.0,))
    real = flows.job.open_segmenter

    class Broken:
        def __init__(self, inner):
            self.inner, self.model, self.classes, self.bands = inner, inner.model, inner.classes, inner.bands

        def segment(self, stack):
            if (stack.tiles[0].row, stack.tiles[0].col) == (lost.row, lost.col):
                raise RuntimeError("no")
            return self.inner.segment(stack)

    with monkeypatch.context() as broken:
        broken.setattr(flows.job, "open_segmenter", lambda *a: Broken(real(*a)))
        holed = measure(scene, BLIND, "audit.tiles=12", out="holed")
    assert Run.open(tmp_path / "holed").plan.fingerprint == plan.fingerprint
    told = holed["area"]["audit"]
    assert (told["drawn"], told["tiles"], told["not_segmented"]) == (12, 11, 1)
    assert holed["status"] == "partial"
    assert class_of(holed)["missed_high"] > class_of(whole)["missed_high"]
    assert class_of(holed)["missed_low"] <= class_of(whole)["missed_low"]


def test_audits_of_many_runs_are_one_sequence(make_scene, measure, tilegate, tmp_path):
    """Three places, one gate: the bound of the mean share missed covers the truth after each, and only tightens."""
    shares, runs = [], []
    for i, shape in enumerate(((300, 260), (280, 300), (320, 240))):
        scene = make_scene(shape, name=f"scene{i}.tif")
        measure(scene, BLIND, "audit.tiles=40", out=f"run{i}")
        run = Run.open(tmp_path / f"run{i}")
        audit = audit_of(run.plan, Recipe.model_validate(run.plan.recipe), ledger_tiles(run))
        cells = [t for t in ledger_tiles(run) if t.state in (State.NEGATIVE, State.AUDITED)]
        missed = sum(scene.water[t.row * 32 : t.row * 32 + 32, t.col * 32 : t.col * 32 + 32].sum() for t in cells)
        shares.append(missed * 100.0 / audit.area)
        runs.append(tmp_path / f"run{i}")
    told = tilegate("audit", *runs, "--json").json
    pooled = [row["classes"][0]["pooled"] for row in told["runs"]]
    assert [each["tiles"] for each in pooled] == [40, 80, 120]
    for i, each in enumerate(pooled):
        assert each["low"] <= np.mean(shares[: i + 1]) <= each["high"]
        assert each["low"] <= each["estimate"] <= each["high"]
    widths = [each["high"] - each["low"] for each in pooled]
    assert widths[2] < widths[0]
    assert told["gate"]["threshold"] == 0.6
    drawn = pq.read_table(runs[0] / "tiles.parquet").filter(pc.field("state") == "audited").to_pylist()
    records = {(t["row"], t["col"]): t["area:water"] for t in drawn}
    assert {tuple(draw["tile"]): draw["found"][0] for draw in told["runs"][0]["draws"]} == records
    page = tilegate("audit", *runs)
    assert page.code == 0
    assert page.out.count(" tiles  ") == 3


def test_mixtures_are_not_pooled(make_scene, measure, tilegate, tmp_path):
    scene = make_scene()
    measure(scene, BLIND, "audit.tiles=5", out="one")
    measure(scene, "gate.threshold=0.5", "audit.tiles=5", out="other")
    measure(scene, BLIND, "audit.tiles=0", out="none")
    mixed = tilegate("audit", tmp_path / "one", tmp_path / "other")
    assert (mixed.code, "gate.threshold 0.5" in mixed.err, "0.6" in mixed.err) == (2, True, True)
    twice = tilegate("audit", tmp_path / "one", tmp_path / "one")
    assert (twice.code, "are one run" in twice.err) == (2, True)
    none = tilegate("audit", tmp_path / "none")
    assert (none.code, "no run has an audit" in none.err) == (2, True)


def test_plan_says_what_a_bound_costs(make_scene, tilegate):
    scene = make_scene()
    told = tilegate(
        "plan", scene.path, "-r", "water", "--set", "tile.size_px=16", "--set", "audit.bound=0.1", "--json"
    ).json
    # ln(0.04 * 0.8) / ln(1 - 0.8 * 0.1): 41.3 tiles
    assert told["audit"]["tiles"] == 42
    assert 0.095 < told["audit"]["bound_if_nothing_found"] <= 0.1
    assert [row["tiles"] for row in told["audit"]["table"]] == [100, told["audit"]["of_rejected"]]
    assert told["audit"]["table"][-1]["bound"] == 0  # all of them


@pytest.fixture
def forest_plan(make_rgb, land):
    """Changes -> the plan of the recipe `forest` over noise."""
    path = make_rgb(land((300, 280), 3))

    def make(*changes):
        return make_plan(SourceSpec(uris=(str(path),)), load_recipe("forest", changes))

    return make


def test_a_promised_recall_is_a_threshold(forest_plan):
    """The 517 positives of forest-gate prove 0.99 with at most one missed: the second lowest of their scores (binomial)."""
    calibration = load_bundle("forest-gate", bundle_folder("classifiers")).calibration
    own = np.sort([np.float32(s[0]) for s, held in zip(calibration.scores, calibration.labels, strict=True) if held[0]])
    assert len(own) == 517
    plan = forest_plan("gate.recall=0.99")
    assert plan.recipe["gate"]["threshold"] == own[1]  # P(Bin(517, 0.01) <= 1) = 0.035, <= 2: 0.11
    assert plan.recipe["gate"]["recall"] == 0.99
    assert forest_plan("gate.recall=0.99", "gate.confidence=0.8").recipe["gate"]["threshold"] > own[1]
    area = forest_plan("gate.recall=0.9", "gate.recall_of='area'").recipe["gate"]["threshold"]
    assert area > own[1]


def test_promises_that_can_not_be_kept_are_refused(forest_plan, make_scene):
    with pytest.raises(BadInput, match=r"takes 2,995 calibration tiles .* has 517 of 576, .* at most 0\.994"):
        forest_plan("gate.recall=0.999")
    with pytest.raises(BadInput, match=r"gate.threshold = 0.5 and gate.recall = 0.99.*give one"):
        forest_plan("gate.recall=0.99", "gate.threshold=0.5")
    spec = SourceSpec(uris=(str(make_scene().path),))
    with pytest.raises(BadInput, match="ndwi is a rule and has none"):
        make_plan(spec, load_recipe("water", ("gate.recall=0.99",)))


def test_the_summary_names_the_contract_and_a_resume_keeps_it(make_rgb, land, tilegate, tmp_path):
    path = make_rgb(land((300, 280), 3))
    done = tilegate("run", path, "-r", "forest", "--set", "gate.recall=0.98", "--out", tmp_path / "run", "--json")
    gate = done.json["gate"]
    assert (gate["target_recall"], gate["confidence"], gate["recall_of"]) == (0.98, 0.95, "tiles")
    assert "chosen for a recall of 0.98 of the tiles at 95 %" in (tmp_path / "run/report.html").read_text()
    (tmp_path / "run/summary.json").unlink()
    again = tilegate("resume", tmp_path / "run", "--json")
    assert again.code == done.code, again.err
    assert again.json["gate"] == gate
