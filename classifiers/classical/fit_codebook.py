"""Codebooks of small patches: principal axes, visual words, a mixture of Gaussians. Needs scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import FeatureName
from classifiers.classical.arrays import Arrays, Table
from classifiers.classical.patches import patches, whitened

PATCHES = 20_000
"""That a codebook is learnt from."""
AXES, WORDS, GAUSSIANS = 24, 128, 16
RIDGE = 1e-3
"""Share of the largest variance that is added to each: axes of noise are not blown up."""


def needs_codebook(features: Sequence[FeatureName]) -> bool:
    """Whether any of them summarises patches."""
    return bool({"words", "fisher"} & set(features))


def fit_codebook(pixels: NDArray[np.float32], features: Sequence[FeatureName], seed: int) -> Arrays:
    """What these features need, nothing where they need none. pixels: (n, band, h, w) normalised, a draw of tiles."""
    if not needs_codebook(features):
        return {}
    random = np.random.default_rng(seed)
    each = -(-PATCHES // len(pixels))
    drawn = [random.permutation(patches(tile))[:each] for tile in pixels]
    sample = np.concatenate(drawn)
    codes: dict[str, NDArray[np.float32]] = principal_axes(sample)
    found = whitened(sample, codes)
    if "words" in features:
        codes |= fit_words(found, seed)
    if "fisher" in features:
        codes |= fit_mixture(found, seed)
    return codes


def principal_axes(sample: Table) -> dict[str, NDArray[np.float32]]:
    """(m, d) -> their mean (d,) and first axes (d, AXES), each divided by the deviation along it."""
    mean = sample.mean(axis=0, dtype=np.float64)
    apart = sample - mean
    variance, axes = np.linalg.eigh(apart.T @ apart / len(sample))
    variance, axes = variance[::-1][:AXES], axes[:, ::-1][:, :AXES]
    spread = np.sqrt(variance + max(RIDGE * float(variance[0]), 1e-9))
    return {"patch.mean": mean.astype(np.float32), "patch.axes": (axes / spread).astype(np.float32)}


def fit_words(found: Table, seed: int) -> dict[str, NDArray[np.float32]]:
    """k-means; fewer words where there are fewer different patches."""
    from sklearn.cluster import KMeans

    count = min(WORDS, len(np.unique(found, axis=0)))
    model = KMeans(count, n_init=1, max_iter=30, random_state=seed).fit(found)
    return {"words.centres": model.cluster_centers_.astype(np.float32)}


def fit_mixture(found: Table, seed: int) -> dict[str, NDArray[np.float32]]:
    """Gaussians with diagonal covariance, by expectation maximisation; stopped early, it need not converge."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    count = min(GAUSSIANS, len(np.unique(found, axis=0)))
    model = GaussianMixture(count, covariance_type="diag", reg_covar=1e-2, max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(found)
    parts = {"weights": model.weights_, "means": model.means_, "deviations": np.sqrt(model.covariances_)}
    return {f"fisher.{name}": part.astype(np.float32) for name, part in parts.items()}
