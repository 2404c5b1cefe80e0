"""The area of tissue beside the area of glass: what a share of a slide is a share of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.ndimage import gaussian_filter

from flows.artifacts import summary_markdown
from flows.console import summary_text
from flows.display import area_text
from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec

MPP = (0.5, 0.4)


@pytest.fixture
def slide(tiny_slide: Callable[..., Path]) -> tuple[Path, int]:
    """White glass with pink blobs; and the pixels of pink."""
    blobs = gaussian_filter(np.random.default_rng(4).normal(size=(300, 420)), 16) > 0.01
    pixels = np.where(blobs[..., None], np.array([220, 120, 170]), 245).astype(np.uint8)
    return tiny_slide(pixels, MPP), int(blobs.sum())


def measured(path: Path, out: Path, recipe: str, *changes: str) -> Any:
    recipe_ = load_recipe(recipe, ("tile.size_px=64", "tile.batch=2", *changes))
    return execute(make_plan(SourceSpec(uris=(str(path),)), recipe_), out, LocalEngine(2), Silent())


@pytest.mark.parametrize(("downsample", "off"), [(1, 0.001), (4, 0.13)])
def test_tissue_is_told_beside_the_glass(slide: tuple[Path, int], tmp_path: Path, downsample: int, off: float) -> None:
    """Whatever is looked for: here brown. Coarse pixels are mixed at the edges of these small blobs, and count as tissue."""
    path, pink = slide
    summary = measured(path, tmp_path / "run", "dab", f"gate.downsample={downsample}")
    area = summary["area"]
    assert area["tissue"] == pytest.approx(pink * MPP[0] * MPP[1], rel=off)
    assert area["image"] == pytest.approx(300 * 420 * MPP[0] * MPP[1], rel=1e-3)
    assert 0 < area["tissue"] < area["observed"] <= area["image"]
    assert "are tissue; areas slide-mpp" in summary_text(summary, "run", [])
    assert "<td>tissue<td" in (tmp_path / "run" / "report.html").read_text()
    tiles = pq.read_table(tmp_path / "run" / "tiles.parquet").column("tissue_area").to_pylist()
    assert sum(tiles) == pytest.approx(area["tissue"], rel=1e-12)


def test_tiles_the_screen_leaves_out_have_their_tissue_counted(slide: tuple[Path, int], tmp_path: Path) -> None:
    path, _ = slide
    changes = ("gate.downsample=1", "audit.tiles=0")
    whole = measured(path, tmp_path / "whole", "tissue", *changes)
    part = measured(path, tmp_path / "part", "tissue", "screen.min_tissue=0.9", *changes)
    assert part["tiles"]["empty"] > 0
    assert part["area"]["tissue"] == whole["area"]["tissue"]
    assert whole["area"]["tissue"] == pytest.approx(whole["area"]["classes"][0]["mapped"], rel=1e-3)


def test_more_stain_than_tissue_is_told(tiny_slide: Callable[..., Path], tmp_path: Path) -> None:
    """Grey pen beside a little pink tissue: dab takes the pen for stain, and everybody is told both areas."""
    pixels = np.full((300, 420, 3), 245, np.uint8)
    pixels[40:100, 50:110] = (220, 120, 170)
    pixels[160:250, 60:360] = 70
    summary = measured(tiny_slide(pixels, MPP), tmp_path / "run", "dab", "gate.downsample=1", "area.unit=um2")
    area, pixel = summary["area"], MPP[0] * MPP[1]
    assert area["classes"][0]["mapped"] == pytest.approx(90 * 300 * pixel, rel=0.02)
    assert area["tissue"] == pytest.approx(60 * 60 * pixel, rel=0.02)
    assert area["more_than_tissue"] == ["dab"]
    page = (tmp_path / "run" / "report.html").read_text()
    for told in (summary_text(summary, "run", []), page, summary_markdown(summary, "run")):
        assert f"dab has {area_text(area['classes'][0]['mapped'], summary)}, more than the" in told
        assert f"{area_text(area['tissue'], summary)} of tissue" in told
        assert "pen marks, dust or shadows" in told


def test_stain_in_tissue_and_tissue_itself_are_not_told(tiny_slide: Callable[..., Path], tmp_path: Path) -> None:
    pixels = np.full((300, 420, 3), 245, np.uint8)
    pixels[40:200, 50:300] = (220, 120, 170)
    pixels[60:160, 80:200] = (110, 60, 20)
    path = tiny_slide(pixels, MPP)
    for recipe, downsample in (("dab", 1), ("dab", 8), ("tissue", 1), ("tissue", 8)):
        summary = measured(path, tmp_path / f"{recipe}{downsample}", recipe, f"gate.downsample={downsample}")
        assert summary["area"]["classes"][0]["mapped"] > 0
        assert "more_than_tissue" not in summary["area"]
        assert "More than there is tissue" not in (tmp_path / f"{recipe}{downsample}" / "report.html").read_text()


def test_land_has_no_tissue(make_scene: Callable[..., Any], measure: Callable[..., Any]) -> None:
    summary = measure(make_scene((40, 40)))
    assert summary["area"]["tissue"] is None
    assert "tissue" not in summary_text(summary, "run", [])
