"""Who sees reflectance and who the numbers of the file: settled once, in the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from classifiers.protocol import Classifier
from classifiers.rules import RULES
from downstream.protocol import Segmenter
from flows.recipe import ImageRecipe
from storage.plan import RunPlan
from tiling.errors import BadInput
from tiling.info import ImageInfo
from tiling.radiometry import require_possible, stated


def settled_radiometry(info: ImageInfo, asked: ImageRecipe, models: Sequence[Classifier | Segmenter]) -> ImageInfo:
    """The image with the scales and offsets that its models will see: the recipe's before the file's.

    None where no model wants reflectance: bundles see the numbers they were calibrated on. Raises BadInput for scales
    and offsets nobody would use, and for those that leave nothing to see.
    """
    said = asked.scale is not None or asked.offset is not None
    if asked.radiometry == "raw":
        if said:
            raise BadInput(
                'image.radiometry = "raw" takes no image.scale and no image.offset: leave out one or the other'
            )
        return replace(info, radiometry=None)
    if all(model.model.sees == "numbers" for model in models):
        if said:
            names = " and ".join(dict.fromkeys(model.model.name for model in models))
            rules = ", ".join(rule.name for rule in RULES.values() if rule.model.sees == "reflectance")
            raise BadInput(f"image.scale and image.offset are for rules of reflectance ({rules}); {names} sees numbers")
        return replace(info, radiometry=None)
    found = stated(info.radiometry, info.bands, asked.scale, asked.offset)
    if found is not None:
        require_possible(found, info.bands, info.dtype, info.uri)
    return replace(info, radiometry=found)


def radiometry_block(plan: RunPlan) -> dict[str, Any]:
    """`radiometry` in the summary's block `image`; nothing where every model sees the numbers of a file as they are."""
    found = plan.image.radiometry
    if found is None:
        return {}
    rows = zip(plan.image.bands, found.scale, found.offset, strict=True)
    bands = [{"name": name, "scale": scale, "offset": offset} for name, scale, offset in rows]
    return {"radiometry": {"bands": bands, "whence": found.whence}}


def radiometry_text(image: dict[str, Any]) -> str:
    """What rules saw of the numbers of a file, for a person; empty where they saw the numbers. image: of the summary."""
    found = image.get("radiometry")
    if found is None:
        return ""
    bands = ", ".join(f"{row['name']} x {row['scale']:g} {row['offset']:+g}" for row in found["bands"])
    return f"{bands} (by {found['whence']})"
