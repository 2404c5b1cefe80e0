"""Labelled tiles in, the bundle of a classical gate out. Needs scikit-learn, and no network."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import Bundle, write_bundle
from classifiers.bundle_contract import CLASSICAL
from classifiers.classical.arrays import Arrays
from classifiers.classical.classical_card import classical_card
from classifiers.classical.learn import learn, stored
from classifiers.classical.numpy_runtime import ClassicalRuntime
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.preprocess import normalise
from classifiers.training.card import told
from classifiers.training.draft import checked, cores, draft_bundle
from classifiers.training.hierarchy import with_parents
from classifiers.training.measure_gate import domain, measure, require_enough, temperature_of
from classifiers.training.settings import ClassicalSettings, NetworkSettings, TrainingRecipe
from tiling.errors import BadInput

log = logging.getLogger("tilegate")

_CHUNK = 64


def train_classical(
    tiles: LabelledTiles, split: Split, recipe: TrainingRecipe, folder: Path, *, command: str = ""
) -> Bundle:
    """Fit, calibrate, measure and write; the bundle as it lies in `folder` then. Seeded: the same tiles, the same bytes.

    Temperature from the validation tiles; threshold, evidence and figures from the test tiles, of the arrays as they
    ship. command: what a reader of the card types to make it again. Raises BadInput where the tiles can not teach it.
    """
    settings = _settings(recipe)
    tiles = with_parents(cores(tiles), recipe.data.parents)
    draft = replace(classical_draft(tiles, split, recipe, settings), path=folder)
    require_enough(tiles, split, draft)
    arrays, values = learn(tiles, split, draft, settings, recipe.fit)
    arrays = calibrated(arrays, draft, tiles, split)
    logits = _logits(ClassicalRuntime(draft, arrays), draft, tiles, split.test)
    measured = measure(logits, tiles, split, float(arrays["temperature"]), recipe.model.recall)
    final = replace(
        draft,
        threshold=measured.threshold,
        calibration=measured.calibration,
        metrics=measured.metrics,
        domain=domain(tiles, split),
    )
    card = classical_card(final, measured, told(tiles, split, recipe, command), arrays, values)
    return write_bundle(final, folder, stored(arrays, settings.classifier), card)


def classical_draft(tiles: LabelledTiles, split: Split, recipe: TrainingRecipe, settings: ClassicalSettings) -> Bundle:
    """As draft_bundle, without a network."""
    draft = draft_bundle(tiles, split, replace(recipe, network=NetworkSettings()))
    arguments = {name: value for name, value in draft.hyperparameters.items() if name == "parents"}
    arguments |= {"features": settings.features, "classifier": settings.classifier}
    return checked(replace(draft, architecture=CLASSICAL, hyperparameters=arguments))


def calibrated(arrays: Arrays, draft: Bundle, tiles: LabelledTiles, split: Split) -> Arrays:
    """With the temperature of the validation tiles, by which all logits are divided."""
    logits = _logits(ClassicalRuntime(draft, arrays), draft, tiles, split.validation)
    temperature = temperature_of(logits, tiles.labels[split.validation], exclusive=tiles.exclusive)
    log.info("%s: temperature %.3f", draft.name, temperature)
    return {**arrays, "temperature": np.array(temperature, np.float32)}


def _logits(
    runtime: ClassicalRuntime, draft: Bundle, tiles: LabelledTiles, chosen: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(n, classes) of some of the tiles."""
    parts = [chosen[start : start + _CHUNK] for start in range(0, len(chosen), _CHUNK)]
    return np.concatenate([runtime.infer(normalise(tiles.stack(part), draft)) for part in parts])


def _settings(recipe: TrainingRecipe) -> ClassicalSettings:
    if recipe.classical is None:
        raise BadInput("the recipe has no [classical]: without it a gate is a network, see train_gate")
    return recipe.classical
