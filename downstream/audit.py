"""The audit: gate-negative tiles drawn with known probability, and what they say about the rest."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

TileKey = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Area of one class in the tiles that neither gate nor audit let be segmented, m2 or um2."""

    estimate: float
    """Mean of the audited tiles times the tiles not audited."""
    low: float
    """Nothing more may be there."""
    high: float
    """Upper bound at the stated confidence."""


def draw_audit(negatives: Sequence[TileKey], tiles: int, fingerprint: str) -> list[TileKey]:
    """`tiles` of the negatives, each equally likely, without replacement; seeded by the run's fingerprint."""
    seed = int.from_bytes(hashlib.sha256(f"audit {fingerprint}".encode()).digest()[:8], "big")
    ordered = sorted(negatives)
    return sorted(random.Random(seed).sample(ordered, min(tiles, len(ordered))))  # noqa: S311 (a draw, no secret)


def estimate_missed(found: Sequence[float], tile_area: float, rest: int, confidence: float = 0.95) -> Missed | None:
    """Area still missed in `rest` unaudited negatives.

    found: area of the class in each audited tile; tile_area: the most any tile can hold. None without an audit.
    The bound is Hoeffding's (1963, eq. 2.1 with theorem 4): it holds for any values in [0, tile_area] drawn without
    replacement, and equals 1 - (1 - confidence)^(1/n) of the area when nothing was found (3 in n at 95 %).
    """
    if rest == 0:
        return Missed(estimate=0.0, low=0.0, high=0.0)
    if not found:
        return None
    n, total = len(found), math.fsum(found)
    mean = min(total / n / tile_area, 1.0)
    high = upper_mean(mean, n, confidence) * tile_area * (n + rest) - total
    return Missed(estimate=mean * tile_area * rest, low=0.0, high=min(max(high, 0.0), tile_area * rest))


def upper_mean(mean: float, n: int, confidence: float) -> float:
    """Largest true mean in [0, 1] that n draws with this sample mean do not rule out: n * KL(mean, p) = ln(1/alpha)."""
    low, high, budget = mean, 1.0, -math.log(1 - confidence) / n
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _kl(mean, middle) < budget else (low, middle)
    return high


def _kl(q: float, p: float) -> float:
    """Kullback-Leibler divergence of two coins."""
    left = q * math.log(q / p) if q > 0 else 0.0
    right = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1 and p < 1 else (math.inf if q < 1 else 0.0)
    return left + right
