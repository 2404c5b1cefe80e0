"""The pure parts of the benchmarks at tiny size; nothing is timed here, and no benchmark runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from bench_goals import goals, ideals, series
from bench_images import Scene, make_images, make_scene, paint
from bench_process import CommandFailed, measure, pss_bytes, tree
from bench_repeated import write
from bench_runs import plain_rounds_after, threshold_for, thresholds
from bench_session import Session
from bench_table import rows, table
from bench_timing import interleave, median, ratio, spread
from plain_loop import spread_over

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(1024)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_images(tmp_path_factory.mktemp("images"), 1024)


def test_nuclei_lie_on_tissue_and_are_dark(scene: Scene) -> None:
    colours, nuclei = paint(scene, 0, 0)
    assert colours.shape == (1024, 1024, 3)
    assert 0.01 < nuclei.mean() < 0.2
    red = colours[..., 0].astype(int)
    assert red[nuclei].mean() < red[~nuclei].mean() - 50
    assert np.array_equal(paint(scene, 0, 0)[0], colours)  # the same every time


def test_slide_and_cog_hold_the_scene(scene: Scene, images: dict[str, Path]) -> None:
    import openslide
    import rasterio

    colours, _ = paint(scene, 0, 0)
    with rasterio.open(images["cog"]) as cog:
        assert np.array_equal(cog.read().transpose(1, 2, 0), colours)
        assert (cog.block_shapes[0], cog.crs.to_epsg(), cog.res) == ((512, 512), 32633, (0.5, 0.5))
        assert cog.overviews(1) == [2]
    slide = openslide.OpenSlide(images["slide"])
    assert slide.level_dimensions == ((1024, 1024), (512, 512))
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
    seen = np.asarray(slide.read_region((0, 0), 0, (1024, 1024)).convert("RGB")).astype(int)
    assert np.abs(seen - colours).mean() < 6  # JPEG


def test_a_repeated_slide_repeats_its_patch_on_every_level(scene: Scene, tmp_path: Path) -> None:
    import openslide

    colours, _ = paint(scene, 0, 0)
    with (tmp_path / "repeated.tif").open("wb") as file:
        write(file, colours, 8192)
    assert (tmp_path / "repeated.tif").stat().st_size < 1e6
    slide = openslide.OpenSlide(tmp_path / "repeated.tif")
    assert slide.level_dimensions == tuple((8192 >> k, 8192 >> k) for k in range(5))
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
    for level in range(5):
        patches = [slide.read_region((x, 3 * 1024), level, (64, 64)).tobytes() for x in (0, 4096)]
        assert len(set(patches)) == 1
    for level in (0, 2):
        side = 1024 >> level
        seen = np.asarray(slide.read_region((1024, 0), level, (side, side)).convert("RGB"), float)
        truth = colours.reshape(side, 1 << level, side, 1 << level, 3).mean((1, 3))
        assert np.abs(seen - truth).mean() < 6  # JPEG


@pytest.mark.parametrize("kind", ["slide", "cog"])
def test_the_plain_loop_counts_what_one_line_of_numpy_counts(kind: str, images: dict[str, Path]) -> None:
    import openslide
    import rasterio
    import torch
    from plain_loop import BATCH, Tiles, look_at, segment, tensor
    from torch.utils.data import DataLoader

    darker = torch.nn.Conv2d(3, 1, 1)  # the simplest network: 1 where the mean of the bands is below its mean
    with torch.no_grad():
        darker.weight.fill_(-1.0), darker.bias.fill_(0.0)
    shape_px, georeferenced = look_at(images[kind])
    assert (shape_px, georeferenced) == ((1024, 1024), kind == "cog")
    mask = np.zeros(shape_px, np.uint8)
    loader = DataLoader(Tiles(images[kind], shape_px, georeferenced), batch_size=BATCH)
    pixels = segment(darker, loader, tensor("190.5,190.5,190.5"), tensor("50,50,50"), mask)
    if kind == "cog":
        with rasterio.open(images[kind]) as cog:
            colours = cog.read().transpose(1, 2, 0)
    else:
        colours = np.asarray(openslide.OpenSlide(images[kind]).read_region((0, 0), 0, shape_px).convert("RGB"))
    truth = colours.astype(int).sum(axis=-1) < 3 * 190.5
    assert 0.05 < truth.mean() < 0.95
    assert np.array_equal(mask, truth)
    assert pixels == truth.sum()


def test_thresholds_let_the_wanted_number_pass() -> None:
    scores = np.random.default_rng(0).random(1000).tolist()
    for wanted in (1, 20, 500):
        assert sum(score >= threshold_for(scores, wanted) for score in scores) == wanted
    assert list(thresholds(scores, (2, 50))) == ["none", "2", "50", "all"]


def test_plain_rounds_are_spread_over_the_session() -> None:
    for rounds, plain in ((1, 1), (3, 1), (3, 2), (3, 3), (2, 5)):
        assert [n for i in range(rounds) for n in plain_rounds_after(i, rounds, plain)] == list(range(plain))
    assert plain_rounds_after(1, 3, 1) == [0]
    assert spread_over(10, 3) == [0, 3, 6]
    assert spread_over(2, 5) == [0, 1]


def test_medians_and_ratios() -> None:
    assert median([3, 1, 2]) == 2
    assert ratio([10, 20, 90], [1, 2, 3]) == 10  # round by round
    assert ratio([30], [1, 2, 3]) == 15  # of unequal rounds, the medians
    assert spread([2.0, 1.0, 4.0]) == "2.00 [1.00-4.00]"


def test_rounds_are_interleaved_and_the_first_is_not_counted() -> None:
    calls: list[str] = []
    seconds = interleave({name: (lambda n=name: calls.append(n)) for name in "ab"}, 2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_process_is_measured_with_its_children() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytearray(80_000_000); import time; time.sleep(1)'])"
    done = measure([sys.executable, "-c", child])
    assert done.peak_bytes > 80e6
    assert done.code == 0
    assert os.getpid() in tree(os.getpid())
    assert pss_bytes(os.getpid()) > 1e6
    with pytest.raises(CommandFailed, match="exit code 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(CommandFailed, match=r"(?s)not done after 1 s.*most recent call first"):
        measure([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=1)


def test_a_session_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    session = Session(path, {"size_px": 1})
    assert session.measure("a", lambda: {"wall_s": 1.0})
    assert session.measure("b", lambda: {"wall_s": 1 / 0}) is None
    assert "ZeroDivisionError" in json.loads(path.read_text())["measurements"]["b"]["error"]
    again = Session(path, {"size_px": 1})
    assert again.measure("a", lambda: {"wall_s": 2.0})["wall_s"] == 1.0
    assert again.measure("b", lambda: {"wall_s": 2.0})["wall_s"] == 2.0  # what failed is tried again
    assert Session(path, {"size_px": 2}).measurements == {}
    assert (tmp_path / "bench.older.json").exists()


def run_of(wall_s: float, positive: int, gate_s: float, segment_s: float, **more: object) -> dict[str, object]:
    stages = {"gate": gate_s, "segment": segment_s}
    return {
        "wall_s": wall_s, "cpu_s": wall_s, "peak_bytes": 5e8, "positive": positive, "tiles": 1000, "pixels": 1000,
        "stage_s": stages, "runtimes": {"gate": "torch"}, "load_before": 0.1,
    } | more  # fmt: skip


MEASURED = {
    "gate/slide": {"tiles": 1000},
    "runs/slide/none/round-1": run_of(3.0, 0, 1.0, 0.0),
    "runs/slide/10/round-1": run_of(8.0, 100, 1.0, 5.0),
    "runs/slide/all/round-1": run_of(53.0, 1000, 1.0, 50.0),
    "plain/slide/round-1": {"wall_s": 500.0, "cpu_s": 900.0, "peak_bytes": 2e9, "pixels": 1001, "load_before": 0.1},
    "inside/slide": {"whole_s": [2.0], "bare_s": [1.9], "stages_s": [1.95], "whole_cpu_s": [2.0], "bare_cpu_s": [1.5]},
    "same/slide/workers-1": {"summary_sha256": "a", "shards": "b", "peak_bytes": 1},
    "same/slide/workers-4": {"summary_sha256": "a", "shards": "c", "peak_bytes": 1},
    "size/8192/some/round-1": run_of(3.0, 8, 1.0, 0.0, peak_bytes=5.0e8),
    "size/65536/some/round-1": run_of(3.0, 8, 1.0, 0.0, peak_bytes=6.0e8),
    "stages/decode-slide": {"unit": "MB", "units": 10, "seconds": {"openslide": [1.0], "tilegate": [0.1]}},
    "runs/cog/all/round-1": {"error": "it did not work"},
}


def data_of(measured: dict[str, dict[str, object]]) -> dict[str, object]:
    machine = {
        "cpu": "some",
        "cores": 2,
        "flags": ["amx_bf16"],
        "ram_gb": 8,
        "os": "Linux",
        "python": "3",
        "packages": {},
    }
    return {"machine": machine | {"commit": "abc"}, "settings": {}, "started": "now", "measurements": measured}


def test_goals_are_judged_by_their_figures() -> None:
    found = {goal.name: goal for goal in goals(data_of(MEASURED))}
    everything = found["slide: segment everything (with AMX) vs the plain loop"]
    assert (everything.found, everything.met) == ("9.4x", True)
    assert found["slide: 10 % positive vs the plain loop"].found == "62.5x"
    assert found["slide: 5 % positive vs the plain loop"].met is None
    assert found["slide: orchestration + storage of a gated run at 5 %"].met is True  # 1 - 1.9 / 2
    assert found["slide: same summary and mask for 1 or 4 threads and any spans"].met is False
    assert found["slide: pixels of segment-everything vs the plain loop"].met is True
    assert found["peak memory flat from 8k to 64k px a side"].met is False  # 20 %
    assert found["reading dense JPEG tissue vs openslide, one core"].found == "10.0x"


def test_the_ideal_is_that_of_the_formula() -> None:
    (row,) = ideals(MEASURED, "slide")
    assert row["c"] == pytest.approx(1.0 / 50.0)
    assert row["ideal_x"] == pytest.approx(1 / (0.02 + 0.1))
    assert row["expected_s"] == pytest.approx(3 + 0.1 * 50)
    assert row["efficiency"] == pytest.approx(1.0)
    assert row["stages_x"] == pytest.approx(50 / 6)
    assert series(MEASURED, "runs/cog/all") == []


def test_the_table_says_it_all_and_what_failed() -> None:
    text = table(data_of(MEASURED))
    assert "| slide: 10 % positive vs the plain loop | >= 60x | 62.5x | yes |" in text
    assert "- runs/cog/all/round-1: it did not work" in text
    assert "**no**" in text
    assert rows(("a", "b"), [(1, 2)])[1:4] == ["| a | b |", "|---|---|", "| 1 | 2 |"]
    assert rows(("a",), []) == []
    assert table(data_of({}))  # before anything was measured
