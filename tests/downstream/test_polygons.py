"""Polygons joined across tiles, against GDAL's polygoniser over the whole mask, shapely and counts."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import shapes

from downstream.outline import Edges, densified
from downstream.pieces import UNSEEN
from downstream.polygons import trace
from tiling.grid import TileGrid
from tiling.pixel_area import ConstantAreas
from tiling.window import Window


class RowAreas(ConstantAreas):
    """A pixel of row y has the area y + 1."""

    def __init__(self) -> None:
        super().__init__(1.0, "m2", "ellipsoidal")

    def of(self, window: Window) -> np.ndarray:
        return np.arange(window.y, window.y_stop)[:, None] + 1.0


class PixelAreasByHand(RowAreas):
    """… and of column x that plus x / 1000."""

    def of(self, window: Window) -> np.ndarray:
        return super().of(window) + np.arange(window.x, window.x_stop)[None, :] / 1000


SQUARE = ConstantAreas(2.5, "m2", "planar")


def objects(mask: np.ndarray, tile_px: int, areas: ConstantAreas = SQUARE) -> list[tuple]:
    """(label, polygon, pixels, area, cut) of each, in the order they come."""
    grid = TileGrid(shape_px=mask.shape, tile_px=tile_px, batch_tiles=2)
    found = []
    for part in trace(grid, lambda tile: mask[tile.core.slices], areas):
        o = part.objects
        rows = zip(
            o.label.tolist(), polygons(part.rings), o.pixels.tolist(), o.area.tolist(), o.cut.tolist(), strict=True
        )
        found += rows
    return found


def polygons(rings) -> np.ndarray:
    starts = (rings.ring_starts, rings.object_starts)
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, rings.corners[:, ::-1].astype(float), starts)


def same_set(found: list[tuple], truth: list[tuple]) -> bool:
    def key(pairs):
        return sorted((int(label), shapely.normalize(shape).wkb) for label, shape in pairs)

    return key([row[:2] for row in found]) == key(truth)


def by_gdal(mask: np.ndarray) -> list[tuple]:
    return [(v, shapely.geometry.shape(s)) for s, v in shapes(mask, connectivity=4) if 0 < v < UNSEEN]


masks = arrays(
    np.uint8,
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    elements=st.sampled_from([0, 1, 1, 2, UNSEEN]),
    fill=st.just(1),
) | arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.sampled_from([0, 1]))


@settings(max_examples=80)
@given(mask=masks, tile_px=st.integers(1, 30))
def test_any_mask_in_any_tiles_is_what_gdal_traces_in_the_whole(mask: np.ndarray, tile_px: int) -> None:
    found = objects(mask, tile_px)
    assert same_set(found, by_gdal(mask))
    assert all(shape.is_valid for _, shape, *_ in found)
    assert [shape.area for _, shape, *_ in found] == [pixels for _, _, pixels, *_ in found]
    for label in (1, 2):
        assert sum(row[2] for row in found if row[0] == label) == (mask == label).sum()
    assert [(row[0], row[1].wkb, *row[2:]) for row in found] == [
        (row[0], row[1].wkb, *row[2:]) for row in objects(mask, 64)
    ]


@settings(max_examples=40)
@given(mask=masks, tile_px=st.integers(1, 30))
def test_objects_are_cut_where_nobody_looked_beside_them(mask: np.ndarray, tile_px: int) -> None:
    around = np.pad(mask, 1, constant_values=UNSEEN)
    unseen = shapely.union_all([shapely.box(x, y, x + 1, y + 1) for y, x in np.argwhere(around == UNSEEN) - 1])
    for _, shape, *_, cut in objects(mask, tile_px):
        assert cut == (shapely.intersection(shape.boundary, unseen.boundary).length > 0)


@pytest.mark.parametrize("areas", [RowAreas(), PixelAreasByHand()])
def test_areas_are_those_of_the_pixels_wherever_they_lie(areas: ConstantAreas) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[3:30, 5:9] = 1
    mask[25:30, 5:31] = 1
    ((_, _, pixels, area, cut),) = objects(mask, 16, areas)
    y, x = np.nonzero(mask)
    by_hand = (y + 1).sum() + (x.sum() / 1000 if isinstance(areas, PixelAreasByHand) else 0)
    assert (pixels, cut) == (len(y), False)
    assert area == pytest.approx(by_hand, rel=1e-13)


def test_a_square_across_16_windows_is_one_polygon_of_1600_px() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[12:52, 12:52] = 1
    ((label, shape, pixels, area, cut),) = objects(mask, 16)
    assert (label, pixels, area, cut) == (1, 1600, 4000.0, False)
    assert shape.equals(shapely.box(12, 12, 52, 52))
    assert len(shape.exterior.coords) == 5  # no corner where a tile ends


def test_a_hole_over_a_corner_of_four_tiles_is_one_ring_and_may_hold_an_island() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[2:30, 2:30] = 1
    mask[8:24, 8:24] = 0
    mask[12:20, 12:20] = 2
    mask[16, 16] = 0
    found = {row[0]: row[1] for row in objects(mask, 16)}
    assert [len(found[label].interiors) for label in (1, 2)] == [1, 1]
    assert found[1].equals(shapely.box(2, 2, 30, 30) - shapely.box(8, 8, 24, 24))
    assert shapely.Polygon(found[2].interiors[0]).equals(shapely.box(16, 16, 17, 17))


def test_pixels_that_meet_at_a_corner_are_two_objects_and_a_ring_of_them_is_valid() -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[7, 7] = mask[8, 8] = 1
    assert [row[2] for row in objects(mask, 8)] == [1, 1]
    mask[5:11, 5:11] = [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 1, 0, 1],
        [1, 0, 1, 0, 0, 1],
        [1, 1, 0, 0, 1, 1],
        [1, 0, 0, 1, 1, 1],
        [1, 1, 1, 1, 1, 0],
    ]
    found = objects(mask, 8)
    assert same_set(found, by_gdal(mask))
    assert all(row[1].is_valid for row in found)
    assert shapely.union_all([row[1] for row in found]).area == mask.sum()


def test_one_pixel_is_an_object_and_nothing_is_none() -> None:
    ((_, shape, pixels, area, cut),) = objects(np.full((1, 1), 7, np.uint8), 512)
    assert (pixels, area, cut) == (1, 2.5, True)
    assert shape.equals(shapely.box(0, 0, 1, 1))
    assert objects(np.full((9, 5), UNSEEN, np.uint8), 4) == objects(np.zeros((9, 5), np.uint8), 4) == []


def peak_bytes(rows: int) -> int:
    """Of a strip of many tiles with a blob in each; tracing it without keeping anything."""
    grid = TileGrid(shape_px=(64 * rows, 64), tile_px=64)
    labels = np.zeros((64, 64), np.uint8)
    labels[10:50, 10:50] = np.random.default_rng(0).integers(0, 2, (40, 40))
    tracemalloc.start()
    try:
        count = sum(len(part.objects.label) for part in trace(grid, lambda _: labels, SQUARE))
        assert count % rows == 0 < count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_image() -> None:
    peak_bytes(2)  # imports
    assert peak_bytes(80) < 1.2 * peak_bytes(8)


@settings(max_examples=60)
@given(mask=arrays(np.uint8, (9, 21), elements=st.sampled_from([0, 1, 2])), every_px=st.integers(1, 9))
def test_added_corners_change_no_shape_and_neighbours_share_them(mask: np.ndarray, every_px: int) -> None:
    grid = TileGrid(shape_px=mask.shape, tile_px=32)
    for part in trace(grid, lambda _: mask, SQUARE):
        plain, dense = polygons(part.rings), polygons(densified(part.rings, every_px))
        assert shapely.equals(plain, dense).all()
        for few, many in zip(plain, dense, strict=True):
            for ring, fine in zip((few.exterior, *few.interiors), (many.exterior, *many.interiors), strict=True):
                ends = np.array(ring.coords)
                wanted = {
                    tuple(at + (to - at) * i / n)
                    for at, to in itertools.pairwise(ends)
                    for n in [int(abs(to - at).sum())]
                    for i in range(n)
                    if i == 0 or (at + (to - at) * i / n)[int(at[0] == to[0])] % every_px == 0
                }
                assert sorted(fine.coords[:-1]) == sorted(wanted)


def test_no_edges_join_to_none() -> None:
    assert len(Edges.joined([]).owner) == 0
