"""What is made small: losses of tiles and of masks, in float32.

Cross-entropy and focal loss are means over tiles or labelled pixels; Dice and Tversky look at a batch as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from classifiers.labels.sample import UNLABELLED
from classifiers.training.settings import FitSettings
from tiling.errors import BadInput

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Marked(NamedTuple):
    """Answers beside the truth, channels second."""

    logits: torch.Tensor
    """(n, channels, …) float32."""
    truth: torch.Tensor
    """(n, channels, …) in [0, 1]."""
    known: torch.Tensor
    """(n, 1, …) 1 = counts, 0 = does not."""
    weights: torch.Tensor
    """(2, channels, …) of a channel where it is absent and where it is present."""
    exclusive: bool
    """One channel is present (softmax), or each stands for itself (sigmoid)."""


def gate_loss(settings: FitSettings, *, exclusive: bool, balance: NDArray[np.float64] | None = None) -> LossFunction:
    """Of logits (n, classes) and truth (n, classes) in [0, 1]. balance: see `balance`.

    Raises BadInput for a loss of masks.
    """
    if settings.loss not in {"cross-entropy", "focal"}:
        raise BadInput(f'fit.loss = "{settings.loss}" is for masks; a gate learns by "cross-entropy" or "focal"')

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        known = torch.ones_like(logits[:, :1], dtype=torch.float32)
        return _pointwise(settings, _marked(logits, truth.float(), known, balance, exclusive=exclusive))

    return loss


def mask_loss(settings: FitSettings, *, exclusive: bool, balance: NDArray[np.float64] | None = None) -> LossFunction:
    """Of logits (n, channels, h, w) and masks (n, h, w) uint8; UNLABELLED pixels do not count.

    exclusive: the first channel is background; otherwise channel i is class i + 1 of the mask. balance: see `balance`.
    """

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        first = 0 if exclusive else 1
        channels = torch.arange(first, first + logits.shape[1], device=truth.device).view(1, -1, 1, 1)
        known = (truth != UNLABELLED)[:, None].float()
        marked = _marked(logits, (truth[:, None] == channels).float(), known, balance, exclusive=exclusive)
        if settings.loss in {"cross-entropy", "focal"}:
            return _pointwise(settings, marked)
        overlap = _overlap(settings, marked)
        return _pointwise(settings, marked) + overlap if settings.loss == "cross-entropy + dice" else overlap

    return loss


def balance(positives: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """(channels,) tiles or pixels of each -> (2, channels) weights, absent and present: one over their frequency.

    Both halves of a channel then weigh the same, and so do all channels of a softmax, which uses the second row only.
    """
    present = np.maximum(np.asarray(positives, np.float64), 1)
    absent = np.maximum(total - present, 1)
    return np.stack([total / (2 * absent), total / (2 * present)])


def _marked(
    logits: torch.Tensor,
    truth: torch.Tensor,
    known: torch.Tensor,
    weights: NDArray[np.float64] | None,
    *,
    exclusive: bool,
) -> Marked:
    shape = (2, logits.shape[1], *([1] * (logits.ndim - 2)))
    given = np.ones(shape) if weights is None else weights.reshape(shape)
    weight = torch.from_numpy(given).to(logits.device, torch.float32)
    return Marked(logits.float(), truth, known, weight, exclusive)


def _pointwise(settings: FitSettings, marked: Marked) -> torch.Tensor:
    """Cross-entropy, or the focal loss, which is it times (1 - p) ** gamma (Lin et al. 2017, eq. 4)."""
    gamma = settings.focal_gamma if settings.loss == "focal" else 0.0
    truth = _smoothed(settings.smoothing, marked)
    absent, present = marked.weights
    log_p = functional.log_softmax(marked.logits, 1) if marked.exclusive else functional.logsigmoid(marked.logits)
    weight = truth * present * marked.known
    terms = -weight * log_p * _focus(log_p, gamma)
    if not marked.exclusive:
        log_q, rest = functional.logsigmoid(-marked.logits), (1 - truth) * absent * marked.known
        terms, weight = terms - rest * log_q * _focus(log_q, gamma), weight + rest
    loss: torch.Tensor = terms.sum() / weight.sum().clamp(min=1e-6)
    return loss


def _smoothed(share: float, marked: Marked) -> torch.Tensor:
    """Label smoothing (Szegedy et al. 2016, section 7): a share of the truth is spread over all that could be."""
    if not share:
        return marked.truth
    return marked.truth * (1 - share) + share / (marked.truth.shape[1] if marked.exclusive else 2)


def _focus(log_p: torch.Tensor, gamma: float) -> torch.Tensor:
    focus: torch.Tensor = (-log_p.expm1()).clamp(min=1e-6).pow(gamma)  # below 1, a power of 0 has no slope
    return focus


def _overlap(settings: FitSettings, marked: Marked) -> torch.Tensor:
    """1 - Tversky index (Salehi et al. 2017, eq. 2), the mean over the classes; both weights 1/2 make it Dice.

    One pixel is added above and below: a class that neither is nor is mapped has an index of 1.
    """
    first = 1 if marked.exclusive else 0
    p = (marked.logits.softmax(1) if marked.exclusive else marked.logits.sigmoid())[:, first:] * marked.known
    truth = marked.truth[:, first:] * marked.known
    axes = [0, *range(2, p.ndim)]
    both, missed, false = ((a * b).sum(axes) for a, b in ((p, truth), (marked.known - p, truth), (p, 1 - truth)))
    miss = settings.tversky_miss if settings.loss == "tversky" else 0.5
    return 1 - ((both + 1) / (both + miss * missed + (1 - miss) * false + 1)).mean()
