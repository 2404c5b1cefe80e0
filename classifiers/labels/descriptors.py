"""Colour and texture of tiles in a few numbers: enough to tell which labels do not fit, without a network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles

Floats = NDArray[np.float32]
_SIDE_PX = 64
"""Larger tiles are averaged down to about this side."""
_READ_BYTES = 2_000_000
"""Of float32 pixels described at once: as much as stays in a processor's cache."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_EVERY = 4
"""Quantiles are of every fourth pixel."""
_LAGS_PX = (1, 2, 4)
_RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
"""The neighbours of (1, 1), in order."""


def descriptors(tiles: LabelledTiles) -> NDArray[np.float64]:
    """(n, k) colour and texture of each tile.

    Per band the mean, quantiles, and the logarithms of the spread and of the mean change over 1, 2 and 4 px; and how
    often each local binary pattern (Ojala et al. 2002; 8 neighbours, rotation-invariant, uniform) occurs.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of pixels that are infinite, or nearly so
        described = np.concatenate([_described(_large_enough(pixels)) for pixels in _pixels(tiles)])
    return np.nan_to_num(described.astype(np.float64), posinf=0, neginf=0)


def _large_enough(pixels: Floats) -> Floats:
    """Tiles that are smaller than what is compared in them, with their edges repeated."""
    missing = [(0, max(0, 1 + max(_LAGS_PX) - side)) for side in pixels.shape[2:]]
    return np.pad(pixels, ((0, 0), (0, 0), *missing), mode="edge")


def _pixels(tiles: LabelledTiles) -> Iterator[Floats]:
    """(some, band, h, w), pixels that are not valid replaced by their tile's mean, large tiles averaged down."""
    at_once = max(1, _READ_BYTES // (4 * tiles.side_px**2 * len(tiles.bands)))
    step = -(-tiles.side_px // _SIDE_PX)
    side = tiles.side_px // step
    for start in range(0, len(tiles), at_once):
        valid = tiles.valid[start : start + at_once, None]
        pixels = tiles.pixels[start : start + at_once].astype(np.float32)
        if not valid.all():
            pixels = np.where(valid, pixels, np.float32(0))
            mean = pixels.sum(axis=(2, 3), keepdims=True) / np.maximum(valid.sum(axis=(2, 3), keepdims=True), 1)
            pixels = np.where(valid, pixels, mean.astype(np.float32))
        cut = pixels[:, :, : side * step, : side * step]
        yield cut.reshape(*cut.shape[:2], side, step, side, step).mean(axis=(3, 5)) if step > 1 else cut


def _described(pixels: Floats) -> Floats:
    """(n, band, h, w) -> (n, k)."""
    flat = pixels.reshape(*pixels.shape[:2], -1)
    ordered = np.sort(flat[:, :, ::_EVERY], axis=2)
    places = [round(share * (ordered.shape[2] - 1)) for share in _QUANTILES]
    changes = [flat.std(axis=2)]
    for lag in _LAGS_PX:
        changes += [np.abs(pixels[..., lag:, :] - pixels[..., :-lag, :]).mean(axis=(2, 3))]
        changes += [np.abs(pixels[..., lag:] - pixels[..., :-lag]).mean(axis=(2, 3))]
    colour = [flat.mean(axis=2), *(ordered[:, :, place] for place in places)]
    return np.hstack([*colour, *map(np.log1p, changes), _patterns(pixels.mean(axis=1))])


def _patterns(grey: Floats) -> Floats:
    """(n, h, w) -> (n, 10) shares of pixels with 0 … 8 neighbours as bright, in one run, and with any other pattern."""
    n, height, width = len(grey), grey.shape[1] - 2, grey.shape[2] - 2
    centre = grey[:, 1:-1, 1:-1]
    ring = [grey[:, y : y + height, x : x + width] >= centre for y, x in _RING]
    bright, turns = np.zeros(centre.shape, np.uint8), np.zeros(centre.shape, np.uint8)
    for before, neighbour in zip([ring[-1], *ring], ring, strict=False):
        bright += neighbour
        turns += before != neighbour
    pattern = np.where(turns <= 2, bright, 9).astype(np.intp) + 10 * np.arange(n)[:, None, None]
    counts = np.bincount(pattern.ravel(), minlength=10 * n).reshape(n, 10)
    return np.asarray(counts / (height * width), np.float32)
