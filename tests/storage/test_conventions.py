"""What run.zarr says of itself, held against rasterio, pyproj and the words of the specifications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from affine import Affine
from pyproj import CRS
from rasterio.transform import array_bounds

from storage.conventions import crs_attributes, root_attributes
from storage.plan import RunPlan
from storage.run import Run
from tiling.info import PixelSize

MakePlan = Callable[..., RunPlan]
Check = Callable[[Any], None]


@pytest.mark.parametrize("gate_tile_px", [4, 16, 5], ids=["two planes", "one plane", "factor 3.2"])
def test_a_run_opens_as_what_it_claims(
    tiny_plan: MakePlan, tmp_path: Path, gate_tile_px: int, require_ngff: Check, require_conventions: Check
) -> None:
    plan = tiny_plan(gate_tile_px=gate_tile_px)
    Run.create(tmp_path / "run", plan)
    group = zarr.open_group(tmp_path / "run" / "run.zarr", mode="r", zarr_format=3)
    require_ngff(group)
    require_conventions(dict(group.attrs))
    for level in group.attrs["multiscales"]["layout"]:
        array = group[level["asset"]]
        assert list(array.shape[-2:]) == level["spatial:shape"]
        require_conventions(dict(array.attrs))
        assert array.attrs["spatial:transform"] == level["spatial:transform"]
    mask = dict(group["mask/0"].attrs)
    require_conventions(mask)
    assert mask["tilegate:classes"] == ["background", "water", "ice"]
    bounds = array_bounds(100, 140, plan.image.transform)  # rasterio, of the image
    assert mask["spatial:bbox"] == group.attrs["spatial:bbox"] == pytest.approx(bounds)


def test_the_same_place_has_the_same_coordinates_on_both_planes(tiny_plan: MakePlan) -> None:
    said = root_attributes(tiny_plan())
    fine, gate = (Affine(*level["spatial:transform"]) for level in said["multiscales"]["layout"])
    assert fine @ (8, 8) == gate @ (2, 2) == (500_000 + 160, 5_000_000 - 160)
    steps = [dataset["coordinateTransformations"] for dataset in said["ome"]["multiscales"][0]["datasets"]]
    assert len(steps[0]) == 1
    scale, moved = steps[1]
    middle_of_gate_pixel_0 = 0 * np.array(scale["scale"]) + moved["translation"]
    middle_of_fine_pixels_0_to_3 = np.mean([0, 20, 40, 60])  # 20 m apart, the first at 0
    assert list(middle_of_gate_pixel_0) == [0, middle_of_fine_pixels_0_to_3, middle_of_fine_pixels_0_to_3]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32633", "ESRI:54009", "+proj=laea +lat_0=10 +lon_0=20 +units=m"])
def test_the_crs_comes_back_and_wkt2_is_wkt2(crs: str) -> None:
    old = CRS.from_user_input(crs).to_wkt("WKT1_GDAL")  # what rasterio hands over
    said = crs_attributes(old)
    assert said["proj:wkt2"].startswith(("PROJCRS[", "GEOGCRS["))
    assert CRS.from_wkt(said["proj:wkt2"]).equals(CRS.from_user_input(old), ignore_axis_order=True)
    assert ("proj:code" in said) == crs.startswith(("EPSG", "ESRI"))


def test_slides_have_a_place_and_no_crs(tiny_plan: MakePlan, tmp_path: Path, require_ngff: Check) -> None:
    image = tiny_plan().image
    slide = replace(image, kind="slide", transform=None, crs=None, pixel_size=PixelSize(y=0.5, x=0.25, unit="um"))
    Run.create(tmp_path / "run", tiny_plan(image=slide))
    group = zarr.open_group(tmp_path / "run" / "run.zarr", mode="r")
    require_ngff(group)
    assert not any(key.startswith("proj:") for key in group.attrs)
    assert group.attrs["ome"]["multiscales"][0]["axes"][1]["unit"] == "micrometer"
    assert group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] == [1, 1, 0.5]
    assert group.attrs["spatial:bbox"] == [0, 0, 140 * 0.25, 100 * 0.5]
    assert group["mask/0"].attrs["spatial:transform"] == [0.5, 0, 0, 0, 1, 0]  # half as fine as the slide


def test_bare_pixels_lie_nowhere(tiny_plan: MakePlan) -> None:
    bare = tiny_plan(image=replace(tiny_plan().image, transform=None, crs=None))
    assert set(root_attributes(bare)) == {"ome"}


def test_a_run_of_before_is_opened_and_gets_the_new_words_when_it_goes_on(
    tiny_plan: MakePlan, tmp_path: Path, require_conventions: Check
) -> None:
    plan = tiny_plan()
    run = Run.create(tmp_path / "run", plan)
    written = run.write_mask(plan.grid.batch(0, 0), {(0, 0): np.ones((16, 16), np.uint8)})
    root = zarr.open_group(tmp_path / "run" / "run.zarr", mode="r+")
    own = root.attrs["tilegate"]
    root.attrs.put({"tilegate": own, "zarr_conventions": [{"name": "spatial:", "version": "0.1"}]})
    root["mask/0"].attrs.put({})
    assert Run.open(tmp_path / "run").plan == plan
    assert Run.open(tmp_path / "run").array("mask/0")[0, 0] == 1
    again = Run.create(tmp_path / "run", plan)
    group = zarr.open_group(tmp_path / "run" / "run.zarr", mode="r")
    require_conventions(dict(group.attrs))
    require_conventions(dict(group["mask/0"].attrs))
    assert again.array("mask/0")[:16, :16].all()
    assert written == again.write_mask(plan.grid.batch(0, 0), {(0, 0): np.ones((16, 16), np.uint8)})
