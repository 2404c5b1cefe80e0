"""What tiles look like, and how far others are from the look of those a gate was calibrated on.

A tile is described by its own pixels in the gate's bands (brightness, contrast, colour, sharpness), not by features of
the network: that works for gates of any kind, costs little, and does not share the blind spots of what it watches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Domain
from tiling.errors import BadInput
from tiling.stack import TileStack

MIN_VALID = 0.5
"""A tile of which a smaller share holds data is not judged."""
BLOCK_PX = 4
"""Side of the blocks whose means are the coarse scale."""
QUANTILES = (0.05, 0.95)
QUANTILE_PX = 1024
"""About so many pixels of a tile are sorted for its quantiles."""
HELD_OUT = 0.99
"""Share of the held-out tiles that lie within the limit."""
LEAST_SHRINKAGE = 1e-6
"""Keeps a covariance invertible whose bands are copies of each other."""
GRID = 100
"""Scores that differ by less than 1 / GRID are the same score for population_stability."""

Values = NDArray[np.float32]


def describe(stack: TileStack) -> NDArray[np.float64]:
    """(n, 5 bands + 1) numbers per tile; a row of NaN where too little of a tile holds data, or it is under 8 px.

    Per band: mean, 5 % and 95 % quantile, standard deviation. Between each band and the next: standard deviation of
    their difference. Of the mean of the bands: mean step between neighbours, pixel by pixel and between blocks of 4 px:
    noise and blur change the first more than the second. All over the valid pixels, and all as square roots (those of
    negative numbers negative), since brightness and spreads have long tails. Each tile on its own, so its neighbours in
    the stack change no bit.
    """
    count = 5 * stack.pixels.shape[1] + 1
    with np.errstate(invalid="ignore", over="ignore"):  # where NaN or infinity is "valid": such a row is not judged
        rows = [_describe(pixels, valid) for pixels, valid in zip(stack.pixels, stack.valid, strict=True)]
    found = np.array([np.full(count, np.nan) if row is None else row for row in rows], np.float64).reshape(-1, count)
    roots = np.copysign(np.sqrt(np.abs(found)), found)
    return np.where(np.isfinite(roots).all(axis=1, keepdims=True), roots, np.nan)


def _describe(pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> Values | None:
    """(5 bands + 1,) of one tile. pixels: (band, h, w); valid: (h, w)."""
    known = np.count_nonzero(valid)
    if known < MIN_VALID * valid.size or min(valid.shape) < 2 * BLOCK_PX:
        return None
    values, mask = pixels.astype(np.float32), None if known == valid.size else valid
    grey = values.sum(axis=0) / np.float32(len(values))
    if mask is not None:
        grey = np.where(mask, grey, np.float32(0))
    fine, coarse = _step(grey, mask), _step(*_blocks(grey, mask))
    if fine is None or coarse is None:
        return None
    flat = values.reshape(len(values), -1)
    seen = flat if mask is None else flat.take(np.flatnonzero(mask), axis=1)
    mean = seen.mean(axis=1)
    centred = seen - mean[:, None]
    spreads = _deviation(centred), _deviation(centred[1:] - centred[:-1])
    return np.concatenate([mean, *_quantiles(seen), *spreads, (fine, coarse)])


def _deviation(centred: Values) -> Values:
    """(rows, pixels) -> (rows,) root of the mean square."""
    return np.asarray(np.sqrt(np.square(centred).mean(axis=1)))


def _quantiles(seen: Values) -> list[Values]:
    """Of each row, over an odd stride of its pixels: an even one may see some columns only."""
    some = np.sort(seen[:, :: max(1, seen.shape[1] // QUANTILE_PX) | 1], axis=1)
    return [some[:, round(share * (some.shape[1] - 1))] for share in QUANTILES]


def _step(grey: Values, valid: NDArray[np.bool_] | None) -> np.float32 | None:
    """Mean absolute difference of neighbours, downwards and to the right; None where no two are valid."""
    steps = np.abs(grey[1:] - grey[:-1]), np.abs(grey[:, 1:] - grey[:, :-1])
    if valid is None:
        return np.float32((steps[0].mean() + steps[1].mean()) / 2)
    both = valid[1:] & valid[:-1], valid[:, 1:] & valid[:, :-1]
    counts = [np.count_nonzero(pairs) for pairs in both]
    if not all(counts):
        return None
    means = [(far * pairs).sum() / np.float32(count) for far, pairs, count in zip(steps, both, counts, strict=True)]
    return np.float32((means[0] + means[1]) / 2)


def _blocks(grey: Values, valid: NDArray[np.bool_] | None) -> tuple[Values, NDArray[np.bool_] | None]:
    """Means of whole blocks, and which of them are valid throughout."""
    rows, cols = (side // BLOCK_PX for side in grey.shape)
    cut = slice(rows * BLOCK_PX), slice(cols * BLOCK_PX)
    tall = grey[cut].reshape(rows, BLOCK_PX, cols * BLOCK_PX).sum(axis=1)
    means = tall.reshape(rows, cols, BLOCK_PX).sum(axis=2) / np.float32(BLOCK_PX**2)
    if valid is None:
        return means, None
    return means, np.asarray(valid[cut].reshape(rows, BLOCK_PX, cols, BLOCK_PX).all(axis=(1, 3)))


def domain_of(train: NDArray[np.float64], held_out: NDArray[np.float64]) -> Domain:
    """The domain of a gate: where the descriptors of its training tiles lie, and how far held-out ones may be.

    train, held_out: (n, k) of describe; rows of NaN are left out. Distances are Mahalanobis' (1936) under a covariance
    shrunk as by Ledoit and Wolf (2004), each number first divided by its standard deviation. The limit is the 99 %
    quantile of the held-out distances, rounded up to one of them. Raises BadInput where there are too few tiles.
    """
    seen, held = train[np.isfinite(train).all(axis=1)], held_out[np.isfinite(held_out).all(axis=1)]
    if len(seen) < 2 or not len(held):
        raise BadInput(
            f"{len(seen)} training tiles and {len(held)} held-out tiles can be described; a domain needs 2 and 1. "
            f"Tiles with less than {100 * MIN_VALID:.0f} % of valid pixels, or smaller than {2 * BLOCK_PX} px, cannot be."
        )
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    scale[scale == 0] = 1
    precision = np.linalg.inv(shrunk_covariance((seen - mean) / scale)) / np.outer(scale, scale)
    draft = Domain(
        tiles=len(seen), mean=tuple(mean.tolist()), precision=tuple(map(tuple, precision.tolist())), limit=1.0
    )
    limit = float(np.quantile(distance(held, draft), HELD_OUT, method="higher"))
    return replace(draft, limit=max(limit, np.finfo(np.float32).tiny.item()))


def shrunk_covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) of mean 0 -> (k, k), between the sample's covariance and a sphere of its mean variance.

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", eq. 14.
    """
    count, width = centred.shape
    sample = centred.T @ centred / count
    sphere = np.eye(width) * max(np.trace(sample) / width, np.finfo(np.float32).tiny)
    apart = np.square(sample - sphere).sum()
    noise = (np.square(np.square(centred).sum(axis=1)).sum() / count - np.square(sample).sum()) / count
    share = max(min(noise / apart, 1.0), LEAST_SHRINKAGE) if apart else 1.0
    return np.asarray(share * sphere + (1 - share) * sample)


