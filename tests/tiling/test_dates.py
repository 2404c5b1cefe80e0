"""When an image was taken, by what real files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tiling.dates import RASTER, SLIDE, ImageDate, date_in, one_date
from tiling.open import open_source
from tiling.source import SourceSpec

MTL = """GROUP = L1_METADATA_FILE
  GROUP = PRODUCT_METADATA
    SPACECRAFT_ID = "LANDSAT_8"
    DATE_ACQUIRED = 2015-01-01
    SCENE_CENTER_TIME = 14:12:05.1234567Z
  END_GROUP = PRODUCT_METADATA
END_GROUP = L1_METADATA_FILE
END
"""
"""Beside every scene of Landsat."""


def date_of(*paths: Path, **spec: Any) -> ImageDate | None:
    source = open_source(SourceSpec(uris=tuple(map(str, paths)), **spec))
    source.close()
    return source.info.date


def test_a_tiff_says_when_it_was_made(tiny_raster: Any) -> None:
    pixels = np.ones((1, 8, 8), np.uint8)
    dated = tiny_raster(pixels, "a.tif", tags={"TIFFTAG_DATETIME": "2019:02:03 04:05:06"})
    assert date_of(dated) == ImageDate(day="2019-02-03", whence="TIFFTAG_DATETIME")
    assert date_of(tiny_raster(pixels, "b.tif")) is None
    assert date_of(tiny_raster(pixels, "c.tif", tags={"TIFFTAG_DATETIME": "in spring"})) is None


def test_files_of_one_image_have_to_agree(tiny_raster: Any) -> None:
    pixels = np.ones((1, 8, 8), np.uint8)
    stamp = {"TIFFTAG_DATETIME": "2019:02:03 04:05:06"}
    a, b = (tiny_raster(pixels, name, tags=stamp) for name in ("green.tif", "nir.tif"))
    later = tiny_raster(pixels, "red.tif", tags={"TIFFTAG_DATETIME": "2019:02:04 04:05:06"})
    assert date_of(a, b) == ImageDate(day="2019-02-03", whence="TIFFTAG_DATETIME")
    assert date_of(a, later) is None
    assert date_of(a, later, bands=(("green", "green"),)) is not None  # the other one is not read


def test_what_comes_with_a_scene_wins(tiny_raster: Any, tmp_path: Path) -> None:
    """GDAL reads Landsat's own metadata, which know the day it was taken and not that of the file."""
    name = "LC08_L1TP_003017_20150101_20170415_01_T1_"
    path = tiny_raster(np.ones((1, 8, 8), np.uint16), f"{name}B3.TIF", tags={"TIFFTAG_DATETIME": "2017:04:15 00:00:00"})
    (tmp_path / f"{name}MTL.txt").write_text(MTL)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGERY")["ACQUISITIONDATETIME"].startswith("2015-01-01")
    assert date_of(path) == ImageDate(day="2015-01-01", whence="ACQUISITIONDATETIME")


@pytest.mark.parametrize(
    ("entry", "text", "day"),
    [
        ("aperio.Date", "12/29/09", "2009-12-29"),
        ("aperio.Date", "12/29/2009", "2009-12-29"),
        ("aperio.Date", "29/12/09", None),
        ("leica.creation-date", "2013-02-27T15:52:09.7Z", "2013-02-27"),
        ("leica.creation-date", "2013-02-27T15:52:09+01:00", "2013-02-27"),
        ("hamamatsu.Created", "2009/12/31", "2009-12-31"),
        ("tiff.DateTime", "2019:02:03 04:05:06\0", "2019-02-03"),
        ("tiff.DateTime", "1970:01:01 00:00:00", None),
        ("tiff.DateTime", "0000:00:00 00:00:00", None),
        ("tiff.DateTime", "2019:02:03 04:05:06 or so", None),
    ],
)
def test_slides_say_it_each_in_its_way(entry: str, text: str, day: str | None) -> None:
    found = date_in({entry: text, "comment": "1999-01-01"}, SLIDE)
    assert found == (ImageDate(day=day, whence=entry) if day else None)


def test_a_slide_that_openslide_reads(tiny_slide: Any) -> None:
    pixels = np.full((256, 256, 3), 200, np.uint8)
    assert date_of(tiny_slide(pixels, datetime="2019:02:03 04:05:06")) == ImageDate(
        day="2019-02-03", whence="tiff.DateTime"
    )
    assert date_of(tiny_slide(pixels, name="silent.tif")) is None


def test_nothing_is_nothing() -> None:
    assert date_in({}, RASTER) is None
    assert one_date([]) is None
