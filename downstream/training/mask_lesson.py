"""What a segmenter learns: random crops of tiles and the masks that were drawn in them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.bundle import Bundle
from classifiers.labels.sample import UNLABELLED, LabelledTiles, Split
from classifiers.preprocess import normalise, padded
from classifiers.torch_runtime import TorchRuntime
from classifiers.training.augment import augment, random_crop
from classifiers.training.gate_lesson import rare_first
from classifiers.training.lesson import Batch, Lesson
from classifiers.training.losses import balance, mask_loss
from classifiers.training.settings import TrainingRecipe
from downstream.network_segmenter import NetworkSegmenter
from downstream.training.segment_tiles import count_tiles


class MaskLesson:
    """A Lesson about pixels. Those that nobody labelled, or that hold no data, are neither learned nor counted."""

    def __init__(self, tiles: LabelledTiles, split: Split, bundle: Bundle, recipe: TrainingRecipe) -> None:
        """tiles: with masks; bundle: the contract that the network learns under."""
        assert tiles.masks is not None
        self._tiles, self._masks, self._split = tiles, tiles.masks, split
        self._bundle, self._augment = bundle, recipe.augment
        pixels = labelled_pixels(tiles, split.train)
        exclusive = bundle.activation == "softmax"
        weights = balance(pixels if exclusive else pixels[1:], pixels.sum()) if recipe.fit.class_weights else None
        self._loss = mask_loss(recipe.fit, exclusive=exclusive, balance=weights)
        self.odds = rare_first(tiles.labels[split.train]) if recipe.fit.oversample else np.ones(len(split.train))

    def batch(self, chosen: NDArray[np.intp], random: np.random.Generator) -> Batch:
        """See Lesson. Crops have the side of a core and lie anywhere in core and halo."""
        index = self._split.train[chosen]
        stack, masks = random_crop(self._tiles.stack(index), self._masks[index], self._tiles.tile_px, random)
        stack, masks = augment(stack, masks, self._augment, random)
        assert masks is not None
        pixels = padded(normalise(stack, self._bundle))
        truth = np.full((len(stack), *pixels.shape[2:]), UNLABELLED, np.uint8)
        height, width = stack.valid.shape[1:]
        truth[:, :height, :width] = np.where(stack.valid, masks, UNLABELLED)
        return Batch(pixels=torch.from_numpy(pixels), truth=torch.from_numpy(truth))

    def loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """See Lesson."""
        return self._loss(logits, truth)

    def score(self, network: nn.Module) -> float:
        """See Lesson. Mean Dice of the classes, measured as a run would segment."""
        segmenter = NetworkSegmenter(self._bundle, TorchRuntime(network, self._bundle))
        return mean_dice(count_tiles(segmenter, self._tiles, self._split.validation))


def mean_dice(counts: NDArray[np.int64]) -> float:
    """Dice (1945) of all tiles' pixels together, averaged over classes. counts: as of count_tiles.

    A class that is nowhere and was found nowhere has 1.
    """
    both, mapped, true, _ = counts.sum(axis=0).T
    return float(np.where(mapped + true > 0, 2 * both / np.maximum(mapped + true, 1), 1).mean())


def labelled_pixels(tiles: LabelledTiles, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """(1 + classes,) valid labelled pixels of background and of each class, halo included."""
    assert tiles.masks is not None
    total = np.zeros(UNLABELLED + 1)
    for tile in chosen:  # one by one: they may lie in a file larger than memory
        total += np.bincount(tiles.masks[tile][tiles.valid[tile]], minlength=len(total))
    return total[: 1 + len(tiles.classes)]


_: type[Lesson] = MaskLesson
