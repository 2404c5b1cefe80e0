"""Edges of a tile, on the mean of its bands: histograms of oriented gradients, pooled over all cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifiers.classical.arrays import Tile, Vector

BINS = 8
"""Orientations; eight, so that a quarter turn is a whole number of them."""
CELL_PX = 8
EPSILON = 1e-2
"""Added to the norm of a cell: a flat one has no orientation."""
QUANTILES = (0.1, 0.5, 0.9)


def hog(tile: Tile) -> Vector:
    """(3 * BINS + 5,), the same for tiles of any side, and for one turned by a right angle.

    Mean and standard deviation over the cells of their normalised histograms, from the tile's strongest orientation
    on; mean of the histograms, each from its own strongest on (how straight edges are); how strong edges are: mean,
    standard deviation and quantiles of the logarithm.
    """
    histograms = cell_histograms(tile.mean(axis=0))
    strength = np.sqrt((histograms**2).sum(axis=1) + EPSILON**2)
    cells = histograms / strength[:, None]
    own = (cells.argmax(axis=1)[:, None] + np.arange(BINS)) % BINS
    edges = np.log(strength)
    together = cells.mean(axis=0)
    turned = (np.arange(BINS) + together.argmax()) % BINS
    ranked = np.sort(edges)[np.rint(np.array(QUANTILES) * (len(edges) - 1)).astype(int)]
    straight = np.take_along_axis(cells, own, axis=1).mean(axis=0)
    moments = np.array([edges.mean(), edges.std()])
    return np.concatenate([together[turned], cells.std(axis=0)[turned], straight, moments, ranked])


def cell_histograms(grey: Tile) -> NDArray[np.float64]:
    """(h, w) -> (cells, BINS): mean magnitude of the gradients of each orientation (Dalal and Triggs 2005, unsigned).

    Whole cells from the top left on; the gradient is 0 across the edge of the tile.
    """
    rows, columns = (side // CELL_PX for side in grey.shape)
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[1:-1] = grey[2:] - grey[:-2]
    right[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    down, right = (part[: rows * CELL_PX, : columns * CELL_PX] for part in (down, right))
    turn = np.arctan2(down, right) * np.float32(BINS / np.pi)
    bins = np.floor(turn).astype(np.intp) % BINS
    cell = np.arange(rows * columns).reshape(rows, columns).repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    strength = np.sqrt(down * down + right * right)
    sums = np.bincount((cell * BINS + bins).ravel(), weights=strength.ravel(), minlength=rows * columns * BINS)
    return sums.reshape(-1, BINS) / CELL_PX**2
