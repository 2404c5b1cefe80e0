"""The threshold of a recipe that promises a recall."""

from __future__ import annotations

from flows.models import find_bundle
from flows.recipe import Recipe
from tiling.errors import BadInput


def contracted(recipe: Recipe) -> float:
    """The threshold that keeps gate.recall. Raises BadInput for rules, thin evidence, and another threshold beside it."""
    from classifiers.recall import held_out, threshold_for_area, threshold_for_recall

    asked = recipe.gate
    assert asked.recall is not None
    bundle = find_bundle(asked.model, "gate")
    if bundle is None or bundle.calibration is None:
        raise BadInput(
            f"recipe {recipe.name}: gate.recall = {asked.recall:g} needs a gate with calibration tiles; {asked.model} is "
            "a rule and has none. Set gate.threshold instead, and let the audit say what it missed."
            if bundle is None
            else f"recipe {recipe.name}: gate.recall = {asked.recall:g} needs calibration tiles; {bundle.path} holds none."
        )
    tiles = held_out(bundle.calibration, bundle.classes, asked.positive)
    if asked.recall_of == "area":
        chosen = threshold_for_area(tiles, asked.recall)
    else:
        chosen = threshold_for_recall(tiles, asked.recall, asked.confidence)
    if asked.threshold not in (None, chosen):  # a resumed run brings the one that was chosen
        raise BadInput(
            f"recipe {recipe.name}: gate.threshold = {asked.threshold:g} and gate.recall = {asked.recall:g}, which takes "
            f"{chosen:g} here: give one of them."
        )
    return chosen
