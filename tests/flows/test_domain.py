"""A run says whether its image looks like those the gate was calibrated on, before the expensive step starts."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from classifiers.bundle import load_bundle
from classifiers.domain import describe, distance, population_stability
from flows.domain import _bundle
from flows.results import is_true
from storage.run import Run
from tiling.errors import BadInput

CHANGES = ("tile.size_px=128", "tile.halo_px=0", "tile.batch=2", "audit.tiles=3")
KEYS = {"verdict", "share_beyond", "distance_median", "limit", "psi", "tiles", "reasons"}


@pytest.fixture
def run(tilegate, tmp_path):
    """Measure an image with the forest recipe and another gate."""

    def call(image, gate, *changes, out="run", options=("--json",)):
        told = [word for change in (*CHANGES, f"gate.model={gate}", *changes) for word in ("--set", change)]
        return tilegate(
            "run", image, "--recipe", "forest", "--out", tmp_path / out, "--engine", "local", *options, *told
        )

    return call


@pytest.fixture
def gate(gate_of, land):
    return gate_of(land((2048, 2048), seed=1))


@pytest.fixture
def own(make_rgb, land):
    return make_rgb(land((640, 700), seed=2), "own.tif")


@pytest.fixture
def strange(make_rgb, land):
    """The same fields in other light."""
    return make_rgb((land((640, 700), seed=2) * 0.4 + 130).astype(np.uint8), "strange.tif")


def test_an_image_like_those_of_calibration_is_inside(run, gate, own, tmp_path, caplog):
    seen = run(own, gate)
    assert seen.code == 0, seen.err
    block = seen.json["domain"]
    assert set(block) == KEYS
    assert block["verdict"] == "inside"
    assert seen.json["tiles"]["total"] == 30
    assert block["tiles"] == 25  # those at the right edge are less than half valid
    assert block["share_beyond"] <= 2 / 25
    assert 0 < block["distance_median"] < block["limit"] == load_bundle(gate, gate).domain.limit
    assert not caplog.records
    assert json.loads((tmp_path / "run/summary.json").read_text()) == seen.json
    page = (tmp_path / "run/report.html").read_text()
    assert "the image is<td><code>inside the domain of forest-gate" in page
    assert "strange" not in page


def test_the_numbers_are_those_of_the_tiles(run, gate, own, land, coarse_tiles, tmp_path):
    """The tiles cut by numpy from the pixels themselves; the scores as tiles.parquet has them."""
    seen = run(own, gate)
    bundle = load_bundle(gate, gate)
    tiles = coarse_tiles(land((640, 700), seed=2))
    truth = distance(describe(tiles), bundle.domain)
    rows = {(row["row"], row["col"]): row for row in pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()}
    found = [rows[tile.row, tile.col]["distance"] for tile in tiles.tiles]
    assert len(found) == 25
    assert found == pytest.approx(truth, rel=0.02)
    far = np.array([row["distance"] for row in rows.values() if row["distance"] is not None])
    block = seen.json["domain"]
    assert block["share_beyond"] == (far > bundle.domain.limit).mean()
    assert block["distance_median"] == np.median(far)
    reference = [score for (score,) in bundle.calibration.scores]
    assert block["psi"] == population_stability(reference, [row["score"] for row in rows.values()])


def test_an_image_in_other_light_is_outside_and_everybody_is_told(run, gate, strange, tilegate, tmp_path, caplog):
    seen = run(strange, gate)
    assert seen.code == 0, seen.err
    assert seen.json["domain"]["verdict"] == "outside"
    assert seen.json["domain"]["share_beyond"] > 0.9
    (warning,) = caplog.messages
    assert "strange.tif is outside the domain of forest-gate: 100 % of 25 tiles" in warning
    assert "Trust the audit more than the gate" in warning
    page = (tmp_path / "run/report.html").read_text()
    assert "<b>A strange image.</b> It is outside the domain of forest-gate" in page
    told = tilegate("report", tmp_path / "run")
    assert told.code == 0
    assert "WARNING: the image is outside the domain of forest-gate" in told.out
    from flows.artifacts import summary_markdown  # Prefect changes how this process logs

    assert "**A strange image**: it is outside the domain of forest-gate" in summary_markdown(seen.json, "run")
    assert run(strange, gate).json == seen.json  # a finished run is read


def test_an_image_part_of_which_is_strange_is_shifted(run, gate, make_rgb, land):
    pixels = land((640, 640), seed=3)
    pixels[:, :256] = 255 - pixels[:, :256]  # two rows of tiles of five
    path = make_rgb(pixels)
    seen = run(path, gate, options=())
    assert seen.code == 0, seen.err
    assert [line.partition(":")[0] for line in seen.err.splitlines()] == ["gate", "WARNING", "segment"]
    assert "is in part outside the domain of forest-gate: 4" in seen.err
    assert "WARNING: the image is in part outside the domain of forest-gate: 4" in seen.out
    assert run(path, gate).json["domain"]["share_beyond"] == pytest.approx(0.4, abs=0.05)
    assert run(path, gate).json["domain"]["verdict"] == "shifted"


def test_a_foreign_image_can_be_refused_and_gone_on_with(run, gate, strange, tilegate, tmp_path):
    refused = run(strange, gate, "gate.outside=refuse")
    assert refused.code == 2
    assert "outside the domain of forest-gate: 100 % of 25 tiles" in refused.err
    assert "--set gate.outside=warn" in refused.err
    gated = {path: path.read_bytes() for path in (tmp_path / "run/ledger/gate").iterdir()}
    assert len(gated) == 9
    assert not (tmp_path / "run/ledger/segment").exists()
    assert not (tmp_path / "run/summary.json").exists()
    again = tilegate("resume", tmp_path / "run")
    assert (again.code, "Nothing was segmented" in again.err) == (2, True)
    plain = run(strange, gate, out="plain")
    gone_on = run(strange, gate, "gate.outside=warn")
    assert gone_on.code == 0, gone_on.err
    assert {path: path.read_bytes() for path in (tmp_path / "run/ledger/gate").iterdir()} == gated  # kept, not redone
    assert gone_on.json["fingerprint"] == plain.json["fingerprint"]
    assert gone_on.json["area"] == plain.json["area"]
    assert gone_on.json["domain"] == plain.json["domain"]


def test_an_image_inside_is_not_refused(run, gate, own):
    assert run(own, gate, "gate.outside=refuse").json["domain"]["verdict"] == "inside"


def test_a_gate_without_a_domain_is_not_judged_and_can_refuse_nothing(run, gate, own, tmp_path):
    drop_domain(gate)
    seen = run(own, gate)
    assert seen.code == 0, seen.err
    block = seen.json["domain"]
    assert set(block) == KEYS
    assert (block["verdict"], block["tiles"], block["share_beyond"], block["limit"]) == ("not judged", 0, None, None)
    assert block["reasons"] == [f"forest-gate ({gate}) holds no domain: it was written without one"]
    assert pq.read_table(tmp_path / "run/tiles.parquet")["distance"].null_count == 30
    seen = run(own, gate, "gate.outside=refuse", out="other")
    assert seen.code == 2
    assert "gate.outside = refuse, but forest-gate" in seen.err
    assert not (tmp_path / "other").exists()


def drop_domain(gate):
    """As bundles of before are."""
    values = json.loads((gate / "bundle.json").read_text())
    del values["tilegate:domain"]
    (gate / "bundle.json").write_text(json.dumps(values))


def test_a_rule_is_not_judged(make_scene, measure):
    summary = measure(make_scene())
    assert summary["domain"]["verdict"] == "not judged"
    assert summary["domain"]["reasons"][0].startswith("ndwi is a rule")
    with pytest.raises(BadInput, match="refuse, but ndwi is a rule"):
        measure(make_scene(), "gate.outside=refuse", out="other")


def test_an_image_without_data_is_not_judged(run, gate, make_rgb, land):
    path = make_rgb(np.zeros((3, 300, 300), np.uint8))
    with_nodata = ("--json", "--nodata", "0")
    seen = run(path, gate, "gate.outside=refuse", options=with_nodata)
    assert seen.code == 0, seen.err
    assert seen.json["tiles"]["empty"] == seen.json["tiles"]["total"]
    assert seen.json["domain"]["reasons"] == ["no tile was scored that forest-gate could be judged on"]


def test_tiles_with_little_data_are_scored_and_not_judged(run, gate, make_rgb, land, tmp_path):
    """A sixteenth of the last tile holds data."""
    pixels = land((512, 512), seed=4)
    pixels[:, 384:, 384:] = 0
    pixels[:, 384:416, 384:416] = 60
    seen = run(make_rgb(pixels), gate, options=("--json", "--nodata", "0"))
    rows = {(row["row"], row["col"]): row for row in pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()}
    assert rows[3, 3]["score"] is not None
    assert rows[3, 3]["distance"] is None
    assert seen.json["domain"]["tiles"] == 15


def test_a_gate_that_changed_after_the_plan_is_noticed(gate):
    sha256 = load_bundle(gate, gate).contract_sha256
    assert _bundle(str(gate), sha256).domain is not None
    _bundle.cache_clear()
    drop_domain(gate)
    with pytest.raises(BadInput, match="was changed after the run was planned"):
        _bundle(str(gate), sha256)


def test_a_summary_of_before_there_were_domains_is_still_true(run, gate, own, tilegate, tmp_path):
    run(own, gate)
    path = tmp_path / "run/summary.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "domain"}
    path.write_text(json.dumps(old))
    assert is_true(Run.open(tmp_path / "run"), old)
    told = tilegate("report", tmp_path / "run")
    assert told.code == 0
    assert "domain" not in told.out


@pytest.mark.parametrize(
    ("shape", "dtype", "changes", "message"),
    [
        ((3, 300, 300), "uint16", ("segment.model=tissue",), "holds uint16 values; forest-gate was trained on uint8"),
        ((3, 300, 300), "uint16", ("gate.model=tissue",), "holds uint16 values; forest-unet was trained on uint8"),
        ((1, 300, 300), "uint8", (), "recipe forest needs band red and green and blue"),
        ((3, 300, 300), "uint8", ("gate.downsample=2",), "forest-gate would see pixels of 20 x 20 m"),
        ((3, 300, 300), "uint8", ("tile.pixel_size=13",), "forest-unet would see pixels of 1"),
    ],
)
def test_what_models_were_not_made_for_is_refused(run, make_rgb, tmp_path, shape, dtype, changes, message):
    """Of the gate and of the segmenter each alone, before anything is written."""
    seen = run(make_rgb(np.full(shape, 40, dtype)), "forest-gate", *changes)
    assert seen.code == 2
    assert message in seen.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [("segment.model=tissue",), ("gate.model=tissue",)], ids=["gate", "segmenter"])
def test_a_slide_is_nothing_for_models_of_metres(run, tmp_path, changes):
    path = tmp_path / "slide.tif"
    pixels = np.full((512, 512, 3), 200, "uint8")
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3)
    seen = run(path, "forest-gate", *changes)
    assert seen.code == 2
    assert "would see pixels of" in seen.err
    assert "um; it is valid for 0.8 to 1.25 times" in seen.err
    assert not (tmp_path / "run").exists()
