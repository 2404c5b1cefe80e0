"""The areas of a plan's pixels, by the method its recipe names."""

from __future__ import annotations

from storage.plan import RunPlan
from tiling.info import Plane
from tiling.pixel_area import PixelAreas, pixel_areas


def plan_areas(plan: RunPlan, plane: Plane | None = None) -> PixelAreas:
    """Of the fine plane, unless another is given."""
    method = plan.recipe.get("area", {}).get("method", "ellipsoidal")
    return pixel_areas(plan.image, plane or plan.fine, method)