def distance(descriptors: NDArray[np.float64], domain: Domain) -> NDArray[np.float64]:
    """(n, k) -> (n,) Mahalanobis distance from the domain's mean; NaN for a row of NaN. Raises BadInput for another k."""
    mean, precision = np.array(domain.mean), np.array(domain.precision)
    if descriptors.shape[1] != len(mean):
        raise BadInput(f"tiles of {descriptors.shape[1]} numbers under a domain of {len(mean)}: other bands, or code")
    # row by row, and without BLAS: the bits of one tile do not depend on how many there are
    squares = [float(((row[:, None] * precision).sum(axis=0) * row).sum()) for row in descriptors - mean]
    return np.array([math.sqrt(max(square, 0.0)) if square == square else math.nan for square in squares])  # noqa: PLR0124


def population_stability(reference: Sequence[float], found: Sequence[float]) -> float:
    """Population stability index of scores: the sum over bins of (q - p) ln(q / p). NaN where one side is empty.

    p, q: shares of the reference and of the found scores. Bins: deciles of the reference, after rounding to hundredths,
    equal ones merged, and one below its lowest score; half a score is added to each bin, so none is empty. Usual bounds
    (Siddiqi 2006, "Credit Risk Scorecards"): below 0.1 stable, above 0.25 another population; see stability_by_chance.
    """
    if not len(reference) or not len(found):
        return math.nan
    edges = _bins(reference)
    p, q = _shares(reference, edges), _shares(found, edges)
    return float(((q - p) * np.log(q / p)).sum())


def stability_by_chance(reference: Sequence[float], found: Sequence[float]) -> float:
    """What 99 of 100 samples of this size from one population stay below: chi-squared (1 / n + 1 / m), bins - 1 degrees.

    Yurdakul 2018, "Statistical properties of population stability index"; the quantile after Wilson and Hilferty 1931.
    """
    freedom, normal = len(_bins(reference)), 2.326
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + normal * math.sqrt(part)) ** 3 * (1 / len(reference) + 1 / len(found)))


def _bins(reference: Sequence[float]) -> NDArray[np.float64]:
    """Upper edges of all bins but the last."""
    scores = _rounded(reference)
    deciles = np.quantile(scores, np.arange(1, 10) / 10, method="inverted_cdf")
    return np.unique(np.concatenate([[scores.min() - 0.5], deciles]))


def _shares(scores: Sequence[float], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, _rounded(scores)), minlength=len(edges) + 1) + 0.5
    return np.asarray(counts / counts.sum())


def _rounded(scores: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(np.rint(np.asarray(scores, np.float64) * GRID))
