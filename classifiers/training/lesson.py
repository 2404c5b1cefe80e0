"""The seam between what is learnt and how: one training loop for gates and segmenters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """One step's tiles."""

    pixels: torch.Tensor
    """(n, band, h, w) float32, varied and normalised."""
    truth: torch.Tensor
    """Gates: (n, classes) in [0, 1]. Segmenters: (n, h, w) uint8, as LabelledTiles.masks."""


class Lesson(Protocol):
    """Tiles to learn from, what is made small, and what tells whether it helped."""

    odds: NDArray[np.float64]
    """(tiles,) how often each training tile is drawn against the others; all alike = each once per epoch."""

    def batch(self, chosen: NDArray[np.intp], random: np.random.Generator) -> Batch:
        """Some of the training tiles, varied."""

    def loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Scalar, in float32."""

    def score(self, network: nn.Module) -> float:
        """On the validation tiles; larger is better. The network is in eval mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What a person or a dashboard is told after each epoch."""

    epoch: int
    """1-based."""
    epochs: int
    """At most."""
    loss: float
    """Mean over the epoch's steps."""
    score: float
    """Lesson.score of the averaged weights."""
    best: float
    """Best score so far."""
    seconds: float
    """The epoch took."""


class Watcher(Protocol):
    """Who is told."""

    def epoch(self, report: EpochReport) -> None:
        """After each epoch; its checkpoint is on disk by then."""


class FakeWatcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.reports: list[EpochReport] = []

    def epoch(self, report: EpochReport) -> None:
        """See Watcher."""
        self.reports.append(report)


_: type[Watcher] = FakeWatcher
