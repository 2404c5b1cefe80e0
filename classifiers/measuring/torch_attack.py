"""The fast gradient sign method (Goodfellow et al. 2015): a change nobody sees that hurts a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from classifiers.bundle import Bundle
from classifiers.labels.sample import LabelledTiles
from classifiers.measuring.disturb import with_values
from classifiers.measuring.robustness import (
    Figures,
    RobustnessRow,
    batches,
    columns_of,
    compared,
    evenly,
    figures_of,
)
from classifiers.network_gate import NetworkGate
from classifiers.preprocess import normalise
from classifiers.torch_gate import build_gate
from classifiers.torch_runtime import TorchRuntime, load_weights
from tiling.stack import TileStack

LEVELS = (1, 2, 4)
"""Epsilons, in 255ths of the range: 1 is one step of an 8-bit value."""
BATCH_TILES = 16


def fgsm(
    bundle: Bundle,
    tiles: LabelledTiles,
    *,
    threshold: float | None = None,
    most_tiles: int = 1000,
    levels: Sequence[int] = LEVELS,
) -> tuple[RobustnessRow, ...]:
    """One row per level: what is left of a gate when each pixel has gone one step against it. In torch, on the CPU.

    The attacker knows the network (white box) and stays within what the dtype can hold. threshold and most_tiles: see
    robustness. Raises BadInput when the tiles have not the bundle's classes and bands.
    """
    chosen, at = evenly(tiles, most_tiles), bundle.threshold if threshold is None else threshold
    network = load_weights(build_gate(bundle), bundle)
    still = np.zeros(len(bundle.bands))
    steps = [still, *(step_of(bundle, level) for level in levels)]
    base, *found = (figures_of(chosen, scores, at) for scores in attacked(network, bundle, chosen, steps))
    return tuple(_row(bundle, level, figures, base) for level, figures in zip(levels, found, strict=True))


def attacked(
    network: nn.Module, bundle: Bundle, tiles: LabelledTiles, steps: Sequence[NDArray[np.float64]]
) -> list[NDArray[np.float32]]:
    """(n, classes of the tiles) probabilities for each step. network: in eval mode on the CPU. steps: see stepped."""
    gate = NetworkGate(bundle, TorchRuntime(network, bundle, device="cpu"))
    columns = columns_of(gate, tiles)
    bands = [tiles.bands.index(band) for band in bundle.bands]
    found: list[list[NDArray[np.float32]]] = [[np.empty((0, len(columns)), np.float32)] for _ in steps]
    for at, whole in enumerate(batches(tiles, BATCH_TILES)):
        stack = whole.pick(range(len(whole)), bands)
        labels = tiles.labels[at * BATCH_TILES : at * BATCH_TILES + len(stack)]
        uphill = gradient_sign(network, bundle, stack, labels, columns)
        for step, answers in zip(steps, found, strict=True):
            answers.append(gate.score(stepped(stack, uphill, step))[:, columns])
    return [np.concatenate(answers) for answers in found]


def gradient_sign(
    network: nn.Module, bundle: Bundle, stack: TileStack, labels: NDArray[np.float32], columns: Sequence[int]
) -> NDArray[np.float32]:
    """Which way each pixel makes the loss larger: -1, 0 or 1, (n, band, h, w).

    The loss is cross-entropy with labels (n, len(columns)) of some of the classes, binary for sigmoid. Normalisation
    divides by a positive number, so the sign in normalised space is the sign in pixels.
    """
    pixels, truth = torch.from_numpy(normalise(stack, bundle)).requires_grad_(), torch.from_numpy(labels)
    logits = network(pixels).float()
    if bundle.activation == "softmax":
        loss = -(functional.log_softmax(logits, dim=1)[:, list(columns)] * truth).sum()
    else:
        loss = functional.binary_cross_entropy_with_logits(logits[:, list(columns)], truth, reduction="sum")
    (slope,) = torch.autograd.grad(loss, pixels)
    return np.asarray(slope.sign().numpy())


def stepped(stack: TileStack, uphill: NDArray[np.float32], step: NDArray[np.float64]) -> TileStack:
    """The tiles one step up the loss, see with_values. step: (band,) in the units of the pixels."""
    still = np.where(stack.valid[:, None], stack.pixels, 0).astype(np.float64)
    return with_values(stack, still + uphill * step[:, None, None])


def step_of(bundle: Bundle, level: int) -> NDArray[np.float64]:
    """(band,) epsilon in the units of the pixels: 255ths of 255 for uint8, of four standard deviations for others."""
    if bundle.dtype == "uint8":
        return np.full(len(bundle.bands), float(level))
    return np.array(bundle.std, np.float64) * 4 * level / 255


def _row(bundle: Bundle, level: int, figures: Figures, base: Figures) -> RobustnessRow:
    whole = "the range" if bundle.dtype == "uint8" else "4 standard deviations"
    text = f"epsilon {level}/255 of {whole}, white box"
    return RobustnessRow(name="FGSM", step="", parameters=text, figures=figures, change=compared(figures, base))
