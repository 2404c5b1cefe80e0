"""What a reader has to know of the areas of a run: which are bounds, and which can not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from classifiers.rules import RULES
from downstream.audit import Audit
from downstream.claims import claims_of
from downstream.summary import ClassArea, beyond_tissue
from storage.plan import RunPlan
from tiling.record import TileRecord


def claims_block(tiles: Sequence[TileRecord], audit: Audit) -> dict[str, Any]:
    """For `area.observed_at_most`: why what is observed is a bound; nothing where it is exact."""
    found = claims_of(tiles, audit)
    return {} if found is None else {"observed_at_most": asdict(found)}


def glass_block(plan: RunPlan, classes: Sequence[ClassArea], tissue: float | None) -> dict[str, Any]:
    """For `area.more_than_tissue`: names of the classes that must lie on glass in part; nothing where none does.

    The rule for tissue is left out: on its own plane it finds as much as it finds, on the gate's a little more or less.
    """
    names = [] if plan.models["segmenter"]["name"] == RULES["tissue"].name else beyond_tissue(classes, tissue)
    return {"more_than_tissue": names} if names else {}
