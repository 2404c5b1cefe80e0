"""Colour of a tile: moments, quantiles and histogram of each band, and how bands differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifiers.classical.arrays import Tile, Vector

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 16
SPAN = 3.0
"""Standard deviations to either side of the mean that a histogram covers; what lies outside is in its last bins."""
FLAT = 1e-12
"""Variance below which a band counts as flat: it is correlated with nothing."""


def colour(tile: Tile) -> Vector:
    """(23 per band and 8 per pair of bands,). Pairs: each band and the next, around; all of them for three bands."""
    bands = tile.reshape(len(tile), -1)
    pairs = band_pairs(len(bands))
    between = np.stack([bands[i] - bands[j] for i, j in pairs]) if pairs else bands[:0]
    parts = (_moments(bands), _histogram(bands), _moments(between), _correlation(bands, pairs))
    return np.concatenate([part.ravel() for part in parts]).astype(np.float64)


def band_pairs(count: int) -> list[tuple[int, int]]:
    """Neighbours in the order of the bands; the last and the first are neighbours, too, where that is a new pair."""
    return [(i, (i + 1) % count) for i in range(count if count > 2 else count - 1)]


def _moments(rows: Tile) -> NDArray[np.float32]:
    """(r, n) -> (r, 7): mean, standard deviation, quantiles (the nearest value)."""
    ranks = np.rint(np.array(QUANTILES) * (rows.shape[1] - 1)).astype(int)
    columns = (rows.mean(axis=1)[:, None], rows.std(axis=1)[:, None], np.sort(rows, axis=1)[:, ranks])
    return np.concatenate(columns, axis=1)


def _histogram(bands: Tile) -> NDArray[np.float64]:
    """(band, n) -> (band, BINS) shares of the pixels."""
    bins = np.clip((bands + SPAN) * (BINS / (2 * SPAN)), 0, BINS - 1).astype(np.intp)
    bins += BINS * np.arange(len(bands))[:, None]
    counts = np.bincount(bins.ravel(), minlength=BINS * len(bands))
    return np.asarray(counts.reshape(-1, BINS) / bands.shape[1], np.float64)


def _correlation(bands: Tile, pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
    """(pairs,) Pearson's, in [-1, 1]; 0 where a band is flat."""
    apart = bands - bands.mean(axis=1, keepdims=True)
    variance = (apart * apart).mean(axis=1)
    found = [(apart[i] * apart[j]).mean() / np.sqrt(max(variance[i] * variance[j], FLAT**2)) for i, j in pairs]
    return np.array([r if min(variance[i], variance[j]) > FLAT else 0 for r, (i, j) in zip(found, pairs, strict=True)])
