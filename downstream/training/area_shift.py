"""Where a class begins: not at the logit 0, but where as much is mapped as there is.

Losses that look at overlap map too much, and so does a network that is unsure along the edges of what is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.bundle import Bundle
from classifiers.drift import answer
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.torch_layers import innermost
from classifiers.torch_runtime import TorchRuntime
from classifiers.training.weights import halved
from downstream.training.segment_tiles import TILES_AT_ONCE, truth_of
from tiling.stack import crop_to_core


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Margins:
    """By how much pixels are of some class, and how many really are."""

    values: NDArray[np.float32]
    """(pixels that count,) logit of the likeliest class, less the background's (0 for a sigmoid); mapped above 0."""
    true: int
    """Pixels that are of a class."""

    def border(self) -> float:
        """The margin above which as many pixels lie as are true; 0 where there are none, or no others."""
        count = len(self.values)
        if self.true in {0, count}:
            return 0.0
        around = [count - self.true - 1, count - self.true]
        return float(np.partition(self.values, around)[around].mean())

    def bias(self, border: float) -> float | None:
        """Area mapped above a border / true area - 1, all classes together; None where nothing is true."""
        return int((self.values > border).sum()) / self.true - 1 if self.true else None


def shift_to_area(
    network: nn.Module, draft: Bundle, tiles: LabelledTiles, split: Split, *, half: bool
) -> Mapping[str, float]:
    """Move the border, in place, to where validation tiles are mapped the area of their masks; figures.

    Only as far as the sum of the groups and the median of them agree, see agreed. It goes into the bias of the
    last layer: off the one logit, or onto the background's (softmax, all classes
    together). half: weights, and so the border, are rounded to float16. The figures, for Bundle.metrics: logit_shift,
    and the area bias of validation and test tiles without it, and of the validation tiles with it.
    """
    if half:
        halved(network)
    validation, test = (margins(network, draft, tiles, split.of(part)) for part in ("validation", "test"))
    shift = _moved(network, draft, agreed_border(network, draft, tiles, split.validation), half=half)
    found = {
        "logit_shift": shift,
        "area_bias_validation_unshifted": validation.bias(0),
        "area_bias_validation": validation.bias(shift),
        "area_bias_unshifted": test.bias(0),
    }
    return {name: value for name, value in found.items() if value is not None}


def agreed_border(network: nn.Module, draft: Bundle, tiles: LabelledTiles, chosen: NDArray[np.intp]) -> float:
    """As far as all tiles together and the median of the groups agree.

    One scene or slide that the network does not understand can move the sum, chance the median of a few groups.
    """
    groups = tiles.groups[chosen]
    found = [margins(network, draft, tiles, chosen[groups == group]) for group in np.unique(groups)]
    values = np.concatenate([np.zeros(0, np.float32), *(each.values for each in found)])
    together = Margins(values=values, true=sum(each.true for each in found))
    return agreed(together.border(), [each.border() for each in found if each.true])


def agreed(together: float, groups: Sequence[float]) -> float:
    """Of the border of all and the median of the groups', the one nearer to 0; 0 where they differ in sign."""
    usual = float(np.median(groups)) if groups else 0.0
    return min(together, usual, key=abs) if together * usual > 0 else 0.0


def margins(network: nn.Module, draft: Bundle, tiles: LabelledTiles, chosen: NDArray[np.intp]) -> Margins:
    """Of the pixels of some tiles that count."""
    runtime, found, true = TorchRuntime(network, draft), [np.zeros(0, np.float32)], 0
    for start in range(0, len(chosen), TILES_AT_ONCE):
        some = chosen[start : start + TILES_AT_ONCE]
        truth, counted = truth_of(tiles, some)
        logits = np.asarray(crop_to_core(answer(draft, runtime, tiles.stack(some)), tiles.tile), np.float32)
        over = logits[:, 1:].max(axis=1) - logits[:, 0] if draft.activation == "softmax" else logits.max(axis=1)
        found.append(over[counted])
        true += int((truth[counted] > 0).sum())
    return Margins(values=np.concatenate(found), true=true)


def last_layer(network: nn.Module) -> nn.Conv2d:
    """The layer of a U-Net of segmentation-models-pytorch whose answers are the logits."""
    inner = innermost(network)
    head = inner.get_submodule("segmentation_head").modules()
    return next(module for module in head if isinstance(module, nn.Conv2d))


def _moved(network: nn.Module, draft: Bundle, shift: float, *, half: bool) -> float:
    """By how much the border really was moved."""
    bias = last_layer(network).bias
    assert bias is not None
    sign, before = 1 if draft.activation == "softmax" else -1, bias[0].item()
    with torch.no_grad():
        bias[:1] += sign * shift
    if half:
        halved(network)
    return sign * (bias[0].item() - before)
