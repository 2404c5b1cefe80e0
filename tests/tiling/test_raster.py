"""Reads of every kind against rasterio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window as GdalWindow

from tiling.errors import BadInput
from tiling.info import PixelSize, Plane, native_plane, plane_at
from tiling.open import open_source
from tiling.source import Pixels, SourceSpec
from tiling.window import Window

MakeRaster = Callable[..., Path]
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
LAYOUTS = {"strips": {}, "tiles": TILED, "deflate tiles": TILED | {"compress": "deflate", "interleave": "band"}}
WINDOWS = [
    Window(y=0, x=0, height=130, width=150),
    Window(y=61, x=37, height=69, width=64),
    Window(y=129, x=149, height=1, width=1),
]


def noise(dtype: str, bands: int = 3, shape: tuple[int, int] = (130, 150)) -> NDArray[Any]:
    """Values over much of the type's range."""
    rng = np.random.default_rng(7)
    if dtype == "float32":
        return rng.normal(0, 1e4, (bands, *shape)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min + 1, info.max, (bands, *shape), dtype=dtype)


def read(paths: Path | tuple[Path, ...], window: Window | None = None, factor: float = 1, **spec: Any) -> Pixels:
    """One read, of everything unless a window is given, on a plane `factor` times coarser."""
    uris = tuple(map(str, paths)) if isinstance(paths, tuple) else (str(paths),)
    source = open_source(SourceSpec(uris=uris, **spec))
    try:
        plane = native_plane(source.info) if factor == 1 else plane_at(source.info, factor)
        return source.read(window or Window(y=0, x=0, height=plane.shape_px[0], width=plane.shape_px[1]), plane)
    finally:
        source.close()


