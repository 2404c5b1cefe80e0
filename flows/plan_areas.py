"""The areas of a plan's pixels, by the method its recipe names."""

from __future__ import annotations

from flows.recipe import Recipe
from storage.plan import RunPlan
from tiling.info import Plane
from tiling.pixel_area import PixelAreas, pixel_areas


def plan_areas(plan: RunPlan, plane: Plane | None = None) -> PixelAreas:
    """Of the fine plane, unless another is given."""
    return pixel_areas(plan.image, plane or plan.fine, Recipe.model_validate(plan.recipe).area.method)
