"""Whether an image belongs to the domain of its gate, from the distances and scores of its tiles. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Domain
from classifiers.domain import population_stability, stability_by_chance

Verdict = Literal["inside", "shifted", "outside", "not judged"]

EXPECTED = 0.01
"""Share of tiles beyond the limit, by its definition."""
SHIFTED = 0.10
"""An image with more tiles beyond the limit is shifted; 19 of 20 patients that were held out had about that at most."""
SHIFTED_WITH_SCORES = 0.05
"""The same where the scores are distributed otherwise, too."""
NEAR = 0.75
"""An image whose median distance is beyond this share of the limit is shifted, too; patients had at most 0.63."""
FEW = 2
"""So many tiles shift no image, however small it is."""
UNSTABLE = 0.25
"""Of population_stability: another population."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is told of an image and its gate."""

    verdict: Verdict
    """inside: as calibrated. shifted: some of it is not. outside: most of it is not."""
    share_beyond: float | None
    """Of the judged tiles, how many are farther than the limit; 0.01 is expected."""
    distance_median: float | None
    """Of the judged tiles."""
    limit: float | None
    """See Domain."""
    psi: float | None
    """Population stability of the scores against those of calibration; None where one side has no scores."""
    tiles: int
    """Judged."""
    reasons: tuple[str, ...]
    """For a person, with the numbers."""


def judge(
    name: str, domain: Domain, distances: Sequence[float], reference: Sequence[float], found: Sequence[float]
) -> Judgement:
    """name: the gate. distances: of the tiles that can be judged. reference, found: scores in calibration and here."""
    psi = population_stability(reference, found) if len(reference) and len(found) else None
    if not len(distances):
        return not_judged(f"no tile was scored that {name} could be judged on", psi)
    far, unstable = np.asarray(distances, np.float64), psi is not None and psi > _bound(reference, found)
    judged = Judgement(
        verdict=_verdict(far, domain.limit, unstable),
        share_beyond=float((far > domain.limit).mean()),
        distance_median=float(np.median(far)),
        limit=domain.limit,
        psi=psi,
        tiles=len(far),
        reasons=(),
    )
    return replace(judged, reasons=(_look(judged, name), *([_scores(judged)] if unstable else [])))


def _verdict(far: NDArray[np.float64], limit: float, unstable: bool) -> Verdict:
    """Outside: the median distance is beyond the limit.

    Shifted: it is beyond three quarters of the limit, or more than 10 % of the tiles are beyond it, or more than 5 % and
    the scores are distributed otherwise. Scores alone shift nothing: a scene may hold more of a class than calibration
    did, and tiles of it that look as they should are what the gate is for.
    """
    beyond, near, median = int((far > limit).sum()), int((far > NEAR * limit).sum()), float(np.median(far))
    if median > limit:
        return "outside"
    many = beyond > FEW and beyond / len(far) > (SHIFTED_WITH_SCORES if unstable else SHIFTED)
    return "shifted" if many or (near > FEW and median > NEAR * limit) else "inside"


def _look(judged: Judgement, name: str) -> str:
    assert judged.share_beyond is not None and judged.limit is not None  # noqa: PT018
    return (
        f"{100 * judged.share_beyond:.3g} % of {judged.tiles:,} tiles look less like {name}'s calibrated tiles than 99 of "
        f"100 of those do ({100 * EXPECTED:g} % expected); median distance {judged.distance_median:.3g}, "
        f"usually up to {NEAR * judged.limit:.3g}; limit {judged.limit:.3g}"
    )


def _scores(judged: Judgement) -> str:
    alone = "" if judged.verdict != "inside" else "; alone it means another share of the class, and is not counted"
    return f"scores are distributed otherwise than in calibration (PSI {judged.psi:.2f}){alone}"


def not_judged(why: str, psi: float | None = None) -> Judgement:
    """A judgement that says why there is none."""
    return Judgement(
        verdict="not judged",
        share_beyond=None,
        distance_median=None,
        limit=None,
        psi=psi,
        tiles=0,
        reasons=(why,),
    )


def _bound(reference: Sequence[float], found: Sequence[float]) -> float:
    """What the PSI has to exceed: the usual bound, or what chance gives samples as small as these."""
    return max(UNSTABLE, stability_by_chance(reference, found))
