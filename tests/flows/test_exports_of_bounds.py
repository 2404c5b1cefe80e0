"""What was scanned of a slide lies where it lies on the whole slide, in every export that has words for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from openslide import OpenSlide

from flows.engine import LocalEngine
from flows.export.command import export_run
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from storage.plan import RunPlan, from_json, to_json
from storage.run import Run
from tiling.info import PixelSize
from tiling.source import SourceSpec

MPP = (0.5, 0.4)
CORNER = (66, 130)
BLOT = (160, 288, 260, 455)
"""Rows and columns, from and to, px of the whole slide: its middle is at row 224, column 357.5. Edges of pixels of 1 um, too."""
MIDDLE_UM = (224 * 0.5, 357.5 * 0.4)


@pytest.fixture(params=[(), ("tile.pixel_size=1.0",)], ids=["native", "coarser"])
def scanned(
    request: pytest.FixtureRequest, tiny_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A run over the bounds of a slide with one blot. Only scanners state bounds: they are added to its properties."""
    rgb = np.full((600, 700, 3), 240, np.uint8)
    rgb[BLOT[0] : BLOT[1], BLOT[2] : BLOT[3]] = (170, 60, 120)
    path = tiny_slide(rgb, mpp=MPP)
    stated = {"y": CORNER[0], "x": CORNER[1], "height": 500, "width": 550}
    with OpenSlide(path) as opened:
        properties = dict(opened.properties) | {f"openslide.bounds-{key}": str(v) for key, v in stated.items()}
    monkeypatch.setattr(OpenSlide, "properties", properties)
    recipe = load_recipe("tissue", ("tile.size_px=128", "tile.batch=2", "gate.downsample=4", *request.param))
    execute(make_plan(SourceSpec(uris=(str(path),)), recipe), tmp_path / "run", LocalEngine(1), Silent())
    return tmp_path / "run"


def middle(held: NDArray[Any]) -> NDArray[np.float64]:
    """Mean index (y, x) of what is True."""
    return np.asarray(np.argwhere(held).mean(0))


def test_every_level_of_ngff_shows_the_blot_where_it_is_on_the_slide(scanned: Path) -> None:
    """OME-NGFF 0.5: index x scale + translation is the middle of a pixel, and that of the finest first pixel is the origin."""
    root = zarr.open_group(export_run(str(scanned), "ngff").path, mode="r", zarr_format=3)
    fine_um = np.array(root.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][1:])
    for group, pixels in ((root, lambda a: a[1] < 150), (root["labels/tissue"], lambda a: a == 1)):
        levels = group.attrs["ome"]["multiscales"][0]["datasets"]
        assert len(levels) >= 2
        for level in levels:
            scale, moved = level["coordinateTransformations"]
            assert (scale["type"], moved["type"]) == ("scale", "translation")
            held = pixels(np.where(group[level["path"]][...] == 0, 255, group[level["path"]][...]))
            index = middle(held)
            place = index * scale["scale"][-2:] + moved["translation"][-2:]
            assert place + fine_um / 2 == pytest.approx(MIDDLE_UM, abs=max(scale["scale"][-2:]))
            assert moved["translation"][:-2] == [0.0] * (len(moved["translation"]) - 2)
    first = root.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][1]["translation"]
    assert first == [0, 66 * 0.5, 130 * 0.4]


def test_the_store_of_the_run_says_it_too(scanned: Path) -> None:
    """Read as plain JSON: transforms of the spatial convention go from edges of pixels to um from the slide's corner."""
    said = json.loads((scanned / "run.zarr/zarr.json").read_text())["attributes"]
    mask = json.loads((scanned / "run.zarr/mask/0/zarr.json").read_text())["attributes"]
    assert said["spatial:bbox"] == pytest.approx([52, 33, 52 + 550 * 0.4, 33 + 500 * 0.5])
    assert mask["spatial:bbox"] == said["spatial:bbox"]
    assert [entry["name"] for entry in mask["zarr_conventions"]] == ["spatial"]
    assert not any(key.startswith("proj:") for key in said)
    a, b, c, d, e, f = mask["spatial:transform"]
    y, x = middle(np.asarray(Run.open(scanned).array("mask/0")) == 1) + 0.5
    assert (d * x + e * y + f, a * x + b * y + c) == pytest.approx(MIDDLE_UM)
    for level in said["multiscales"]["layout"]:
        assert level["spatial:transform"][2::3] == [52, 33]
    ome = said["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert ome[1]["translation"] == [0, 33, 52]


def test_the_plane_of_an_ome_tiff_has_a_position(scanned: Path) -> None:
    with tifffile.TiffFile(export_run(str(scanned), "ome-tiff").path) as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        held = file.series[0].asarray() == 1
    plane = pixels["Plane"]
    assert (plane["PositionY"], plane["PositionX"]) == pytest.approx((33, 52))
    assert plane["PositionXUnit"] == plane["PositionYUnit"] == "µm"
    size = np.array([pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]])
    assert (middle(held) + 0.5) * size + [plane["PositionY"], plane["PositionX"]] == pytest.approx(MIDDLE_UM)


def test_frames_of_a_dicom_segmentation_lie_where_they_are_on_the_slide(scanned: Path) -> None:
    """In mm: a pixel of a frame is at the frame's offset, rows and columns apart by the spacing."""
    file = pydicom.dcmread(export_run(str(scanned), "dicom-seg").path)
    (frame,) = file.PerFrameFunctionalGroupsSequence
    (place,), (measures,) = (
        frame.PlanePositionSlideSequence,
        file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence,
    )
    assert (place.RowPositionInTotalImagePixelMatrix, place.ColumnPositionInTotalImagePixelMatrix) == (1, 1)
    offset = [float(place.YOffsetInSlideCoordinateSystem), float(place.XOffsetInSlideCoordinateSystem)]
    assert offset == pytest.approx([0.033, 0.052])
    (origin,) = file.TotalPixelMatrixOriginSequence
    assert float(origin.YOffsetInSlideCoordinateSystem) == pytest.approx(0.033)
    spacing = np.array([float(mm) for mm in measures.PixelSpacing])
    found = (middle(file.pixel_array.reshape(512, 512) == 1) + 0.5) * spacing + offset
    assert found * 1000 == pytest.approx(MIDDLE_UM)


def test_plans_of_before_are_the_same_runs_and_say_nothing(tiny_plan: Callable[..., RunPlan]) -> None:
    image = replace(
        tiny_plan().image, kind="slide", transform=None, crs=None, pixel_size=PixelSize(y=1, x=1, unit="um")
    )
    plan = tiny_plan(image=replace(image, origin_px=CORNER))
    assert from_json(to_json(plan)) == plan
    old = to_json(plan)
    del old["image"]["origin_px"]
    assert from_json(old).image.origin_px == (0, 0)
    assert from_json(old).fingerprint == plan.fingerprint
