"""The same summary and the same mask, to the bit, however many threads and spans do the work."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

import flows.pipeline
from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec

CHANGES = ("tile.size_px=128", "tile.halo_px=32", "tile.batch=2", "audit.tiles=7")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Bright and dark patches that the forest models cut into some positives and some negatives."""
    rng = np.random.default_rng(5)
    patches = np.kron(rng.integers(0, 2, (7, 6)), np.ones((128, 128), int))[:870, :730]
    pixels = np.stack([np.where(patches, base, 3 * base) for base in (30, 40, 32)]) + rng.integers(0, 12, (3, 870, 730))
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    place = rasterio.transform.from_origin(500_000, 9_700_000, 10, 10)
    with rasterio.open(path, "w", "GTiff", 730, 870, 3, "EPSG:32721", place, "uint8", photometric="RGB") as file:
        file.write(pixels.astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def gate(scene, write_gate, tmp_path_factory):
    """One that looks how far each tile is from its domain."""
    with rasterio.open(scene) as file:
        return write_gate(tmp_path_factory.mktemp("gates") / "gate", file.read())


@pytest.fixture(scope="module")
def threshold(scene, gate, tmp_path_factory):
    """Half of the tiles pass it."""
    out = tmp_path_factory.mktemp("scores") / "run"
    outcome(scene, gate, out, 1, 1.0)
    return float(np.median(pq.read_table(out / "tiles.parquet")["score"].to_numpy()))


def outcome(scene, gate, out, workers, threshold):
    """(summary without seconds, every file of the store and every table by name)."""
    changes = (*CHANGES, f"gate.model={gate}", f"gate.threshold={threshold!r}")
    plan = make_plan(SourceSpec(uris=(str(scene),)), load_recipe("forest", changes))
    summary = execute(plan, out, LocalEngine(workers), Silent())
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and ("c" in path.parts or path.suffix in {".csv", ".png"} or path.name == "tiles.parquet")
    }
    return json.dumps(summary | {"seconds": None}, sort_keys=True), files


@pytest.mark.parametrize(("workers", "gate_tiles", "segment_tiles"), [(4, 4096, 64), (1, 1, 1), (3, 5, 2)])
def test_threads_and_spans_change_nothing(
    scene, gate, threshold, tmp_path, monkeypatch, workers, gate_tiles, segment_tiles
):
    wanted = outcome(scene, gate, tmp_path / "one", 1, threshold)
    tiles = json.loads(wanted[0])["tiles"]
    assert tiles["positive"] > 5
    assert tiles["negative"] > 5
    assert json.loads(wanted[0])["domain"]["tiles"] == tiles["total"]
    monkeypatch.setattr(flows.pipeline, "GATE_TILES_PER_SPAN", gate_tiles)
    monkeypatch.setattr(flows.pipeline, "SEGMENT_TILES_PER_SPAN", segment_tiles)
    found = outcome(scene, gate, tmp_path / "other", workers, threshold)
    assert found[0] == wanted[0]
    assert found[1].keys() == wanted[1].keys()
    assert [name for name in wanted[1] if found[1][name] != wanted[1][name]] == []
