"""Sums of classes over tiles: true areas of several kinds of map against planar ones."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from bench_models import TILE_PX
from bench_timing import Case, Stage
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tiling.pixel_area import PixelAreas

CLASSES = 3
"""In every tile, in blobs, besides a margin without data."""


def count_areas(arguments: argparse.Namespace) -> Stage:
    """What stage 2 counts of a tile: every class, and the pixels that hold data."""
    from affine import Affine
    from pyproj import CRS

    from tiling.lattice_area import LatticeAreas
    from tiling.map_scale import map_density
    from tiling.pixel_area import ConstantAreas

    side, times = arguments.side * TILE_PX, 4
    maps = {
        "UTM, 10 m": (32633, 10, 399_960, 5_000_040),
        "polar stereographic, 30 m": (3413, 30, -2e5, -1e6),
        "UTM, 500 m": (32633, 500, -5e5, 7e6),
        "Web Mercator, 10 m": (3857, 10, 1e6, 8e6),
        "equal-area, 10 m": (3035, 10, 4e6, 3e6),
    }
    lands: dict[str, PixelAreas] = {"planar": ConstantAreas(100.0, "m2", "planar")}
    for name, (crs, metres, x, y) in maps.items():
        lands[name] = LatticeAreas((side, side), Affine(metres, 0, x, 0, -metres, y), map_density(CRS(crs)), 1)
    labels = blobs()
    cases: dict[str, Case] = {
        name: lambda areas=areas: [count(areas, labels, arguments.side) for _ in range(times)]
        for name, areas in lands.items()
    }
    tiles = times * arguments.side**2
    return f"Areas: {CLASSES} classes and the valid pixels of {tiles} tiles of {TILE_PX} px.", "tiles", tiles, cases


def blobs() -> NDArray[np.uint8]:
    """(TILE_PX, TILE_PX) labels 0 to CLASSES, about as many of each."""
    from scipy.ndimage import uniform_filter

    smooth = uniform_filter(np.random.default_rng(0).random((TILE_PX, TILE_PX)), 31)
    cuts = np.quantile(smooth, np.linspace(0, 1, CLASSES + 2)[1:-1])
    return np.digitize(smooth, cuts).astype(np.uint8)


def count(areas: PixelAreas, labels: NDArray[np.uint8], side: int) -> None:
    """Every tile of an image of side x side tiles."""
    from downstream.area import count_classes, count_pixels
    from tiling.grid import TileGrid

    grid = TileGrid(shape_px=(side * TILE_PX, side * TILE_PX), tile_px=TILE_PX)
    valid = np.ones(labels.shape, bool)
    valid[:9] = False
    for row, col in np.ndindex(side, side):
        core = grid.tile(row, col).core
        count_classes(labels, CLASSES, areas, core)
        count_pixels(valid, areas, core)
