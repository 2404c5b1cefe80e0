"""Areas and accuracies from reference samples, stratified by map class. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput

Z95 = 1.959963984540054
"""Quantile of the normal distribution for intervals at 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number and its standard error."""

    value: float
    """The estimate."""
    error: float
    """One standard error, same unit."""

    @property
    def margin(self) -> float:
        """Half of a normal interval at 95 %, same unit."""
        return Z95 * self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy:
    """One class, as the reference sees it."""

    name: str
    """The class."""
    mapped: float
    """Area of the class on the map."""
    area: Measured
    """Its error-adjusted area, unit of `mapped`."""
    users: Measured | None
    """User's accuracy: of what is mapped as it, the share that is. None where the map has none of it."""
    producers: Measured | None
    """Producer's accuracy: of what is it, the share that is mapped so. None where the reference saw none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A map against its reference samples."""

    classes: tuple[ClassAccuracy, ...]
    """In the order of the counts."""
    overall: Measured
    """Share of the area that is mapped right."""


def assess(names: Sequence[str], counts: NDArray[np.int64], mapped: Sequence[float]) -> Accuracy:
    """Olofsson et al. 2014 (Remote Sensing of Environment 148, equations 1 to 11), for samples stratified by map class.

    counts: (map class, reference class) samples; mapped: area of every map class. Raises BadInput for a map class with
    area and fewer than two samples: nothing is known of how it errs.
    """
    whole, taken = math.fsum(mapped), counts.sum(axis=1)
    require_samples(names, taken, mapped)
    weights = np.array(mapped, float) / whole
    shares = counts / np.maximum(taken, 1)[:, None]
    cells = weights[:, None] * shares
    # of the share of each cell: W^2 p (1 - p) / (n - 1), equation 10 term by term
    variances = (weights**2)[:, None] * shares * (1 - shares) / np.maximum(taken - 1, 1)[:, None]
    classes = tuple(
        ClassAccuracy(
            name=name,
            mapped=mapped[i],
            area=_measured(whole * cells[:, i].sum(), whole**2 * variances[:, i].sum()),
            users=_users(shares[i, i], int(taken[i])),
            producers=_producers(cells, variances, i),
        )
        for i, name in enumerate(names)
    )
    return Accuracy(classes=classes, overall=_measured(np.trace(cells), np.trace(variances)))


def require_samples(names: Sequence[str], taken: NDArray[np.int64], mapped: Sequence[float]) -> None:
    """Raise BadInput for a map class with area and fewer than two samples, and for a map without any area."""
    if not math.fsum(mapped) > 0:
        raise BadInput("the map has no observed area: there is nothing to assess.")
    few = [f"{name} ({n})" for name, n, area in zip(names, taken.tolist(), mapped, strict=True) if area > 0 and n < 2]
    if few:
        raise BadInput(
            f"too few reference samples where the map says {', '.join(few)}: at least two per mapped class are needed, "
            "some dozens give useful errors. Label more places there (a random sample of each mapped class)."
        )


def _users(share: float, taken: int) -> Measured | None:
    """Equations 3 and 6."""
    return _measured(share, share * (1 - share) / (taken - 1)) if taken > 1 else None


def _producers(cells: NDArray[np.float64], variances: NDArray[np.float64], i: int) -> Measured | None:
    """Equations 4 and 7."""
    true = cells[:, i].sum()
    if not true > 0:
        return None
    share = cells[i, i] / true
    others = variances[:, i].sum() - variances[i, i]
    return _measured(share, ((1 - share) ** 2 * variances[i, i] + share**2 * others) / true**2)


def _measured(value: float, variance: float) -> Measured:
    return Measured(value=float(value), error=math.sqrt(max(float(variance), 0.0)))
