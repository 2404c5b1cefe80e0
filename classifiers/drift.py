"""How far one runtime's answers are from another's, on held-out tiles. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from classifiers.answers import labels, probabilities
from classifiers.bundle import Bundle
from classifiers.bundle_contract import Drift, RuntimeName
from classifiers.preprocess import normalise, padded
from classifiers.runtime import Runtime
from tiling.stack import TileStack, crop_to_core

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is counted of two answers; adds up over stacks."""

    tiles: int
    """Tiles."""
    max_probability: float
    """Largest difference of a probability."""
    decided: int
    """Decisions both took: pixels, or tiles and classes."""
    flipped: int
    """Those that differ."""
    mapped: Counts
    """(3, classes) pixels per class in the reference, in the other answer, and in both."""

    def __add__(self, more: Tally) -> Tally:
        return Tally(
            tiles=self.tiles + more.tiles,
            max_probability=max(self.max_probability, more.max_probability),
            decided=self.decided + more.decided,
            flipped=self.flipped + more.flipped,
            mapped=self.mapped + more.mapped,
        )


def measure_drift(
    bundle: Bundle, tiles: Sequence[TileStack], reference: Runtime, others: Mapping[RuntimeName, Runtime]
) -> dict[RuntimeName, Drift]:
    """Ask all about the same tiles; what is not valid or not of a tile's core does not count, as in a run.

    A segmenter has neither IoU nor area where nothing is mapped by it nor by the reference: nothing was measured then.
    """
    tallies: dict[RuntimeName, Tally] = {}
    for stack in tiles:
        expected = answer(bundle, reference, stack)
        for name, runtime in others.items():
            found = tally(bundle, stack, expected, answer(bundle, runtime, stack))
            tallies[name] = tallies[name] + found if name in tallies else found
    return {name: drift_of(counted) for name, counted in tallies.items()}


def answer(bundle: Bundle, runtime: Runtime, stack: TileStack) -> NDArray[np.float32]:
    """Logits (n, channels) or (n, channels, h, w) of a stack."""
    pixels = normalise(stack, bundle)
    if bundle.task == "classification":
        return runtime.infer(pixels)
    height, width = stack.valid.shape[1:]
    return runtime.infer(padded(pixels))[:, :, :height, :width]


def tally(bundle: Bundle, stack: TileStack, expected: NDArray[np.float32], found: NDArray[np.float32]) -> Tally:
    """Compare two answers (logits) about a stack."""
    both = [probabilities(logits, bundle.activation) for logits in (expected, found)]
    apart = np.abs(both[0] - both[1])
    if bundle.task == "classification":
        cut = bundle.threshold
        passed = [p >= cut for p in both] if cut is not None else []
        return Tally(
            tiles=len(stack),
            max_probability=float(apart.max()),
            decided=passed[0].size if passed else 0,
            flipped=int((passed[0] != passed[1]).sum()) if passed else 0,
            mapped=np.zeros((3, 0), np.int64),
        )
    counted = stack.valid & _cores(stack)
    a, b = (labels(logits, bundle.activation)[counted] for logits in (expected, found))
    bins = len(bundle.classes) + 1
    return Tally(
        tiles=len(stack),
        max_probability=float((apart * counted[:, None]).max()),
        decided=a.size,
        flipped=int((a != b).sum()),
        mapped=np.stack([np.bincount(part, minlength=bins)[1:] for part in (a, b, a[a == b])]),
    )


def drift_of(counted: Tally) -> Drift:
    """Shares out of counts. IoU of all classes: pixels of the same class in both over pixels of any class in either."""
    flipped = counted.flipped / counted.decided if counted.decided else None
    drift = Drift(tiles=counted.tiles, max_probability=counted.max_probability, flipped=flipped)
    expected, found, same = counted.mapped
    union = int((expected + found - same).sum())
    if union == 0:  # a gate, or nothing was mapped
        return drift
    areas = (found - expected) / np.maximum(expected, 1)
    return replace(drift, iou=int(same.sum()) / union, area=float(areas[np.abs(areas).argmax()]))


def _cores(stack: TileStack) -> NDArray[np.bool_]:
    """(n, h, w), True in each tile's core."""
    cores = np.zeros(stack.valid.shape, bool)
    for core, tile in zip(cores, stack.tiles, strict=True):
        crop_to_core(core, tile)[...] = True
    return cores
