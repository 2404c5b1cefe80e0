"""Interleaved rounds, medians and ratios. Pure but for the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Work = Callable[[], Any]
Case = Work | tuple[Work, Callable[[Any], Any]]
"""What is timed; or what makes it ready, off the clock and anew for every round, and what is timed with that."""

Stage = tuple[str, str, float, dict[str, Case]]
"""What, the unit, how many of it per round, and the cases; the first one is the limit."""


def interleave(cases: Mapping[str, Case], rounds: int) -> dict[str, list[float]]:
    """Seconds of every case, round by round: A B C, C B A, A B C, … after one round that is not counted.

    So a machine that slows down slows all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        order = list(cases) if number % 2 == 0 else list(cases)[::-1]
        for name in order:
            took = timed(cases[name])
            if number > 0:
                seconds[name].append(took)
    return seconds


def timed(case: Case) -> float:
    """Seconds of one go."""
    if isinstance(case, tuple):
        made_ready, work = case[0](), case[1]
        began = time.perf_counter()
        work(made_ready)
    else:
        began = time.perf_counter()
        case()
    return time.perf_counter() - began


def median(values: Sequence[float]) -> float:
    """The middle one; NaN of nothing."""
    return statistics.median(values) if values else float("nan")


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times faster: of the rounds both have, the median of the ratios; of unequal rounds, that of medians."""
    if slow and len(slow) == len(fast):
        return median([a / b for a, b in zip(slow, fast, strict=True)])
    return median(slow) / median(fast)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Such as "4.21 [4.10-4.60]"."""
    if not values:
        return "-"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    middle = f"{median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} [{low}-{high}]"
