"""Whether probabilities mean what they say, and the temperature that helps them to."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput

BINS = 15
"""As Guo et al. 2017."""
TEMPERATURES = (0.05, 20.0)
"""Where a fit looks: tiles without a single mistake would have it go to 0."""


def reliability(
    probability: NDArray[np.floating], labels: NDArray[np.floating], exclusive: bool, bins: int = BINS
) -> list[dict[str, float | int]]:
    """How often answers of about the same confidence were right: rows of a reliability diagram, empty bins left out.

    probability, labels: (n, c). Guo et al. 2017: with exclusive classes the confidence is the highest probability of
    a tile, and it is right when that class is the tile's. Otherwise it is the probability of each class of each tile,
    and "accuracy" is how often that class is there. Bins are (low, high], equally wide; the first holds 0 too.
    """
    if exclusive:
        best = probability.argmax(axis=1)
        tile = np.arange(len(best))
        confidence, right = probability[tile, best].astype(np.float64), labels[tile, best].astype(np.float64)
    else:
        confidence, right = probability.ravel().astype(np.float64), labels.ravel().astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    rows: list[dict[str, float | int]] = []
    for i in np.unique(place):
        own = place == i
        row = {"low": float(i / bins), "high": float((i + 1) / bins), "count": int(own.sum())}
        rows.append(row | {"confidence": float(confidence[own].mean()), "accuracy": float(right[own].mean())})
    return rows


def expected_calibration_error(
    probability: NDArray[np.floating], labels: NDArray[np.floating], exclusive: bool, bins: int = BINS
) -> float | None:
    """Mean distance of confidence and accuracy over the bins, weighed by what is in them (Guo et al. 2017, eq. 3).

    probability, labels: (n, c); see reliability. None without tiles.
    """
    rows = reliability(probability, labels, exclusive, bins)
    total = sum(row["count"] for row in rows)
    if not total:
        return None
    return float(sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / total)


def negative_log_likelihood(
    logits: NDArray[np.floating], labels: NDArray[np.floating], exclusive: bool, temperature: float = 1.0
) -> float:
    """Mean over tiles (softmax) or over tiles and classes (sigmoid), nats. logits, labels: (n, c)."""
    cold = logits.astype(np.float64) / temperature
    if exclusive:
        normaliser = np.logaddexp.reduce(cold, axis=1)
        return float((normaliser - (cold * labels).sum(axis=1)).mean())
    return float((np.logaddexp(0, cold) - cold * labels).mean())


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.floating], exclusive: bool) -> float:
    """What to divide logits by so that their probabilities are likeliest (Guo et al. 2017, section 4.2).

    logits, labels: (n, c) of validation tiles; fitted on training tiles it would only confirm their overconfidence.
    The ranking of tiles stays, so do the answers. Between 0.05 and 20. Raises BadInput without tiles or with logits
    that are not numbers.
    """
    if not logits.size or logits.shape != labels.shape or not np.isfinite(logits).all():
        raise BadInput(
            f"no temperature can be fitted to logits {logits.shape} and labels {labels.shape}; both must be "
            "(tiles, classes), at least one tile, all of them finite numbers. Hold out validation tiles."
        )
    from scipy.optimize import minimize_scalar

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, labels, exclusive, math.exp(log)),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-5},
    )
    return math.exp(float(found.x))
