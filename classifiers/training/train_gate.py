"""Labelled tiles in, a gate's bundle out."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from classifiers.bundle import Bundle, write_bundle
from classifiers.export import export_bundle
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.torch_gate import build_gate
from classifiers.training.card import gate_card, told
from classifiers.training.checkpoint import identity_of
from classifiers.training.draft import cores, draft_bundle
from classifiers.training.fit import fit
from classifiers.training.gate_lesson import GateLesson, logits_of
from classifiers.training.hierarchy import with_parents
from classifiers.training.lesson import Watcher
from classifiers.training.measure_gate import domain, measure, require_enough, temperature_of
from classifiers.training.networks import load_pretrained, seeded
from classifiers.training.settings import TrainingRecipe
from classifiers.training.weights import cooled, halved, last_layer, undecided, weights_of
from tiling.errors import BadInput
from tiling.stack import TileStack

log = logging.getLogger("tilegate")

CHECKPOINTS = ".training"
"""Folder in the bundle's, while it is trained."""
_CHUNK = 256


def train_gate(
    tiles: LabelledTiles, split: Split, recipe: TrainingRecipe, folder: Path, watch: Watcher, *, command: str = ""
) -> Bundle:
    """Train, calibrate, measure, write and export; the bundle as it lies in `folder` then.

    Stopped and called again with the same tiles and recipe it goes on after the last whole epoch. command: what a
    reader of the card types to make it again. Everything in the card and in bundle.json is measured on the weights as
    they ship. Raises BadInput where the tiles can not teach it, or the network can not be built.
    """
    tiles = with_parents(cores(tiles), recipe.data.parents)
    draft = replace(draft_bundle(tiles, split, recipe), path=folder)
    require_enough(tiles, split, draft)
    network = seeded(lambda: build_gate(draft), recipe.fit.seed)
    last_layer(network)  # refused now, not after the training
    body = load_pretrained(network, recipe.network.pretrained, tiles.bands)
    undecided(network, body)
    lesson, identity = GateLesson(tiles, split, draft, recipe), identity_of(tiles, split, recipe)
    network = fit(network, body, lesson, recipe.fit, folder / CHECKPOINTS, watch, identity=identity)
    temperature = calibrated(network, draft, tiles, split, half=recipe.network.half)
    logits = logits_of(network, draft, tiles, split.test)
    measured = measure(logits, tiles, split, temperature, recipe.model.recall)
    final = replace(
        draft,
        threshold=measured.threshold,
        calibration=measured.calibration,
        metrics=measured.metrics,
        domain=domain(tiles, split),
    )
    card = gate_card(final, measured, told(tiles, split, recipe, command), sum(p.numel() for p in network.parameters()))
    written = write_bundle(final, folder, weights_of(network, half=recipe.network.half), card)
    exported = _exported(written, tiles, split)
    shutil.rmtree(folder / CHECKPOINTS)
    return exported


def calibrated(network: nn.Module, draft: Bundle, tiles: LabelledTiles, split: Split, *, half: bool) -> float:
    """Round the weights as they will be stored and fold the temperature of the validation tiles in; the temperature."""
    if half:
        halved(network)
    logits = logits_of(network, draft, tiles, split.validation)
    temperature = temperature_of(logits, tiles.labels[split.validation], exclusive=tiles.exclusive)
    cooled(network, temperature)
    if half:
        halved(network)
    log.info("%s: temperature %.3f", draft.name, temperature)
    return temperature


def _exported(bundle: Bundle, tiles: LabelledTiles, split: Split) -> Bundle:
    """With the export, or without one where OpenVINO does not answer as torch does; the bundle then says so."""
    try:
        return export_bundle(bundle, build_gate(bundle), stacks(tiles, split))
    except BadInput as error:
        log.warning("%s", error)
        return bundle


def stacks(tiles: LabelledTiles, split: Split) -> list[TileStack]:
    """The test tiles."""
    parts = np.split(split.test, range(_CHUNK, len(split.test), _CHUNK))
    return [tiles.stack(part) for part in parts]
