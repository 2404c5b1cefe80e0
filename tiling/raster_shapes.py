"""Polygons as pixels of a plane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MergeAlg
from rasterio.features import rasterize

from tiling.info import Plane
from tiling.window import Window


def burn(shapes: Iterable[tuple[Any, int]], window: Window, plane: Plane, fill: int) -> NDArray[np.uint8]:
    """(h, w) of the window: the value of the last shape that holds a pixel's centre, `fill` where none does.

    shapes: (geometry with a __geo_interface__, value 0 to 255), (x, y) in pixels of the image, whose top left corner is
    (0, 0).
    """
    scale_y, scale_x = plane.scale
    to_image = Affine(scale_x, 0, window.x * scale_x, 0, scale_y, window.y * scale_y)
    found = [(shape, value) for shape, value in shapes if not shape.is_empty]
    if not found:
        return np.full(window.shape_px, fill, np.uint8)
    burned = rasterize(
        found, out_shape=window.shape_px, fill=fill, transform=to_image, merge_alg=MergeAlg.replace, dtype="uint8"
    )
    return np.asarray(burned, np.uint8)
