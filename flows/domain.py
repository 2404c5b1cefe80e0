"""Whether an image looks like what its gate was calibrated on: asked once, between the stages of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from classifiers.bundle_contract import Bundle, Domain
from classifiers.domain import describe, distance
from classifiers.domain_verdict import Judgement, judge, not_judged
from classifiers.gate import gate_scores, positive_columns
from classifiers.rules import find_rule
from flows.display import where_text
from flows.models import bundle_folder
from flows.progress import Progress
from flows.recipe import Recipe
from storage.plan import RunPlan
from tiling.errors import BadInput
from tiling.record import TileRecord
from tiling.stack import TileStack


def gate_bundle(plan: RunPlan) -> Bundle | None:
    """What the plan's gate promises, None for a rule. Raises BadInput when it is not the planned one any more."""
    return _bundle(plan.recipe["gate"]["model"], plan.models["gate"]["sha256"])


@lru_cache(maxsize=4)
def _bundle(model: str, sha256: str) -> Bundle | None:
    """Read once per process, without its weights."""
    if find_rule(model) is not None:
        return None
    from classifiers.bundle import load_bundle

    bundle = load_bundle(model, bundle_folder("classifiers"), whole=False)
    if bundle.contract_sha256 != sha256:
        raise BadInput(f"{bundle.path} was changed after the run was planned; begin a new run with --out")
    return bundle


def distances(stack: TileStack, domain: Domain | None) -> list[float | None]:
    """Of each tile, as the ledger keeps it (float32); None where there is no domain or the tile cannot be judged."""
    if domain is None:
        return [None] * len(stack)
    found = distance(describe(stack), domain).astype(np.float32)
    return [float(one) if np.isfinite(one) else None for one in found]


def require_domain(plan: RunPlan, recipe: Recipe) -> None:
    """Raise BadInput when nobody could tell whether to refuse: before anything is written."""
    bundle = gate_bundle(plan) if recipe.gate.outside == "refuse" else None
    if recipe.gate.outside == "refuse" and (bundle is None or bundle.domain is None):
        raise BadInput(f"gate.outside = refuse, but {_why_not(recipe.gate.model, bundle)}. Set gate.outside = warn.")


def judge_run(plan: RunPlan, recipe: Recipe, gated: Sequence[TileRecord]) -> Judgement:
    """How the run stands in its gate's domain. gated: every tile of the grid after stage 1, in grid order."""
    bundle = gate_bundle(plan)
    if bundle is None or bundle.domain is None:
        return not_judged(_why_not(recipe.gate.model, bundle))
    seen = [tile.distance for tile in gated if tile.distance is not None]
    scores = [tile.score for tile in gated if tile.score is not None]
    return judge(bundle.name, bundle.domain, seen, _calibrated(bundle, recipe), scores)


def _calibrated(bundle: Bundle, recipe: Recipe) -> list[float]:
    """Scores of the held-out tiles, of the classes that let a tile through."""
    if bundle.calibration is None:
        return []
    columns = positive_columns(bundle.classes, recipe.gate.positive)
    return [float(score) for score in gate_scores(np.array(bundle.calibration.scores, np.float32), columns)]


def _why_not(model: str, bundle: Bundle | None) -> str:
    if bundle is None:
        return f"{model} is a rule: it was calibrated on no tiles that others could be compared with"
    return f"{bundle.name} ({bundle.path}) holds no domain: it was written without one"


def heed(found: Judgement, plan: RunPlan, recipe: Recipe, progress: Progress) -> None:
    """Warn of an image that is not inside; refuse one that is outside where the recipe says so (BadInput)."""
    if found.verdict not in ("shifted", "outside"):
        return
    text = f"{plan.image.uri} is {where_text(found.verdict, plan.models['gate']['name'])}: {'; '.join(found.reasons)}. "
    if found.verdict == "outside" and recipe.gate.outside == "refuse":
        raise BadInput(
            f"{text}Nothing was segmented, since gate.outside = refuse; what the gate did is kept. Bring a gate made for "
            "such images, or go on where this run stopped: the same command with --set gate.outside=warn."
        )
    progress.warn(f"{text}Trust the audit more than the gate, or let all tiles through: --set gate.threshold=0.")


def domain_block(found: Judgement) -> dict[str, Any]:
    """The block `domain` of summary.json."""
    return asdict(found) | {"reasons": list(found.reasons)}