def theirs(path: Path, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The same by rasterio."""
    part = GdalWindow(window.x, window.y, window.width, window.height)
    with rasterio.open(path) as file:
        return file.read(window=part), file.read_masks(window=part).all(0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_native_reads_are_rasterios(tiny_raster: MakeRaster, dtype: str, layout: str) -> None:
    path = tiny_raster(noise(dtype), **LAYOUTS[layout])
    for window in WINDOWS:
        pixels, (data, valid) = read(path, window), theirs(path, window)
        assert pixels.data.dtype == dtype
        np.testing.assert_array_equal(pixels.data, data)
        assert pixels.valid.all()
        assert valid.all()


@pytest.mark.parametrize(
    "transform", [Affine(10, 0, 0, 0, 10, 9), Affine(20, 5, 0, -5, -20, 9)], ids=["south-up", "rotated"]
)
def test_pixels_come_in_the_files_order_whatever_way_it_lies(tiny_raster: MakeRaster, transform: Affine) -> None:
    path = tiny_raster(noise("uint8"), transform=transform)
    for window in WINDOWS:
        np.testing.assert_array_equal(read(path, window).data, theirs(path, window)[0])


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int16", -32768), ("uint8", 0), ("float32", -9999.0), ("float32", np.nan)]
)
def test_nodata_is_not_valid(tiny_raster: MakeRaster, dtype: str, nodata: float) -> None:
    image = noise(dtype)
    image[:, 20:70, 40:90] = nodata
    path = tiny_raster(image, nodata=nodata)
    for window in WINDOWS:
        np.testing.assert_array_equal(read(path, window).valid, theirs(path, window)[1])
    expected = ~(np.isnan(image) if np.isnan(nodata) else image == nodata).any(0)
    np.testing.assert_array_equal(read(path).valid, expected)


def test_what_is_no_number_is_not_valid_without_any_declaration(tiny_raster: MakeRaster) -> None:
    image = noise("float32", bands=2)
    image[0, 3, 5], image[1, 7, 9] = np.nan, np.inf
    invalid = np.argwhere(~read(tiny_raster(image)).valid)
    assert invalid.tolist() == [[3, 5], [7, 9]]


def test_nodata_given_by_hand_replaces_the_files_own(tiny_raster: MakeRaster) -> None:
    image = np.array([[1, 2, 3], [4, 5, 255]], np.uint8)
    path = tiny_raster(image, nodata=1)
    assert np.argwhere(~read(path).valid).tolist() == [[0, 0]]
    assert np.argwhere(~read(path, nodata=255).valid).tolist() == [[1, 2]]


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", -9999), ("uint8", 256), ("int16", 0.5), ("uint16", np.nan)])
def test_nodata_that_no_pixel_can_have_is_refused(tiny_raster: MakeRaster, dtype: str, nodata: float) -> None:
    with pytest.raises(BadInput, match=f"holds {dtype} pixels, from .* all would count as data"):
        read(tiny_raster(noise(dtype)), nodata=nodata)


def test_an_internal_mask_counts(tiny_raster: MakeRaster) -> None:
    mask = np.random.default_rng(1).random((130, 150)) > 0.5
    path = tiny_raster(noise("uint8"), mask=mask, **TILED)
    np.testing.assert_array_equal(read(path).valid, mask)
    np.testing.assert_array_equal(read(path, nodata=77).valid, mask & (noise("uint8") != 77).all(0))


def test_the_mask_of_an_overview_counts_on_its_plane(tiny_raster: MakeRaster) -> None:
    mask = np.kron(np.random.default_rng(1).random((20, 19)) > 0.5, np.ones((8, 8))) > 0
    path = tiny_raster(noise("uint8", shape=(160, 152)), mask=mask, overviews=[2, 4], **TILED)
    np.testing.assert_array_equal(read(path, factor=4).valid, mask[::4, ::4])
    np.testing.assert_array_equal(read(path, factor=8).valid, mask[::8, ::8])


def test_alpha_says_what_is_valid_and_is_no_band(tiny_raster: MakeRaster) -> None:
    image = noise("uint8", bands=4)
    image[3] = np.where(np.random.default_rng(1).random((130, 150)) > 0.5, 255, 0)
    path = tiny_raster(image, photometric="RGB", alpha="YES")
    source = open_source(SourceSpec(uris=(str(path),)))
    assert source.info.bands == ("red", "green", "blue")
    pixels = source.read(Window(y=0, x=0, height=130, width=150), native_plane(source.info))
    np.testing.assert_array_equal(pixels.data, image[:3])
    np.testing.assert_array_equal(pixels.valid, image[3] > 0)


def test_a_nodata_colour_counts(tiny_raster: MakeRaster) -> None:
    image = noise("uint8")
    image[:, 10:20, 10:20] = 0
    image[0, 30, 30] = 0  # one band alone is a colour like any other
    path = tiny_raster(image, tags={"NODATA_VALUES": "0 0 0"})
    assert not theirs(path, Window(y=10, x=10, height=1, width=1))[1].any()
    np.testing.assert_array_equal(read(path).valid, (image != 0).any(0))


def test_bands_in_several_files_are_one_image(tiny_raster: MakeRaster) -> None:
    image = noise("uint16")
    image[0, :9], image[2, :, :9] = 11, 22
    nodatas = (11, None, 22)
    paths = tuple(
        tiny_raster(band, f"{name}.tif", nodata=nodata)
        for band, name, nodata in zip(image, ("B04", "B08", "B11"), nodatas, strict=True)
    )
    source = open_source(SourceSpec(uris=tuple(map(str, paths))))
    assert source.info.bands == ("b04", "b08", "b11")
    np.testing.assert_array_equal(read(paths).data, image)
    np.testing.assert_array_equal(read(paths).valid, (image[0] != 11) & (image[2] != 22))
    swapped = read(paths, bands=(("swir", 3), ("red", "B04")))
    np.testing.assert_array_equal(swapped.data, image[[2, 0]])


def test_bands_are_named_by_description_colour_or_number(tiny_raster: MakeRaster) -> None:
    described = tiny_raster(noise("uint8", 2), "a.tif", descriptions=("Green", "NIR"), photometric="MINISBLACK")
    rgb = tiny_raster(noise("uint8", 3), "b.tif", photometric="RGB")
    plain = tiny_raster(noise("uint16", 1), "c.tif")
    with rasterio.open(described, "r+") as file:
        file.colorinterp = (ColorInterp.gray, ColorInterp.undefined)
    names = [open_source(SourceSpec(uris=(str(path),))).info.bands for path in (described, rgb, plain)]
    assert names == [("green", "nir"), ("red", "green", "blue"), ("grey",)]


def test_a_mosaic_of_files_in_a_vrt(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    left, right = noise("uint8", 1)[:, :, :80], noise("uint8", 1)[:, :, 80:]
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{tiny_raster(part, name).name}</SourceFilename>'
        f'<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="{part.shape[2]}" ySize="130"/>'
        f'<DstRect xOff="{x}" yOff="0" xSize="{part.shape[2]}" ySize="130"/></SimpleSource>'
        for part, name, x in ((left, "left.tif", 0), (right, "right.tif", 80))
    )
    vrt = tmp_path / "mosaic.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="150" rasterYSize="130"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
    np.testing.assert_array_equal(read(vrt).data, np.concatenate([left, right], axis=2))


def test_what_lies_outside_is_padded_and_not_valid(tiny_raster: MakeRaster) -> None:
    image = noise("int16")
    pixels = read(tiny_raster(image), Window(y=-5, x=140, height=20, width=30))
    assert pixels.data.shape == (3, 20, 30)
    np.testing.assert_array_equal(pixels.data[:, 5:, :10], image[:, :15, 140:])
    inside = np.zeros((20, 30), bool)
    inside[5:, :10] = True
    np.testing.assert_array_equal(pixels.valid, inside)


def test_a_coarser_plane_is_the_block_mean(tiny_raster: MakeRaster) -> None:
    image = noise("uint8", shape=(120, 144))
    blocks = image.reshape(3, 30, 4, 36, 4).mean((2, 4))
    pixels = read(tiny_raster(image, **TILED), Window(y=7, x=9, height=20, width=27), factor=4)
    np.testing.assert_array_equal(pixels.data, np.round(blocks)[:, 7:27, 9:36])


def test_a_fractional_plane_is_gdals_average(tiny_raster: MakeRaster) -> None:
    image = noise("int16")
    image[:, 30:80, 30:80] = -32768
    path = tiny_raster(image, nodata=-32768)
    with rasterio.open(path) as file:
        average = file.read(out_shape=(3, 52, 60), resampling=Resampling.average, masked=True)
    pixels = read(path, factor=2.5)
    np.testing.assert_allclose(pixels.data[:, pixels.valid], average.data[:, pixels.valid], atol=1)
    assert pixels.valid.sum() == 52 * 60 - 20 * 20


def test_an_overview_is_read_where_there_is_one(tiny_raster: MakeRaster) -> None:
    board = (np.indices((128, 128)).sum(0) % 2 * 200).astype(np.uint8)
    averaged = tiny_raster(board, "averaged.tif", overviews=[2, 4], **TILED)
    nearest = tiny_raster(board, "nearest.tif", overviews=[2], resampling=Resampling.nearest, **TILED)
    assert np.unique(read(averaged, factor=2).data).tolist() == [100]
    assert np.unique(read(nearest, factor=2).data).tolist() == [0]  # a mean of the pixels would be 100
    assert np.unique(read(nearest, factor=4).data).tolist() == [0]  # averaged from the nearest finer level
    assert np.unique(read(nearest, factor=1.5).data).tolist() != [0]  # that level would be too coarse
    np.testing.assert_array_equal(read(nearest).data[0], board)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_overview_is_read_as_it_is(tiny_raster: MakeRaster, level: int) -> None:
    factor = 2 ** (level + 1)
    path = tiny_raster(noise("uint8", shape=(200, 304)), overviews=[2, 4, 8], resampling=Resampling.nearest, **TILED)
    with rasterio.open(path, overview_level=level) as file:
        stored = file.read()
    np.testing.assert_array_equal(read(path, factor=factor).data, stored)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("overviews", [(), (2, 4, 8), (3,)])
def test_a_feature_far_right_stays_where_it_is(
    tiny_raster: MakeRaster, factor: int, overviews: tuple[int, ...]
) -> None:
    image = np.zeros((150, 2967), np.float32)
    image[100:124, 2900:2924] = 1
    path = tiny_raster(image, overviews=overviews, **TILED)
    source = open_source(SourceSpec(uris=(str(path),)))
    plane = plane_at(source.info, factor)
    left = plane.shape_px[1] * 3 // 4
    data = source.read(Window(y=0, x=left, height=plane.shape_px[0], width=plane.shape_px[1] - left), plane).data[0]
    rows, cols = np.indices(data.shape) + 0.5
    centre = (rows * data).sum() / data.sum(), (cols * data).sum() / data.sum() + left
    assert centre[0] * plane.scale[0] == pytest.approx(112, abs=0.5 * factor)
    assert centre[1] * plane.scale[1] == pytest.approx(2912, abs=0.5 * factor)


def test_a_plane_near_a_level_does_not_drift_from_it(tiny_raster: MakeRaster) -> None:
    image = np.zeros((4, 40_000), np.float32)
    image[:, 39_600:39_700] = 1
    path = tiny_raster(image, overviews=[2])
    plane = Plane(shape_px=(2, 19_985), scale=(2.0, 40_000 / 19_985))  # 2.0015 is 1.00075 of the overview's 2
    source = open_source(SourceSpec(uris=(str(path),)))
    data = source.read(Window(y=0, x=0, height=2, width=19_985), plane).data[0]
    centre = (data[0] * (np.arange(19_985) + 0.5)).sum() / data[0].sum()
    assert centre * plane.scale[1] == pytest.approx(39_650, abs=2)


def test_files_with_other_overviews_are_read_at_the_same_scale(tiny_raster: MakeRaster) -> None:
    ramp = np.arange(192, dtype=np.float32) * np.ones((192, 1), np.float32)
    paths = (
        tiny_raster(ramp, "a.tif", overviews=[2, 4], **TILED),
        tiny_raster(ramp, "b.tif", overviews=[3, 4], **TILED),
    )
    for factor in (2, 3, 4):
        expected = ramp[::factor].reshape(192 // factor, -1, factor).mean(2)
        np.testing.assert_allclose(read(paths, factor=factor).data, np.stack([expected, expected]), atol=0.01)


def test_the_header_says_what_rasterio_says(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(noise("int16", 2), nodata=-1, transform=Affine(20, 0, 5e5, 0, -30, 5e6))
    info = open_source(SourceSpec(uris=(str(path),))).info
    with rasterio.open(path) as file:
        assert (info.shape_px, info.dtype, info.nodata) == (file.shape, file.dtypes[0], file.nodata)
        assert info.transform == file.transform
        assert rasterio.crs.CRS.from_wkt(info.crs) == file.crs
    assert (info.kind, info.uri) == ("raster", str(path))
    assert info.pixel_size == PixelSize(y=30, x=20, unit="m")


def test_one_nodata_of_all_bands_is_named_even_nan(tiny_raster: MakeRaster) -> None:
    info = open_source(SourceSpec(uris=(str(tiny_raster(noise("float32"), nodata=np.nan)),))).info
    assert info.nodata is not None
    assert np.isnan(info.nodata)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pixel_size_by_hand_stands_in_for_a_crs(tiny_raster: MakeRaster, layout: str) -> None:
    path = tiny_raster(noise("uint16", 4), crs=None, transform=None, **LAYOUTS[layout])
    size = PixelSize(y=2, x=3, unit="m")
    info = open_source(SourceSpec(uris=(str(path),), pixel_size=size)).info
    assert (info.pixel_size, info.crs, info.transform, info.dtype) == (size, None, None, "uint16")
    np.testing.assert_array_equal(read(path, pixel_size=size).data, noise("uint16", 4))
