"""Small dense patches of a tile, summarised: a bag of visual words, and Fisher vectors."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from classifiers.classical.arrays import Arrays, Table, Tile, Vector

PATCH_PX = 6
STRIDE_PX = 3


def patches(tile: Tile) -> Table:
    """(m, band * PATCH_PX²), all bands of each patch."""
    windows = sliding_window_view(tile, (PATCH_PX, PATCH_PX), axis=(1, 2))[:, ::STRIDE_PX, ::STRIDE_PX]
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(-1, len(tile) * PATCH_PX**2)


def whitened(found: Table, codes: Arrays) -> Table:
    """(m, d) patches -> (m, q) on their first principal axes, each of variance 1 in training."""
    return np.asarray((found - codes["patch.mean"]) @ codes["patch.axes"], np.float32)


def words(tile: Tile, codes: Arrays) -> Vector:
    """(words,) square root of the share of the patches that are nearest to each word (Hellinger's kernel)."""
    found, centres = whitened(patches(tile), codes), codes["words.centres"]
    nearest = ((centres**2).sum(axis=1) - 2 * found @ centres.T).argmin(axis=1)
    return np.sqrt(np.bincount(nearest, minlength=len(centres)) / len(found))


def fisher(tile: Tile, codes: Arrays) -> Vector:
    """(2 * gaussians * q,) improved Fisher vector (Perronnin et al. 2010): signed square roots, of length 1."""
    raw = gradients(whitened(patches(tile), codes), codes)
    rooted = np.sign(raw) * np.sqrt(np.abs(raw))
    return np.asarray(rooted / max(float(np.linalg.norm(rooted)), 1e-12), np.float64)


def gradients(found: Table, codes: Arrays) -> Vector:
    """(m, q) -> (2 * gaussians * q,) of the mixture's log-likelihood: by its means, then by its deviations.

    Perronnin et al. 2010, eqs. 7 and 8; averaged over the patches.
    """
    weight, mean, deviation = (codes[f"fisher.{name}"] for name in ("weights", "means", "deviations"))
    square, precision = found**2, 1 / deviation**2
    apart = square @ precision.T - 2 * found @ (mean * precision).T + (mean**2 * precision).sum(axis=1)
    likelihood = np.log(weight) - np.log(deviation).sum(axis=1) - apart / 2
    likelihood -= likelihood.max(axis=1, keepdims=True)
    share = np.exp(likelihood)
    share /= share.sum(axis=1, keepdims=True)
    share /= len(found)
    count, first, second = share.sum(axis=0)[:, None], share.T @ found, share.T @ square
    by_mean = (first - count * mean) / deviation / np.sqrt(weight)[:, None]
    by_deviation = ((second - 2 * first * mean + count * mean**2) * precision - count) / np.sqrt(2 * weight)[:, None]
    return np.concatenate([by_mean.ravel(), by_deviation.ravel()])
