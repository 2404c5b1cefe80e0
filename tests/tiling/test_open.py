"""Slide or raster, and clear words for what is neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.plan import RunPlan, from_json, to_json
from tiling.errors import BadInput
from tiling.info import PixelSize
from tiling.open import open_source
from tiling.raster import RasterSource
from tiling.slide import SlideSource
from tiling.source import SourceSpec

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RGB = np.full((128, 128, 3), 200, np.uint8)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}


def spec(*paths: object, **options: object) -> SourceSpec:
    return SourceSpec(uris=tuple(map(str, paths)), **options)


def test_a_tiled_tiff_is_a_slide_unless_it_has_a_place(
    tiny_slide: Callable[..., Path], tiny_raster: Callable[..., Path]
) -> None:
    assert isinstance(open_source(spec(tiny_slide(RGB))), SlideSource)
    place = tiny_raster(RGB.transpose(2, 0, 1), photometric="RGB", **TILED)
    assert isinstance(open_source(spec(place)), RasterSource)


def test_metres_by_hand_make_a_raster_of_it(tiny_slide: Callable[..., Path]) -> None:
    path = tiny_slide(RGB)
    assert open_source(spec(path, pixel_size=PixelSize(y=0.1, x=0.1, unit="m"))).info.kind == "raster"
    assert open_source(spec(path, pixel_size=PixelSize(y=0.1, x=0.1, unit="um"))).info.kind == "slide"


@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint16"), (1, "float32"), (5, "uint8")])
def test_pixels_that_openslide_would_squeeze_into_8_bit_rgb_stay_as_they_are(
    tiny_raster: Callable[..., Path], bands: int, dtype: str
) -> None:
    path = tiny_raster(np.ones((bands, 128, 128), dtype), crs=None, transform=None, **TILED)
    info = open_source(spec(path, pixel_size=PixelSize(y=0.5, x=0.5, unit="um"))).info
    assert (info.dtype, len(info.bands), info.kind) == (dtype, bands, "slide")


def test_who_decodes_the_pixels_is_recorded(
    tiny_slide: Callable[..., Path], tiny_raster: Callable[..., Path], tiny_plan: Callable[..., RunPlan]
) -> None:
    """In the plan and its fingerprint; a plan from before says nothing of it and can still be read."""
    readers = {
        "jpeg": tiny_slide(RGB, compression="jpeg", name="a.tif"),
        "openslide": tiny_slide(RGB, name="b.tif"),
        "gdal": tiny_raster(RGB[..., 0], "c.tif"),
    }
    assert {reader: open_source(spec(path)).info.reader for reader, path in readers.items()} == {r: r for r in readers}
    plan = tiny_plan()
    other = replace(plan, image=replace(plan.image, reader="jpeg"))
    assert plan.differences(other) == ["image.reader:  -> jpeg"]
    old = to_json(plan)
    del old["image"]["reader"]
    assert from_json(old) == plan


def test_several_files_are_rasters_and_file_urls_are_paths(tiny_raster: Callable[..., Path]) -> None:
    a, b = tiny_raster(RGB[..., 0], "a.tif", **TILED), tiny_raster(RGB[..., 1], "b.tif", **TILED)
    source = open_source(spec(f"file://{a}", b))
    assert isinstance(source, RasterSource)
    assert source.info.bands == ("a", "b")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "notes.txt").write_text("no pixels here")
    for name, said in {
        "nowhere.tif": "does not exist",
        "": "is a directory",
        "empty.tif": "0 bytes",
        "notes.txt": "cannot be opened as an image",
    }.items():
        with pytest.raises(BadInput, match=said) as caught:
            open_source(spec(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value)
