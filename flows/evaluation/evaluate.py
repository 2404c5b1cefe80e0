"""Evaluating a gate or segmenter on labelled data, with the models as a run would use them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifiers.labels.sample import LabelledTiles
from classifiers.rules import find_rule
from flows.evaluation.figures import FIGURES, Evaluated, gate_evaluated, segmenter_evaluated
from flows.evaluation.tiles import Asked, asked_tiles, seen_before
from flows.models import find_bundle, open_gate, open_segmenter
from tiling.errors import BadInput
from tiling.source import Pixels

if TYPE_CHECKING:
    from classifiers.bundle_contract import Bundle
    from classifiers.measuring.robustness import RobustnessRow
    from classifiers.protocol import Classifier
    from downstream.protocol import Segmenter
    from flows.pages.tile_pictures import TilePicture

JSON, PAGE = "evaluation.json", "evaluation.html"


def evaluate(asked: Asked) -> Evaluated:
    """Load the data, take the part that is asked for, and measure. Raises BadInput."""
    bundle = find_bundle(asked.model, asked.kind)
    if asked.cut is not None and bundle is not None:
        raise BadInput(f"--cut {asked.cut:g} is for rules; {bundle.name} is a bundle and has its own")
    if asked.runtime != "auto" and bundle is None:
        raise BadInput(
            f"--runtime {asked.runtime} is for bundles; {asked.model} is a rule, and there is no network in it"
        )
    return evaluate_tiles(asked, asked_tiles(asked, bundle))


def evaluate_tiles(asked: Asked, tiles: LabelledTiles) -> Evaluated:
    """Measure on these tiles. Raises BadInput where model and tiles do not fit."""
    if not len(tiles):
        raise BadInput(f"{asked.data}: there is no tile to measure on; {len(tiles.skipped)} were skipped")
    bundle = find_bundle(asked.model, asked.kind)
    cut = fitted_cut(asked.model, tiles) if asked.cut is None else asked.cut
    wanted = None if bundle is None else asked.runtime
    if asked.kind == "gate":
        gate = open_gate(asked.model, cut, wanted)
        found = gate_evaluated(
            gate, implied(tiles, bundle), None if bundle is None else bundle.metrics.get("temperature")
        )
        model, bent = gate.model, bending(gate, bundle, found.tiles) if asked.robustness else {}
    else:
        segmenter = open_segmenter(asked.model, cut, wanted)
        found, model = segmenter_evaluated(segmenter, tiles), segmenter.model
        bent = bending_masks(segmenter, found.tiles) if asked.robustness else {}
    about = {"schema": 1, "kind": asked.kind, "bundle": {"name": model.name, "sha256": model.sha256}}
    told = _told(asked, found.tiles) | {"warnings": seen_before(bundle, tiles, asked.part)}
    return replace(found, figures=about | dict.fromkeys(FIGURES) | found.figures | bent | told)


def bending(gate: Classifier, bundle: Bundle | None, tiles: LabelledTiles) -> dict[str, Any]:
    """What disturbed tiles and an adversarial step do to a gate. Raises BadInput for tiles of some classes only."""
    from classifiers.measuring.robustness import robustness, without_gradient

    if tuple(gate.classes) != tiles.classes:
        raise BadInput(
            f"--robustness needs tiles labelled with all classes of {gate.model.name}: {', '.join(gate.classes)}; "
            f"these have {', '.join(tiles.classes)}"
        )
    rows = robustness(gate, tiles)
    if bundle is None or bundle.classical:
        return {"robustness": _plain(rows), "fgsm": _plain([without_gradient(gate.model.name)])}
    from classifiers.measuring.torch_attack import fgsm

    return {"robustness": _plain(rows), "fgsm": _plain(fgsm(bundle, tiles))}


def bending_masks(segmenter: Segmenter, tiles: LabelledTiles) -> dict[str, Any]:
    """What disturbed tiles do to a segmenter."""
    from downstream.training.mask_robustness import mask_robustness

    return {"robustness": _plain(mask_robustness(segmenter, tiles))}


def implied(tiles: LabelledTiles, bundle: Bundle | None) -> LabelledTiles:
    """The tiles with the labels that the gate's hierarchy implies: a tile of a child is one of its parent."""
    from classifiers.training.hierarchy import parents_of, with_parents

    parents = {} if bundle is None else parents_of(bundle)
    known = {*tiles.classes, *parents.values()}
    return with_parents(tiles, {child: parent for child, parent in parents.items() if child in known})


def fitted_cut(model: str, tiles: LabelledTiles) -> float | None:
    """The cut of a rule that has none of its own, by Otsu over all tiles together; None for everything else."""
    rule = find_rule(model)
    if rule is None or rule.cut is not None or any(band not in tiles.bands for band in rule.bands):
        return None
    bands = [tiles.bands.index(band) for band in rule.bands]
    side = tiles.side_px
    stacked = tiles.pixels[:, bands].swapaxes(0, 1).reshape(len(bands), -1, side)
    return rule.fitted(Pixels(stacked, tiles.valid.reshape(-1, side))).cut


def write_evaluation(evaluated: Evaluated, folder: Path) -> None:
    """evaluation.json for programs and evaluation.html for people."""
    from flows.evaluation.page import evaluation_page

    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(evaluated.figures, indent=1) + "\n", encoding="utf-8")
    figures: Any = evaluated.figures
    (folder / PAGE).write_text(evaluation_page(figures, worst_pictures(evaluated)), encoding="utf-8")


def worst_pictures(evaluated: Evaluated) -> Sequence[TilePicture]:
    """The tiles the model is most wrong about."""
    from flows.pages.tile_pictures import gate_pictures, mask_pictures

    if evaluated.scores is not None:
        return gate_pictures(evaluated.tiles, evaluated.scores, evaluated.worst)
    assert evaluated.mapped is not None
    return mask_pictures(evaluated.tiles, evaluated.mapped, evaluated.worst)


def _plain(rows: Sequence[RobustnessRow]) -> list[dict[str, Any]]:
    return [row.as_dict() for row in rows]


def _told(asked: Asked, tiles: LabelledTiles) -> dict[str, Any]:
    """What was measured on."""
    return {
        "data": asked.data,
        "part": asked.part,
        "tiles": len(tiles),
        "groups": len(set(tiles.groups.tolist())),
        "classes": list(tiles.classes),
        "exclusive": tiles.exclusive,
        "pixel_size": tiles.pixel_size.text,
        "tile_px": tiles.tile_px,
        "skipped": [{"name": skipped.name, "why": skipped.why} for skipped in tiles.skipped],
        "notes": list(tiles.notes),
    }
