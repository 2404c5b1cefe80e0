"""Where an image lies on Earth, beside what rasterio and shapely say."""

from __future__ import annotations

from typing import Any

import pytest
from affine import Affine
from shapely.geometry import Point, shape

from flows.export.stac_footprint import footprint
from tiling.info import ImageInfo, PixelSize


def image(crs: str | None, transform: Affine | None, shape_px: tuple[int, int] = (100, 200)) -> ImageInfo:
    return ImageInfo(
        uri="scene.tif", kind="raster", shape_px=shape_px, bands=("a",), dtype="uint8", nodata=None,
        pixel_size=PixelSize(y=1, x=1, unit="m"), transform=transform, crs=crs,
    )  # fmt: skip


def placed(crs: str, transform: Affine, shape_px: tuple[int, int] = (100, 200)) -> tuple[Any, list[float]]:
    found = footprint(image(crs, transform, shape_px))
    assert found is not None
    geometry = shape(found[0])
    assert geometry.is_valid
    return geometry, found[1]


def test_across_the_antimeridian_it_is_two_parts() -> None:
    geometry, bbox = placed("EPSG:4326", Affine(0.001, 0, 179.9, 0, -0.001, -16))  # the box of the field's cases
    assert bbox == pytest.approx([179.9, -16.1, -179.9, -16.0])  # RFC 7946, 5.2: west > east
    assert geometry.area == pytest.approx(0.02)  # not 35.98 square degrees
    assert len(geometry.geoms) == 2
    assert geometry.covers(Point(179.95, -16.05))
    assert geometry.covers(Point(-179.95, -16.05))
    assert not geometry.intersects(Point(0, -16.05))


def test_utm_across_the_antimeridian() -> None:
    geometry, bbox = placed("EPSG:32601", Affine(100, 0, 100_000, 0, -100, 100_000), (1000, 2000))
    assert bbox[0] > bbox[2]
    assert geometry.area < 2
    assert geometry.intersects(Point(-180, 0.5))


@pytest.mark.parametrize(("crs", "sign"), [("EPSG:3413", 1), ("EPSG:3031", -1)])
def test_a_pole_inside(crs: str, sign: int) -> None:
    geometry, bbox = placed(crs, Affine(1000, 0, -50_000, 0, -1000, 50_000), (100, 100))
    assert geometry.covers(Point(0, sign * 89.99))
    assert geometry.covers(Point(-180, sign * 90))
    assert max(abs(bbox[1]), abs(bbox[3])) == 90


def test_rotated_and_without_a_crs() -> None:
    geometry, _ = placed("EPSG:32633", Affine(20, 5, 500_000, -5, -20, 5_000_000))
    assert geometry.covers(Point(15.005, 45.14))
    assert footprint(image(None, None)) is None
