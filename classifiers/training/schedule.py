"""Which tiles each step sees, and how large it is: pure functions of the settings, so that a stopped run goes on alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from classifiers.training.settings import FitSettings

_WARM_UP = 0.05
"""Share of all steps over which a rate rises."""


def draws(odds: NDArray[np.float64], settings: FitSettings, epoch: int) -> list[NDArray[np.intp]]:
    """Positions of the tiles of each step of an epoch, by seed and epoch alone.

    Where the odds are alike every tile is drawn once before any is drawn again; batches differ by one tile at most.
    """
    random = np.random.default_rng((settings.seed, epoch))
    count = settings.steps * min(settings.batch, len(odds)) or len(odds)
    if np.ptp(odds) == 0:
        rounds = [random.permutation(len(odds)) for _ in range(-(-count // len(odds)))]
        order = np.concatenate(rounds)[:count]
    else:
        order = random.choice(len(odds), count, p=odds / odds.sum())
    return np.array_split(order.astype(np.intp), settings.steps or -(-count // settings.batch))


def rate_factor(step: int, steps: int, start: int = 0) -> float:
    """Share of the highest rate at a step (0-based): warm-up from `start` on, times half a cosine over all steps.

    Loshchilov and Hutter 2017, eq. 5, without restarts.
    """
    warm = min(1.0, (step - start + 1) / max(1, round(_WARM_UP * steps)))
    return max(0.0, warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
