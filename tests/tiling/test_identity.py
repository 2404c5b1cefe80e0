"""Same bytes, same image; a name says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiling.identity import content_digests, image_identity
from tiling.source import SourceSpec

MakeRaster = Callable[..., Path]
GREY = np.random.default_rng(2).integers(1, 256, (600, 600), dtype=np.uint8)


def identity(*paths: object) -> str:
    spec = SourceSpec(uris=tuple(map(str, paths)))
    return image_identity(spec, content_digests(spec))


def test_a_moved_copy_is_the_same_image(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    path = tiny_raster(GREY)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "other.tif"
    copy.write_bytes(path.read_bytes())
    assert identity(copy) == identity(path) == identity(f"file://{path}")
    assert len(identity(path)) == 64


def test_one_other_byte_under_the_same_name_is_another_image(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(GREY)
    before = identity(path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert identity(path) != before


def test_the_order_of_files_counts(tiny_raster: MakeRaster) -> None:
    a, b = tiny_raster(GREY, "a.tif"), tiny_raster(GREY[::-1], "b.tif")
    assert len({identity(a, b), identity(b, a), identity(a), identity(b)}) == 4


def test_a_file_that_points_elsewhere_counts_by_what_it_shows(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    vrt = tmp_path / "v.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="600" rasterYSize="600"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{tiny_raster(GREY, "part.tif").name}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    before = identity(vrt)
    assert identity(vrt) == before
    changed = GREY.copy()
    changed[300:310, 300:310] = 0
    tiny_raster(changed, "part.tif")
    assert identity(vrt) != before


@pytest.mark.parametrize("suffix", [".msk", ".ovr"])
def test_a_side_file_that_changes_what_is_read_counts(tiny_raster: MakeRaster, suffix: str) -> None:
    path = tiny_raster(GREY)
    before = identity(path)
    path.with_name(path.name + suffix).write_bytes(tiny_raster(GREY[:300, :300], "side.tif").read_bytes())
    assert identity(path) != before
