"""From labelled tiles to the arrays of a classical gate. Needs scikit-learn."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Bundle, ClassifierName, FeatureName
from classifiers.classical.arrays import Arrays, as_bytes
from classifiers.classical.decide import scaled
from classifiers.classical.describe import describe, probe, widths
from classifiers.classical.fit_classifier import (
    EXAMPLES_MOST,
    Examples,
    Values,
    fit_classifier,
    fit_scale,
    thinned,
)
from classifiers.classical.fit_codebook import fit_codebook
from classifiers.classical.search import search
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.preprocess import normalise
from classifiers.training.settings import ClassicalSettings, FitSettings
from tiling.errors import BadInput

log = logging.getLogger("tilegate")

CODEBOOK_TILES = 500
"""Tiles that a codebook is learnt from, drawn from the training tiles."""
MOST_BYTES = 2 * 2**20
"""Of model.safetensors."""
_CHUNK = 64


def learn(
    tiles: LabelledTiles, split: Split, draft: Bundle, settings: ClassicalSettings, fit: FitSettings
) -> tuple[Arrays, Values]:
    """From the training tiles alone: what ClassicalRuntime takes, with temperature 1, and the hyperparameters chosen."""
    train, names = split.train, settings.features
    drawn = np.random.default_rng(fit.seed).permutation(train)[:CODEBOOK_TILES]
    codes = fit_codebook(normalise(tiles.stack(drawn), draft), names, fit.seed)
    if settings.classifier in {"svm", "knn"}:
        train = train[thinned(tiles.labels[train], EXAMPLES_MOST, fit.seed)]
        log.info("%s learns from %d of %d tiles", settings.classifier, len(train), len(split.train))
    found = table(tiles, train, draft, names, codes)
    scale = fit_scale(found, widths(len(tiles.bands), names, codes), settings.classifier)
    examples = Examples(
        features=scaled(found, scale),
        labels=tiles.labels[train],
        exclusive=tiles.exclusive,
        balanced=fit.class_weights,
        seed=fit.seed,
    )
    values = search(settings.classifier, examples, tiles.groups[train])
    fitted = fit_classifier(settings.classifier, examples, values)
    told = {"probe": probe(len(tiles.bands), names, codes).astype(np.float32), "temperature": np.ones((), np.float32)}
    return {**codes, **scale, **fitted, **told}, values


def table(
    tiles: LabelledTiles, chosen: NDArray[np.intp], draft: Bundle, names: Sequence[FeatureName], codes: Arrays
) -> NDArray[np.float64]:
    """(n, k) features of some of the tiles, not scaled."""
    rows = []
    for start in range(0, len(chosen), _CHUNK):
        pixels = normalise(tiles.stack(chosen[start : start + _CHUNK]), draft)
        rows += [describe(tile, names, codes) for tile in pixels]
    return np.stack(rows)


def stored(arrays: Arrays, classifier: ClassifierName) -> bytes:
    """As model.safetensors. Raises BadInput when it is too large to be a small gate."""
    weights = as_bytes(arrays)
    if len(weights) > MOST_BYTES:
        largest = max(arrays, key=lambda name: arrays[name].nbytes)
        raise BadInput(
            f"this {classifier} takes {len(weights):,} bytes, at most {MOST_BYTES:,} are for a classical gate; the "
            f"largest part is {largest}, {arrays[largest].shape}. Take fewer features or another classifier."
        )
    return weights
