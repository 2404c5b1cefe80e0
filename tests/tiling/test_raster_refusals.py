"""What cannot be read or measured is refused in words that help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.shutil import copy

from tiling.errors import BadData, BadInput
from tiling.info import Plane, native_plane
from tiling.open import open_source
from tiling.source import SourceSpec
from tiling.window import Window

MakeRaster = Callable[..., Path]
GREY = np.random.default_rng(3).integers(0, 256, (192, 192), dtype=np.uint8)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.mark.parametrize("cut", [0, 0.5], ids=["empty", "cut"])
def test_a_mask_beside_the_image_that_cannot_be_read_is_refused(tiny_raster, cut) -> None:
    path = tiny_raster(np.ones((64, 64), "uint8"))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.eye(64) > 0)
    mask = path.with_name(path.name + ".msk")
    assert open_source(SourceSpec(uris=(str(path),))).info.may_hide_data
    mask.write_bytes(mask.read_bytes()[: int(cut * mask.stat().st_size)])
    with pytest.raises(BadInput, match=r"raster\.tif\.msk lies beside the image and cannot be read"):
        open_source(SourceSpec(uris=(str(path),)))


@pytest.mark.parametrize("text", ["", "<PAMDataset><PAMRasterBand band='1'><NoData"], ids=["empty", "cut"])
def test_metadata_beside_the_image_that_are_damaged_are_refused(tiny_raster, text) -> None:
    path = tiny_raster(np.ones((64, 64), "uint8"))
    path.with_name(path.name + ".aux.xml").write_text(text)
    with pytest.raises(BadInput, match=r"raster\.tif\.aux\.xml lies beside the image and is damaged"):
        open_source(SourceSpec(uris=(str(path),)))


def refusal(*paths: Path, **spec: Any) -> str:
    """What is said when these files are opened."""
    with pytest.raises(BadInput) as caught:
        open_source(SourceSpec(uris=tuple(map(str, paths)), **spec))
    return str(caught.value)


@pytest.mark.parametrize("layout", [{}, TILED], ids=["strips", "tiles"])
def test_without_a_crs_the_advice_is_to_assign_one_or_give_a_size(
    tiny_raster: MakeRaster, layout: dict[str, Any]
) -> None:
    said = refusal(tiny_raster(GREY.astype("uint16"), crs=None, transform=None, **layout))
    assert "no coordinate system" in said
    assert "gdal_edit.py -a_srs" in said
    assert "--pixel-size" in said


def test_ground_control_points_alone_are_to_be_warped_first(tiny_raster: MakeRaster) -> None:
    corners = [(0, 0, 15.0, 50.0), (0, 192, 15.1, 50.0), (192, 0, 15.0, 49.9), (192, 192, 15.1, 49.9)]
    path = tiny_raster(GREY, crs=None, transform=None, **TILED)
    with rasterio.open(path, "r+") as file:
        file.gcps = [GroundControlPoint(row=r, col=c, x=x, y=y) for r, c, x, y in corners], "EPSG:4326"
    said = refusal(path)
    assert "only 4 ground control points" in said
    assert "gdalwarp -tps" in said


def test_a_crs_without_a_geotransform_has_no_pixel_size(tiny_raster: MakeRaster) -> None:
    assert "no geotransform" in refusal(tiny_raster(GREY, transform=None))


def test_a_degenerate_transform_has_no_pixel_size(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    path, vrt = tiny_raster(GREY), tmp_path / "flat.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="192" rasterYSize="192"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 20, 0</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{path.name}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert "no geotransform" in refusal(vrt)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"array": GREY[:-1]}, "shape"),
        ({"transform": Affine(10, 0, 500_010, 0, -10, 5_000_000)}, "transform"),
        ({"crs": "EPSG:32634"}, "crs"),
    ],
)
def test_files_on_different_grids_are_no_image(tiny_raster: MakeRaster, other: dict[str, Any], what: str) -> None:
    a, b = tiny_raster(GREY, "a.tif"), tiny_raster(**{"array": GREY, "name": "b.tif"} | other)
    said = refusal(a, b)
    assert f"not bands of one image: {what}" in said
    assert str(a) in said
    assert str(b) in said


def test_a_band_that_is_not_there_is_refused_with_those_that_are(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(np.stack([GREY, GREY]), descriptions=("green", "nir"))
    said = refusal(path, bands=(("swir", "B11"),))
    assert "no band B11" in said
    assert "2=nir" in said


def test_complex_pixels_are_refused(tiny_raster: MakeRaster) -> None:
    assert "complex64" in refusal(tiny_raster(GREY.astype("complex64")))


def test_a_file_cut_off_before_its_header_is_refused(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    (tmp_path / "half.tif").write_bytes(tiny_raster(GREY).read_bytes()[:5])
    assert "cannot be opened as an image" in refusal(tmp_path / "half.tif")


@pytest.mark.parametrize("scale", [(0.5, 0.5), (1.0, 0.9), (0.9, 1.0)])
def test_finer_than_the_file_is_refused(tiny_raster: MakeRaster, scale: tuple[float, float]) -> None:
    source = open_source(SourceSpec(uris=(str(tiny_raster(GREY, overviews=[2])),)))
    with pytest.raises(BadInput, match="no such detail"):
        source.read(Window(y=0, x=0, height=9, width=9), Plane(shape_px=(384, 384), scale=scale))


def test_a_window_beyond_the_image_is_refused(tiny_raster: MakeRaster) -> None:
    source = open_source(SourceSpec(uris=(str(tiny_raster(GREY)),)))
    with pytest.raises(BadInput, match="wholly outside"):
        source.read(Window(y=192, x=0, height=9, width=9), native_plane(source.info))


def damage(path: Path, page: int, tile: int) -> None:
    """Overwrite one compressed tile."""
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[page].dataoffsets[tile], file.pages[page].databytecounts[tile]
    with path.open("r+b") as raw:
        raw.seek(start)
        raw.write(b"\xff" * size)


def test_a_corrupt_block_is_named_and_costs_its_own_pixels_only(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(GREY, compress="deflate", **TILED)
    damage(path, page=0, tile=4)  # the middle one of 3 x 3
    source = open_source(SourceSpec(uris=(str(path),)))
    plane = native_plane(source.info)
    for _ in range(2):
        with pytest.raises(BadData) as caught:
            source.read(Window(y=60, x=70, height=10, width=20), plane)
        assert f"{path} rows 60-70 columns 70-90" in str(caught.value)
    for window in (Window(y=0, x=0, height=64, width=192), Window(y=128, x=5, height=64, width=100)):
        np.testing.assert_array_equal(source.read(window, plane).data[0], GREY[window.slices])


def test_a_corrupt_overview_is_named_and_the_pixels_below_it_stay_readable(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(GREY, compress="deflate", overviews=[2], **TILED)
    damage(path, page=1, tile=0)
    source = open_source(SourceSpec(uris=(str(path),)))
    whole = Window(y=0, x=0, height=64, width=64)
    with pytest.raises(BadData, match="of overview 1"):
        source.read(whole, Plane(shape_px=(96, 96), scale=(2.0, 2.0)))
    np.testing.assert_array_equal(source.read(whole, native_plane(source.info)).data[0], GREY[whole.slices])


def test_a_file_whose_end_is_missing_is_read_as_far_as_it_goes(tiny_raster: MakeRaster) -> None:
    cog, path = tiny_raster(GREY, "whole.tif", **TILED), tiny_raster(GREY, "cut.tif")
    copy(cog, path, driver="COG", blocksize=64, overviews="none", compress="none")
    path.write_bytes(path.read_bytes()[:-1000])  # a COG's header comes first, its pixels last
    source = open_source(SourceSpec(uris=(str(path),)))
    plane = native_plane(source.info)
    with pytest.raises(BadData):
        source.read(Window(y=128, x=128, height=64, width=64), plane)
    first = Window(y=0, x=0, height=64, width=64)
    np.testing.assert_array_equal(source.read(first, plane).data[0], GREY[first.slices])
