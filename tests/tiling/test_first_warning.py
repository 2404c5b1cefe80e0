"""libjpeg prints the first warning of an image and only counts the others: an odd header must not hide damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from tiling.errors import BadData, BadInput
from tiling.info import PixelSize, native_plane
from tiling.open import open_source
from tiling.source import SourceSpec
from tiling.window import Window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RNG = np.random.default_rng(7)
RGB = np.repeat(np.repeat(RNG.integers(0, 256, (3, 24, 24), np.uint8), 8, 1), 8, 2)
"""(3, 192, 192): coloured squares of 8 px."""
WHOLE = Window(y=0, x=0, height=192, width=192)
METRES = PixelSize(y=1.0, x=1.0, unit="m")


def odd_scan(raw: bytearray, start: int, stop: int) -> None:
    """The last coefficient of a scan is 63 in a sequential JPEG; as 0 it is noticed, and not used (ITU T.81, B.2.3)."""
    scan = raw.index(b"\xff\xda", start, stop)
    raw[scan + 6 + 2 * raw[scan + 4]] = 0


def cut(raw: bytearray, start: int, stop: int) -> None:
    """The second half is lost, as in a download that stopped there; the end is there."""
    half = (start + stop) // 2
    raw[half : stop - 2] = bytes(stop - 2 - half)


def read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    source = open_source(SourceSpec(uris=(str(path),), pixel_size=METRES))
    return source.read(WHOLE, native_plane(source.info)).data


def error_of(path: Path, before: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """Mean absolute difference to `before`, as read without care, by rasterio."""
    with rasterio.open(path) as file:
        return float(np.abs(file.read().astype(int) - before).mean())


def test_an_odd_scan_does_not_hide_a_cut_block_of_a_raster(tiny_raster: Callable[..., Path]) -> None:
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel", "photometric": "ycbcr"}
    path = tiny_raster(RGB, compress="jpeg", **tiles)
    with rasterio.open(path) as file:
        before = file.read()
    np.testing.assert_array_equal(read(path), before)
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[4], tiff.pages[0].databytecounts[4]
    raw = bytearray(path.read_bytes())
    odd_scan(raw, start, start + size)
    path.write_bytes(raw)
    assert error_of(path, before) == 0  # odd, and no more
    cut(raw, start, start + size)
    path.write_bytes(raw)
    assert error_of(path, before) > 1
    for _ in range(2):
        with pytest.raises(BadData, match=r"libjpeg stumbles .*Invalid SOS parameters.*gdal_translate"):
            read(path)


def test_an_odd_scan_does_not_hide_a_cut_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.moveaxis(RGB, 0, -1)).save(path, quality=90)
    before = read(path)
    raw = bytearray(path.read_bytes())
    odd_scan(raw, 0, len(raw))
    cut(raw, 0, len(raw))
    path.write_bytes(raw)
    assert error_of(path, before.astype(np.uint8)) > 5
    with pytest.raises(BadData, match=r"libjpeg stumbles .*Invalid SOS parameters"):
        read(path)


def test_what_libjpeg_says_at_the_opening_of_a_picture_does_not_hide_that_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.moveaxis(RGB, 0, -1)).save(path, quality=90)
    before = read(path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"JFIF\0") + 5] = 3  # the major revision; all there are are 1
    cut(raw, 0, len(raw))
    path.write_bytes(raw)
    assert error_of(path, before.astype(np.uint8)) > 5
    with pytest.raises(BadInput, match=r"a.jpg .*libjpeg stumbles .*unknown JFIF revision"):
        read(path)
