"""Coverage and width of the audit's interval beside others: python tests/benchmarks/audit_coverage.py [--audits 400].

Why the audit is what it is: normal intervals break where misses are rare, which is where a gate is any good. Compared
per population of rejected tiles, at 95 % for both ends together:
- uniform, normal: a simple random sample, mean +- 1.96 standard errors;
- by score, normal: drawn with chances in proportion to score (with replacement, Hansen and Hurwitz 1943), same interval;
- uniform, KL: Hoeffding's bound in its Kullback-Leibler form (1963), upper end only: what tilegate had before;
- uniform, betting: ours without the scores;
- ours: draw_audit and estimate_missed;
- hypergeometric: the exact bound where tiles are either full or empty (the best there is for such tiles), else blank.
Width: mean upper bound as a share of the rejected area, beside the truth, in percent.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import hypergeom

sys.path.insert(0, str(Path(__file__).parents[2]))

from downstream.audit import Rejected, draw_audit, estimate_missed

TILES = 4000


def populations(rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By name: (areas, scores, area of the class in each tile)."""
    score = np.clip(rng.beta(0.3, 6, TILES), 0, 0.99)
    one, index = np.ones(TILES), np.arange(TILES)
    areas = rng.choice([0.1, 1.0, 3.0], TILES, p=[0.2, 0.6, 0.2])
    high = np.argsort(-score)
    return {
        "none": (one, score, 0 * one),
        "rare, full tiles": (one, score, (index % 400 == 7) * 1.0),
        "rare, high scores": (one, score, np.isin(index, high[3:180:12]) * rng.random(TILES)),
        "rare slivers": (one, score, (index % 200 == 3) * 0.05),
        "as scored": (one, score, (rng.random(TILES) < score) * rng.beta(1, 3, TILES)),
        "many": (one, score, rng.beta(0.5, 1, TILES)),
        "all full": (one, score, one),
        "adversarial scores": (one, score, np.isin(index, high[::-1][:40]) * 1.0),
        "unequal areas": (areas, score, areas * (rng.random(TILES) < 0.01)),
        "unequal, in the largest": (areas, score, areas * (areas > 2) * (index % 30 == 1)),
    }


Interval = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], tuple[float, float]]
"""(areas, scores, held, tiles, number of the audit) -> low and high of the missed total, found area included."""


def normal(areas: np.ndarray, chances: np.ndarray, held: np.ndarray, n: int, audit: int) -> tuple[float, float]:
    """Hansen and Hurwitz's mean and its normal interval, with these chances."""
    drawn = np.random.default_rng(audit).choice(len(areas), n, p=chances)
    values = held[drawn] / chances[drawn]
    error = 1.96 * values.std(ddof=1) / math.sqrt(n)
    return values.mean() - error, values.mean() + error


def uniform_normal(areas, scores, held, n, audit):
    """See normal."""
    return normal(areas, np.full(len(areas), 1 / len(areas)), held, n, audit)


def score_normal(areas, scores, held, n, audit):
    """See normal."""
    return normal(areas, scores / scores.sum() * 0.95 + 0.05 / len(areas), held, n, audit)


def uniform_kl(areas, scores, held, n, audit):
    """n KL(mean, p) = ln(1 / 0.05)."""
    drawn = np.random.default_rng(audit).choice(len(areas), n, replace=False)
    mean, low, high = min(held[drawn].mean() / areas.max(), 1.0), 0.0, 1.0
    low = mean
    for _ in range(50):
        p = (low + high) / 2
        cost = (mean * math.log(mean / p) if mean else 0) + (
            (1 - mean) * math.log((1 - mean) / (1 - p)) if mean < 1 else 0
        )
        low, high = (p, high) if n * cost < -math.log(0.05) else (low, p)
    return 0.0, high * areas.max() * len(areas)


def ours(areas, scores, held, n, audit):
    """draw_audit and estimate_missed."""
    tiles = [Rejected(key=(0, i), score=float(s), area=float(a)) for i, (a, s) in enumerate(zip(areas, scores, strict=True))]  # fmt: skip
    drawn = draw_audit(tiles, n, str(audit))
    found = [float(held[draw.key[1]]) for draw in drawn.draws]
    missed = estimate_missed(drawn, found)
    assert missed is not None
    return missed.low + sum(found), missed.high + sum(found)


def uniform_betting(areas, scores, held, n, audit):
    """Ours where every tile has the same score."""
    return ours(areas, np.full(len(areas), 0.5), held, n, audit)


def exact(areas, scores, held, n, audit):
    """Hypergeometric, 2.5 % per end."""
    if len(np.unique(areas)) > 1 or not np.isin(held, (0, 1)).all():
        return math.nan, math.nan
    found = int(held[np.random.default_rng(audit).choice(len(areas), n, replace=False)].sum())
    return hypergeometric(len(areas), n, found)


@cache
def hypergeometric(tiles: int, n: int, found: int) -> tuple[float, float]:
    """Numbers of full tiles that neither end rules out."""
    full = np.arange(tiles + 1)
    kept = (hypergeom.cdf(found, tiles, full, n) > 0.025) & (hypergeom.sf(found - 1, tiles, full, n) > 0.025)
    return float(full[kept].min()), float(full[kept].max())


METHODS: dict[str, Interval] = {
    "uniform, normal": uniform_normal,
    "by score, normal": score_normal,
    "uniform, KL": uniform_kl,
    "uniform, betting": uniform_betting,
    "ours": ours,
    "hypergeometric": exact,
}


def measure(method: Interval, areas, scores, held, n: int, audits: int) -> tuple[float, float]:
    """(share of the audits whose interval holds the truth, mean upper bound as a share of the area)."""
    ends = np.array([method(areas, scores, held, n, audit) for audit in range(audits)])
    slack = 1e-6 * areas.sum()
    covered = (ends[:, 0] - slack <= held.sum()) & (held.sum() <= ends[:, 1] + slack)
    return (math.nan if np.isnan(ends).any() else float(covered.mean())), float(ends[:, 1].mean() / areas.sum())


def main() -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=400)
    parser.add_argument("--tiles", type=int, default=300)
    asked = parser.parse_args()
    print(
        f"{TILES:,} rejected tiles, {asked.tiles} audited, {asked.audits} audits each: coverage / mean upper bound, %\n"
    )
    print(f"| population | missed, % | {' | '.join(METHODS)} |")
    print("|---" * (len(METHODS) + 2) + "|")
    for name, (areas, scores, held) in populations(np.random.default_rng(11)).items():
        cells = [measure(method, areas, scores, held, asked.tiles, asked.audits) for method in METHODS.values()]
        told = ["" if math.isnan(c) else f"{100 * c:.1f} / {100 * w:.2f}" for c, w in cells]
        print(f"| {name} | {100 * held.sum() / areas.sum():.2f} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
