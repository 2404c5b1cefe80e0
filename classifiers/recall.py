"""From a promised recall to the threshold that keeps it, with the calibration tiles of a bundle as evidence. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Calibration
from classifiers.gate import gate_scores, positive_columns
from tiling.errors import BadInput

RecallOf = Literal["tiles", "area"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Tiles that the gate was not trained on, for the classes it lets through."""

    scores: NDArray[np.float32]
    """(n,) highest of the positive classes."""
    positive: NDArray[np.bool_]
    """(n,) whether the tile holds any of them."""
    fractions: NDArray[np.float64]
    """(n,) share of its valid pixels that is of them, in [0, 1]."""


def held_out(calibration: Calibration, classes: tuple[str, ...], positive: tuple[str, ...]) -> HeldOut:
    """The calibration tiles as the gate of a recipe sees them. classes: of the bundle; positive: of the recipe."""
    columns = positive_columns(classes, positive)
    rows = (len(calibration.tiles), len(classes))
    scores, labels, fractions = (
        np.array(part, float).reshape(rows) for part in (calibration.scores, calibration.labels, calibration.fractions)
    )
    return HeldOut(
        scores=gate_scores(scores.astype(np.float32), columns),
        positive=np.asarray(labels[:, columns].any(axis=1)),
        fractions=np.minimum(fractions[:, columns].sum(axis=1), 1.0),
    )


def threshold_for_recall(tiles: HeldOut, recall: float, confidence: float) -> float:
    """The largest threshold that lets at least `recall` of all positive tiles through, at this confidence.

    The order statistic below which a share of at most 1 - recall lies (Wilks 1941): with k = allowed_misses(n) the
    score of rank k + 1 of n positives. Exact for tiles that do not depend on each other; ties are let through. Raises
    BadInput where there are too few positives, with what they can promise.
    """
    require_scores(tiles)
    own = np.sort(tiles.scores[tiles.positive])
    allowed = allowed_misses(len(own), recall, confidence)
    if allowed is None:
        promise = (1 - confidence) ** (1 / len(own)) if len(own) else 0.0
        raise BadInput(
            f"gate.recall = {recall:g} at a confidence of {confidence:g} takes {positives_needed(recall, confidence):,} "
            f"calibration tiles with the class, even if none is missed; the gate's bundle has {len(own):,} of "
            f"{len(tiles.scores):,}, which can promise a recall of at most {math.floor(promise * 1000) / 1000:g}. Ask "
            "for less, evaluate the gate on more labelled tiles, or set gate.threshold and let the audit tell."
        )
    return float(own[allowed])


def threshold_for_area(tiles: HeldOut, recall: float) -> float:
    """The largest threshold that lets at least `recall` of the class's area through, on average over calibrations.

    Conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster 2024, theorem 1): the loss of a tile with
    fraction a is a (missed - (1 - recall)), at most recall and falling with the threshold; its mean over n tiles and
    one more that is as bad as can be is at most 0: sum(a missed) <= (1 - recall) sum(a) - recall. Raises BadInput.
    """
    require_scores(tiles)
    whole = math.fsum(tiles.fractions)
    budget = (1 - recall) * whole - recall
    if budget < 0:
        raise BadInput(
            f"gate.recall = {recall:g} of the area takes calibration tiles that hold the class on an area of "
            f"{recall / (1 - recall):.0f} full tiles together; the gate's bundle has {whole:.1f}, which can promise "
            f"{math.floor(whole / (1 + whole) * 1000) / 1000:g}. Ask for less, or evaluate the gate on more tiles."
        )
    order = np.argsort(tiles.scores, kind="stable")
    scores, lost = tiles.scores[order], np.r_[0.0, np.cumsum(tiles.fractions[order])]
    starts = np.searchsorted(scores, scores, side="left")  # what lies strictly below each score
    kept = lost[starts] <= budget
    return float(scores[kept][-1])


def require_scores(tiles: HeldOut) -> None:
    """Raise BadInput for a tile without a score: it passes every threshold, so it proves nothing about one."""
    blind = int(np.isnan(tiles.scores).sum())
    if blind:
        raise BadInput(f"{blind} of {len(tiles.scores)} calibration tiles have no score (NaN): leave them out.")


def allowed_misses(positives: int, recall: float, confidence: float) -> int | None:
    """The most of n tiles that may be missed so that n tiles prove the recall; None = too few even without a miss.

    The largest k with P(Binomial(n, 1 - recall) <= k) <= 1 - confidence, which is Clopper and Pearson's bound (1934).
    """
    below, misses = 0.0, -1
    while misses < positives:
        below += binomial(misses + 1, positives, 1 - recall)
        if below > 1 - confidence:
            break
        misses += 1
    return misses if 0 <= misses < positives else None


def binomial(successes: int, trials: int, chance: float) -> float:
    """P(Binomial(trials, chance) = successes), 0 < chance < 1."""
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return math.exp(ways + successes * math.log(chance) + (trials - successes) * math.log1p(-chance))


def positives_needed(recall: float, confidence: float) -> int:
    """Tiles without a miss that prove a recall: 299 for 0.99 at 0.95."""
    return math.ceil(math.log(1 - confidence) / math.log(recall))
