"""What a gate learns: which of the classes a tile holds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.answers import probabilities
from classifiers.bundle import Bundle
from classifiers.labels.sample import LabelledTiles, Split, positives
from classifiers.measuring.calibration import negative_log_likelihood
from classifiers.measuring.ranking import roc_auc
from classifiers.preprocess import normalise
from classifiers.torch_runtime import TorchRuntime
from classifiers.training.augment import augment
from classifiers.training.lesson import Batch, Lesson
from classifiers.training.losses import balance, gate_loss
from classifiers.training.settings import AugmentSettings, TrainingRecipe

_CHUNK = 256
"""Tiles that are normalised at once."""
_PER_PASS = 64
"""Tiles per forward pass."""
_TIE = 1e-3
"""What the likelihood can change of a score at most."""


class GateLesson:
    """Training tiles of a gate, and its score on the validation tiles."""

    def __init__(self, tiles: LabelledTiles, split: Split, draft: Bundle, recipe: TrainingRecipe) -> None:
        """tiles: without halo. draft: says how pixels are normalised."""
        self._tiles, self._split, self._draft, self._settings = tiles, split, draft, recipe.augment
        labels = tiles.labels[split.train]
        self.odds = rare_first(labels) if recipe.fit.oversample else np.ones(len(labels))
        weights = balance(positives(labels).astype(np.float64), len(labels)) if recipe.fit.class_weights else None
        self.loss = gate_loss(recipe.fit, exclusive=tiles.exclusive, balance=weights)

    def batch(self, chosen: NDArray[np.intp], random: np.random.Generator) -> Batch:
        """See Lesson."""
        index = self._split.train[chosen]
        stack, _ = augment(self._tiles.stack(index), None, self._settings, random)
        pixels, truth = mixed(normalise(stack, self._draft), self._tiles.labels[index], self._settings, random)
        return Batch(pixels=torch.from_numpy(pixels), truth=torch.from_numpy(truth))

    def score(self, network: nn.Module) -> float:
        """See gate_score; on the validation tiles."""
        logits = logits_of(network, self._draft, self._tiles, self._split.validation)
        return gate_score(logits, self._tiles.labels[self._split.validation], exclusive=self._tiles.exclusive)


def gate_score(logits: NDArray[np.float32], labels: NDArray[np.float32], *, exclusive: bool) -> float:
    """Accuracy where classes exclude each other, else the mean ROC-AUC of the classes (larger is better).

    Few tiles give many equal scores: the likelihood decides between those, it takes away less than a thousandth.
    logits, labels: (n, classes). NaN when a logit is no number.
    """
    if not np.isfinite(logits).all():
        return float("nan")
    probability = probabilities(logits, "softmax" if exclusive else "sigmoid")
    surprise = negative_log_likelihood(logits, labels, exclusive)
    if exclusive:
        found = float((probability.argmax(1) == labels.argmax(1)).mean())
    else:
        areas = [roc_auc(p, label > 0.5) for p, label in zip(probability.T, labels.T, strict=True)]
        known = [area for area in areas if area is not None]
        found = sum(known) / len(known) if known else 0.0
    return found - _TIE * surprise / (1 + surprise)


def logits_of(network: nn.Module, draft: Bundle, tiles: LabelledTiles, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
    """(len(chosen), classes) of a network in eval mode, by the same path as in a run with torch."""
    runtime = TorchRuntime(network, draft, device=str(next(network.parameters()).device), batch_tiles=_PER_PASS)
    parts = [
        runtime.infer(normalise(tiles.stack(chosen[start : start + _CHUNK]), draft))
        for start in range(0, len(chosen), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(tiles.classes)), np.float32)


def rare_first(labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, classes) 0 or 1 -> (n,) odds by which all classes, and tiles of none, are drawn alike.

    A tile of several classes is drawn as one of its rarest.
    """
    kinds = np.column_stack([labels > 0.5, ~(labels > 0.5).any(axis=1)])
    counts = np.maximum(kinds.sum(axis=0), 1)
    return np.asarray((kinds / counts).max(axis=1), np.float64)


def mixed(
    pixels: NDArray[np.float32], truth: NDArray[np.float32], settings: AugmentSettings, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each tile with a share of another of its batch, and of that one's labels: mixup, or CutMix, or as they are.

    pixels: (n, band, h, w) normalised; truth: (n, classes). One share for the batch, from Beta(alpha, alpha).
    """
    alphas = [alpha for alpha in (settings.mixup, settings.cutmix) if alpha]
    if not alphas:
        return pixels, truth
    cuts = bool(settings.cutmix) and (len(alphas) == 1 or random.random() < 0.5)
    alpha = settings.cutmix if cuts else settings.mixup
    share = random.beta(alpha, alpha)
    other = random.permutation(len(pixels))
    if cuts:
        kept = _kept(pixels.shape[2:], share, random)
        pixels, share = np.where(kept, pixels, pixels[other]), float(kept.mean())
    else:
        pixels = np.asarray(share * pixels + (1 - share) * pixels[other], np.float32)
    return pixels, np.asarray(share * truth + (1 - share) * truth[other], np.float32)


def _kept(shape_px: tuple[int, ...], share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """(h, w), False in a rectangle of 1 - share of the area around a random pixel, clipped (Yun et al. 2019, eq. 2)."""
    kept = np.ones(shape_px, bool)
    half = [round(side * np.sqrt(1 - share) / 2) for side in shape_px]
    y, x = (int(random.integers(side)) for side in shape_px)
    kept[max(0, y - half[0]) : y + half[0], max(0, x - half[1]) : x + half[1]] = False
    return kept


_: type[Lesson] = GateLesson
