"""Labelled tiles in, a segmenter's bundle out."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
from numpy.typing import NDArray
from torch import nn

from classifiers.answers import require_shape
from classifiers.bundle import Bundle, write_bundle
from classifiers.export import export_bundle
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.preprocess import padded
from classifiers.torch_runtime import TorchRuntime
from classifiers.training.card import told
from classifiers.training.checkpoint import identity_of
from classifiers.training.draft import checked, draft_bundle
from classifiers.training.fit import fit
from classifiers.training.lesson import Watcher
from classifiers.training.networks import load_pretrained, seeded
from classifiers.training.settings import TrainingRecipe
from classifiers.training.train_gate import CHECKPOINTS
from classifiers.training.weights import weights_of
from downstream.network_segmenter import NetworkSegmenter
from downstream.torch_segmenter import build_segmenter
from downstream.training.area_shift import shift_to_area
from downstream.training.mask_lesson import MaskLesson, labelled_pixels
from downstream.training.segment_tiles import TILES_AT_ONCE, measure, with_masks
from downstream.training.segmenter_card import segmenter_card
from tiling.errors import BadInput
from tiling.stack import require_labels_for

log = logging.getLogger("tilegate")


def train_segmenter(
    tiles: LabelledTiles, split: Split, recipe: TrainingRecipe, folder: Path, watch: Watcher, *, command: str = ""
) -> Bundle:
    """Train, measure, write and export; the bundle as it lies in `folder` then.

    Stopped and called again with the same tiles and recipe it goes on after the last whole epoch. Tiles without masks
    are taken as of their class all over. command: what a reader of the card types to make it again. Everything in
    the card and in bundle.json is measured on the weights as they ship. Raises BadInput where the tiles can not
    teach it, or the network can not be built.
    """
    tiles = with_masks(tiles)
    draft = replace(draft_segmenter(tiles, split, recipe), path=folder)
    require_enough(tiles, split)
    network = seeded(lambda: build_segmenter(draft), recipe.fit.seed)
    require_answers(network, draft, tiles)
    body = load_pretrained(network, recipe.network.pretrained, tiles.bands)
    lesson, identity = MaskLesson(tiles, split, draft, recipe), identity_of(tiles, split, recipe)
    network = fit(network, body, lesson, recipe.fit, folder / CHECKPOINTS, watch, identity=identity)
    shifted = shift_to_area(network, draft, tiles, split, half=recipe.network.half)
    measured = measure(NetworkSegmenter(draft, TorchRuntime(network, draft)), tiles, split.test)
    final = replace(draft, metrics={**measured.metrics, **shifted})
    log.info("%s: %s", final.name, dict(final.metrics))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = segmenter_card(final, measured, told(tiles, split, recipe, command), parameters, tiles.halo_px)
    written = write_bundle(final, folder, weights_of(network, half=recipe.network.half), card)
    exported = _exported(written, tiles, split)
    shutil.rmtree(folder / CHECKPOINTS)
    return exported


def draft_segmenter(tiles: LabelledTiles, split: Split, recipe: TrainingRecipe) -> Bundle:
    """The contract before there are weights. One class is a sigmoid; several are a softmax, background first.

    Raises BadInput for what masks can not say, and where bundle.json could not say it.
    """
    network, several = recipe.network, len(tiles.classes) > 1
    if recipe.data.parents:
        raise BadInput(
            "data.parents is for gates: a pixel of a mask is of one class, without its parent. Leave it out."
        )
    if several and recipe.data.exclusive is False:
        raise BadInput(
            f"data.exclusive = false: masks hold one class per pixel, so {', '.join(tiles.classes)} can not overlap. "
            "Leave it out, or train one segmenter per class."
        )
    require_labels_for(tiles.classes, "the data")
    hyperparameters: dict[str, str | int | tuple[int, ...]] = {
        "encoder_name": encoder_name(network.architecture),
        "encoder_depth": len(network.decoder_channels),
        "decoder_channels": network.decoder_channels,
    }
    if network.zoom > 1:
        hyperparameters["zoom"] = network.zoom
    draft = replace(draft_bundle(tiles, split, recipe), architecture="Unet", hyperparameters=hyperparameters)
    return checked(replace(draft, task="segmentation", activation="softmax" if several else "sigmoid"))


def encoder_name(architecture: str) -> str:
    """As segmentation-models-pytorch writes it: timm's networks with "tu-", its own as they are."""
    return f"tu-{architecture}" if timm.is_model(architecture) else architecture


def require_answers(network: nn.Module, draft: Bundle, tiles: LabelledTiles) -> None:
    """Raise BadInput where it does not answer per pixel: some encoders take one side only, and it shows here first."""
    runtime = TorchRuntime(network, draft, device="cpu")
    for side in sorted({tiles.tile_px, tiles.side_px}):
        pixels = padded(np.zeros((1, len(tiles.bands), side, side), np.float32))
        try:
            found = runtime.infer(pixels).shape
        except (AssertionError, RuntimeError, ValueError) as error:
            name = draft.hyperparameters["encoder_name"]
            raise BadInput(
                f"{name} does not take tiles of {pixels.shape[-1]} px ({error!s:.200}). Choose another "
                "network.architecture: convolutions take any side."
            ) from error
        require_shape(found, (1, draft.channels, *pixels.shape[2:]), draft)


def require_enough(tiles: LabelledTiles, split: Split) -> None:
    """Raise BadInput where a part has no tile or no labelled pixel, or training has none of a class."""
    for part in ("train", "validation", "test"):
        pixels = labelled_pixels(tiles, split.of(part))
        if not pixels.any():
            raise BadInput(
                f"{len(split.of(part))} of {len(tiles)} tiles are for {part}, without a labelled pixel in them. "
                "Give more images, or other shares ([split])."
            )
        if part == "train":
            _require_classes(pixels, tiles.classes)


def _require_classes(pixels: NDArray[np.float64], classes: tuple[str, ...]) -> None:
    names = ("background", *classes) if len(classes) == 1 else classes
    missing = [name for name, count in zip(names, pixels[-len(names) :], strict=True) if not count]
    if missing:
        raise BadInput(
            f"no training pixel is {' or '.join(missing)}, so it can not be learnt. Check the values of the masks "
            "([data] classes), and whether groups ([data] group) leave some of each class for training."
        )


def _exported(bundle: Bundle, tiles: LabelledTiles, split: Split) -> Bundle:
    """With the export, or without one where OpenVINO does not answer as torch does; the bundle then says so."""
    stacks = [tiles.stack(part) for part in np.split(split.test, range(TILES_AT_ONCE, len(split.test), TILES_AT_ONCE))]
    try:
        return export_bundle(bundle, build_segmenter(bundle), stacks)
    except BadInput as error:
        log.warning("%s", error)
        return bundle
