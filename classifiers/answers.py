"""From what a network answers to scores and labels, for every runtime alike; and what is no answer. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Activation, Bundle, Task
from classifiers.protocol import ModelId
from tiling.errors import BadInput, TilegateError
from tiling.grid import Tile


class NotFinite(TilegateError, FloatingPointError):
    """A model answered with NaN or infinity: neither a score nor a label can be made of that."""


def probabilities(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Logits (n, channels, …) -> the same shape in [0, 1]. NaN stays NaN."""
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
    small = np.exp(-np.abs(logits))  # never overflows
    return np.asarray(np.where(logits >= 0, 1, small) / (1 + small), np.float32)


def labels(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.uint8]:
    """Logits (n, channels, h, w) -> (n, h, w): 0 = background, i = classes[i - 1].

    softmax: the likeliest channel, of which the first is background. sigmoid: the likeliest class if it is above one
    half, which is a logit above 0.
    """
    if activation == "softmax":
        return np.asarray(logits.argmax(axis=1), np.uint8)
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).view(np.uint8)
    best = logits.argmax(axis=1) + 1
    return np.asarray(np.where(logits.max(axis=1) > 0, best, 0), np.uint8)


def require_task(bundle: Bundle, task: Task) -> None:
    """Raise BadInput when the bundle is for the other job."""
    if bundle.task != task:
        raise BadInput(f"{bundle.name} ({bundle.path}) does {bundle.task}; a bundle for {task} is needed here")


def require_side(bundle: Bundle, needed_px: tuple[int, ...] | None, found_px: tuple[int, ...]) -> None:
    """Raise BadInput where a network takes tiles of one size only and these are of another. (h, w); None = any."""
    if needed_px and needed_px != found_px:
        raise BadInput(
            f"{bundle.name} ({bundle.architecture}) takes tiles of {needed_px[0]} x {needed_px[1]} px only, "
            f"these are {found_px[0]} x {found_px[1]} px. Set the recipe's tile size so that a "
            "tile has that side on the gate's plane; nothing is resized silently."
        )


def require_shape(found: Sequence[int], needed: Sequence[int], bundle: Bundle) -> None:
    """Raise BadInput when the network's output is not of the shape its bundle promises."""
    if tuple(found) != tuple(needed):
        raise BadInput(
            f"{bundle.name} ({bundle.architecture}) answered with shape {tuple(found)} instead of {tuple(needed)} for "
            f"{len(bundle.classes)} classes ({', '.join(bundle.classes)}): architecture and classes do not fit"
        )


def require_finite(values: NDArray[np.float32], tiles: Sequence[Tile], model: ModelId) -> None:
    """Raise NotFinite that names the tiles. values: (n, …)."""
    if np.isfinite(values).all():
        return
    bad = [tile.id for tile, answer in zip(tiles, values, strict=True) if not np.isfinite(answer).all()]
    raise NotFinite(
        f"{model.name} gave NaN or infinity for {len(bad)} of {len(tiles)} tiles: {', '.join(bad[:8])}"
        f"{', …' if len(bad) > 8 else ''}. Either their valid pixels hold NaN, or the weights do."
    )
