"""Texture of a tile, on the mean of its bands: local binary patterns and grey-level co-occurrence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from classifiers.classical.arrays import Tile, Vector

RADII = (1, 2, 3)
"""Px, of the rings of eight neighbours."""
PATTERNS = 10
"""Eight neighbours in one run, by its length 0 to 8; and all that are not in one run."""
BITS = 4
LEVELS = 2**BITS
"""Grey levels of the co-occurrence matrix."""
SPAN = 2.5
"""Standard deviations to either side of the mean that the levels cover."""
DISTANCES = (1, 2, 4)
"""Px, of the pixels that occur together."""
ANGLES = (0.0, 0.25 * math.pi, 0.5 * math.pi, 0.75 * math.pi)
FLAT = 1e-12
"""Variance below which all pixels are of one level; their correlation is 1 then."""


def lbp(tile: Tile) -> Vector:
    """(10 per radius,) shares of the uniform, rotation-invariant patterns (Ojala et al. 2002, eq. 9).

    Neighbours are the pixels nearest to the ring, not interpolated: equal pixels stay equal, and it is faster.
    """
    grey = tile.mean(axis=0)
    return np.concatenate([_patterns(grey, radius) for radius in RADII])


def _ring(radius: int) -> list[tuple[int, int]]:
    """(y, x) of the eight neighbours, once around."""
    angles = [math.pi * i / 4 for i in range(8)]
    return [(round(radius * math.sin(angle)), round(radius * math.cos(angle))) for angle in angles]


def _kind(code: int) -> int:
    """Pattern of a ring's eight bits."""
    bits = [code >> i & 1 for i in range(8)]
    turns = sum(bits[i] != bits[i - 1] for i in range(8))
    return sum(bits) if turns <= 2 else PATTERNS - 1


_KINDS = np.array([_kind(code) for code in range(256)])


def _patterns(grey: Tile, radius: int) -> Vector:
    """(h, w) -> (PATTERNS,) shares of the pixels that have a whole ring."""
    core = grey[radius:-radius, radius:-radius]
    height, width = core.shape
    codes = np.zeros(core.shape, np.uint8)
    for bit, (dy, dx) in enumerate(_ring(radius)):
        y, x = radius + dy, radius + dx
        codes |= (grey[y : y + height, x : x + width] >= core).view(np.uint8) << np.uint8(bit)
    counts = np.bincount(codes.ravel(), minlength=256)
    return np.bincount(_KINDS, weights=counts, minlength=PATTERNS) / core.size


def glcm(tile: Tile) -> Vector:
    """(8 per distance,): contrast, homogeneity, energy and correlation, mean over four angles and range over them.

    Haralick et al. 1973; the mean and the range do not change when a tile is turned by a right angle.
    """
    levels = np.clip((tile.mean(axis=0) + SPAN) * (LEVELS / (2 * SPAN)), 0, LEVELS - 1).astype(np.uint8)
    matrices = [cooccurrence(levels, distance, angle) for distance in DISTANCES for angle in ANGLES]
    told = properties(np.stack(matrices)).reshape(len(DISTANCES), len(ANGLES), -1)
    return np.concatenate([told.mean(axis=1), np.ptp(told, axis=1)], axis=1).ravel()


def cooccurrence(levels: NDArray[np.uint8], distance: int, angle: float) -> NDArray[np.float64]:
    """(h, w) below LEVELS -> (LEVELS, LEVELS) shares of the pairs at that distance, px, in both directions."""
    dy, dx = round(distance * math.sin(angle)), round(distance * math.cos(angle))
    height, width = levels.shape
    first = levels[: height - dy, max(0, -dx) : width - max(0, dx)]
    second = levels[dy:, max(0, dx) : width + min(0, dx)]
    counts = np.bincount((first << np.uint8(BITS) | second).ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS)
    return (counts + counts.T) / (2 * first.size)


def _weights() -> NDArray[np.float64]:
    """(LEVELS², 5): what each pair of levels (i, j) adds to (i - j)², 1 / (1 + (i - j)²), i, i² and ij."""
    i, j = (grid.ravel().astype(np.float64) for grid in np.indices((LEVELS, LEVELS)))
    apart = (i - j) ** 2
    return np.stack([apart, 1 / (1 + apart), i, i * i, i * j], axis=1)


_WEIGHTS = _weights()


def properties(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, LEVELS, LEVELS) symmetric, each of sum 1 -> (m, 4) contrast, homogeneity, energy, correlation."""
    flat = matrices.reshape(len(matrices), -1)
    contrast, homogeneity, mean, square, product = (flat @ _WEIGHTS).T
    variance = square - mean**2
    related = np.where(variance > FLAT, (product - mean**2) / np.maximum(variance, FLAT), 1)
    return np.stack([contrast, homogeneity, np.sqrt((flat**2).sum(axis=1)), related], axis=1)
