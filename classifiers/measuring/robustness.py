"""How a model bends: its figures on tiles as they are, and on the same tiles disturbed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles
from classifiers.measuring.disturb import Change, unchanged
from classifiers.measuring.disturbances import Disturbance, disturbances
from classifiers.measuring.gate_metrics import gate_metrics
from classifiers.protocol import Classifier
from tiling.errors import BadInput
from tiling.stack import TileStack

Figures = Mapping[str, float | None]
Measure = Callable[[Change], Figures]
"""Figures of a model that meets every tile changed; so memory holds one batch of disturbed tiles at a time."""

FIGURES = ("accuracy", "recall", "precision", "roc_auc")
"""Of a gate, see gate_metrics; recall and precision are those at its threshold, where it has one."""
BATCH_TILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessRow:
    """What one disturbance does to a model."""

    name: str
    """Of the disturbance; "undisturbed" for what the others are compared with."""
    step: str
    """mild, strong, or empty."""
    parameters: str
    """For people."""
    figures: Figures = field(default_factory=dict)
    """Name of a figure and its value; None where it is not defined on these tiles."""
    change: Figures = field(default_factory=dict)
    """The same, less that of the undisturbed tiles."""
    skipped: str = ""
    """Why it was not measured; empty = it was."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def robustness(
    classifier: Classifier, tiles: LabelledTiles, *, threshold: float | None = None, most_tiles: int = 1000
) -> tuple[RobustnessRow, ...]:
    """Accuracy, recall, precision and ROC-AUC of a gate of any kind, undisturbed and under each disturbance.

    threshold: None = the gate's own. most_tiles: of more, as many are taken evenly. Raises BadInput when the gate's
    classes are not the tiles', or it needs bands they have not.
    """
    chosen = evenly(tiles, most_tiles)
    at = classifier.model.threshold if threshold is None else threshold
    steps = disturbances(chosen.bands, chosen.dtype, chosen.pixel_size.unit, band_spread(chosen))
    return bend(partial(gate_figures, classifier, chosen, at), steps)


def bend(measure: Measure, steps: Sequence[Disturbance]) -> tuple[RobustnessRow, ...]:
    """One row per step, after that of the undisturbed tiles; steps that do not apply are rows with the reason."""
    base = measure(unchanged)
    first = RobustnessRow(name="undisturbed", step="", parameters="", figures=base, change=compared(base, base))
    return (first, *(_row(measure, step, base) for step in steps))


def gate_figures(classifier: Classifier, tiles: LabelledTiles, threshold: float | None, change: Change) -> Figures:
    """Of a gate on tiles that are changed before it sees them."""
    return figures_of(tiles, scores(classifier, tiles, change), threshold)


def figures_of(tiles: LabelledTiles, probability: NDArray[np.float32], threshold: float | None) -> Figures:
    """The FIGURES of gate_metrics. probability: (n, classes). threshold: None = as gate_metrics answers without one."""
    exclusive = tiles.exclusive and len(tiles.classes) > 1
    found = gate_metrics(tiles.labels, probability, exclusive)
    passing = found if threshold is None else gate_metrics(tiles.labels, probability, False, threshold)
    return {key: (passing if key in {"recall", "precision"} else found)[key] for key in FIGURES}


def scores(classifier: Classifier, tiles: LabelledTiles, change: Change = unchanged) -> NDArray[np.float32]:
    """(n, classes of the tiles), changed first, with the bands that the classifier needs. Raises BadInput: columns_of."""
    columns = columns_of(classifier, tiles)
    changed = (tiles.shown(classifier.model, change(stack), classifier.bands) for stack in batches(tiles))
    found = [classifier.score(stack)[:, columns] for stack in changed]
    return np.concatenate([np.empty((0, len(columns)), np.float32), *found])


def columns_of(classifier: Classifier, tiles: LabelledTiles) -> list[int]:
    """Where the tiles' classes stand among the classifier's. Raises BadInput where they do not, or a band is missing."""
    missing = [band for band in classifier.bands if band not in tiles.bands]
    if missing or not set(tiles.classes) <= set(classifier.classes):
        raise BadInput(
            f"{classifier.model.name} scores {', '.join(classifier.classes)} from {', '.join(classifier.bands)}; these "
            f"tiles are labelled {', '.join(tiles.classes)} and have {', '.join(tiles.bands)}. Load them for this model."
        )
    return [classifier.classes.index(name) for name in tiles.classes]


def batches(tiles: LabelledTiles, size: int = BATCH_TILES) -> list[TileStack]:
    """All of them in order."""
    return [tiles.stack(range(at, min(at + size, len(tiles)))) for at in range(0, len(tiles), size)]


def evenly(tiles: LabelledTiles, most: int) -> LabelledTiles:
    """At most so many, evenly spread over their order."""
    if len(tiles) <= most:
        return tiles
    return tiles.pick(np.linspace(0, len(tiles) - 1, most).round().astype(np.intp))


def band_spread(tiles: LabelledTiles, most: int = 200) -> list[float]:
    """Standard deviation of each band over the valid pixels of some tiles, in the units of the pixels."""
    some = evenly(tiles, most)
    bands = some.pixels.swapaxes(0, 1)
    return [float(band[some.valid].std(dtype=np.float64)) if some.valid.any() else 0.0 for band in bands]


def compared(figures: Figures, base: Figures) -> Figures:
    """Differences of what both have."""
    pairs = {key: (value, base.get(key)) for key, value in figures.items()}
    return {key: None if a is None or b is None else a - b for key, (a, b) in pairs.items()}


def without_gradient(model: str) -> RobustnessRow:
    """The row of an attack on a model that has no gradient."""
    why = f"{model} is not a network: FGSM follows the gradient of a network's loss, and there is none"
    return RobustnessRow(name="FGSM", step="", parameters="", skipped=why)


def _row(measure: Measure, step: Disturbance, base: Figures) -> RobustnessRow:
    row = RobustnessRow(name=step.name, step=step.step, parameters=step.parameters, skipped=step.skipped)
    if step.skipped:
        return row
    figures = measure(step.change)
    return replace(row, figures=figures, change=compared(figures, base))
