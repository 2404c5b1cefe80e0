"""What light, scanners and files do to tiles: pure functions TileStack -> TileStack.

Shape and dtype stay; integers are rounded and clipped to their dtype's range; what is not valid neither changes nor
spreads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifiers.measuring.stains import restained
from tiling.stack import TileStack

Change = Callable[[TileStack], TileStack]
"""The same tiles, changed."""
Planes = NDArray[np.floating]
"""(n, planes, h, w)."""


def unchanged(stack: TileStack) -> TileStack:
    """As they are."""
    return stack


def brightness(stack: TileStack, factor: float) -> TileStack:
    """Every value times `factor`."""
    return with_values(stack, _floats(stack) * factor)


def contrast(stack: TileStack, factor: float) -> TileStack:
    """Distances from the mean of the tile's band times `factor`."""
    mean = _means(stack)
    return with_values(stack, mean + (_floats(stack) - mean) * factor)


def blur(stack: TileStack, sigma_px: float) -> TileStack:
    """Gaussian; mirrored beyond the edge."""
    from scipy.ndimage import gaussian_filter

    return with_values(stack, _spread(stack, lambda planes: gaussian_filter(planes, (0, 0, sigma_px, sigma_px))))


def coarser(stack: TileStack, factor: float) -> TileStack:
    """Area averages of `factor` px a side (to the next whole number of them), linear between their centres."""
    rows, cols = (_through(side, factor) for side in stack.valid.shape[1:])
    return with_values(stack, _spread(stack, lambda planes: np.asarray(rows @ planes @ cols.T)))


def jpeg(stack: TileStack, quality: int) -> TileStack:
    """Compressed and read again, 4:2:0. Three bands of uint8."""
    images = [_through_jpeg(tile, quality) for tile in stack.pixels.transpose(0, 2, 3, 1)]
    return with_values(stack, np.stack(images).transpose(0, 3, 1, 2).astype(np.float32))


def stain(stack: TileStack, haematoxylin: float, eosin: float) -> TileStack:
    """More or less of each stain; see restained. R, G, B in uint8."""
    return with_values(stack, restained(stack.pixels.astype(np.uint8, copy=False), haematoxylin, eosin))


def sensor(stack: TileStack, gains: Sequence[float], offsets: Sequence[float]) -> TileStack:
    """Another sensor: (band,) factors, then (band,) offsets in the units of the pixels."""
    gain, offset = (np.asarray(values, np.float64)[:, None, None] for values in (gains, offsets))
    return with_values(stack, (_floats(stack) * gain + offset).astype(_floating(stack)))


def rotation(stack: TileStack, degrees: float) -> TileStack:
    """Turned about the centre, counter-clockwise, by cubic splines.

    The corners hold mirrored pixels: blank ones would measure what missing corners do, not what turning does.
    """
    from scipy.ndimage import rotate

    def turned(planes: Planes, order: int = 3) -> Planes:
        return np.asarray(rotate(planes, degrees, axes=(3, 2), reshape=False, order=order, mode="reflect"))

    valid = turned(stack.valid[:, None].astype(np.float32), order=0)[:, 0] > 0.5
    return with_values(replace(stack, valid=valid), _spread(stack, turned))


def with_values(stack: TileStack, values: Planes) -> TileStack:
    """The tiles with these values where they are valid, rounded to and clipped by their own dtype."""
    dtype = stack.pixels.dtype
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype.name)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return replace(stack, pixels=np.where(stack.valid[:, None], values.astype(dtype), stack.pixels))


def _floating(stack: TileStack) -> np.dtype[np.floating]:
    """What to compute in: float32 holds 16 bits."""
    return np.result_type(stack.pixels.dtype, np.float32)


def _floats(stack: TileStack) -> Planes:
    """The pixels to compute with; 0 where they are not valid, which may be NaN."""
    return np.where(stack.valid[:, None], stack.pixels, 0).astype(_floating(stack))


def _means(stack: TileStack) -> Planes:
    """(n, band, 1, 1) of the valid pixels."""
    total = _floats(stack).sum(axis=(2, 3), keepdims=True, dtype=np.float64)
    return np.asarray(total / np.maximum(stack.valid.sum(axis=(1, 2)), 1)[:, None, None, None], _floating(stack))


def _spread(stack: TileStack, operator: Callable[[Planes], Planes]) -> Planes:
    """A linear operator on the planes, as if the valid pixels were all there are (normalised convolution)."""
    weight = operator(stack.valid[:, None].astype(_floating(stack)))
    values = operator(_floats(stack))
    return np.divide(values, weight, out=np.zeros_like(values), where=weight > 1e-3)


def _through(side_px: int, factor: float) -> NDArray[np.float32]:
    """(side, side): from pixels to area averages and back to pixels, along one side."""
    small = max(1, round(side_px / factor))
    edges, pixel = np.linspace(0, side_px, small + 1), np.arange(side_px)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    down = np.maximum(shared, 0) * small / side_px
    centres = (edges[1:] + edges[:-1]) / 2
    up = np.stack([np.interp(pixel + 0.5, centres, one) for one in np.eye(small)], axis=1)
    return np.asarray(up @ down, np.float32)


def _through_jpeg(image: NDArray[np.generic], quality: int) -> NDArray[np.uint8]:
    """(h, w, 3)."""
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(image, np.uint8), "RGB").save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file))
