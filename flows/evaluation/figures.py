"""What a gate or a segmenter says of labelled tiles, and how good that is, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles
from classifiers.protocol import Classifier
from downstream.protocol import Segmenter
from flows.display import convert
from flows.evaluation.tiles import aligned, require_fit

TILES_AT_ONCE = 64
FIGURES = (
    *("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "ece", "ece_before", "ece_scaled", "temperature"),
    *("iou", "dice", "area_bias", "threshold", "at_threshold", "per_class", "per_group", "confusion"),
    *("recall_table", "curves", "reliability", "reliability_scaled", "areas", "robustness", "fgsm"),
)
"""Keys that every evaluation has; null where they do not apply."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluated:
    """What was measured, and what the pictures of the worst tiles are made of."""

    figures: dict[str, Any]
    """JSON: FIGURES, and what they were measured on."""
    tiles: LabelledTiles
    """With the model's classes, in its order."""
    worst: NDArray[np.intp]
    """Positions of the tiles the model is most wrong about, worst first."""
    scores: NDArray[np.float32] | None = None
    """Gates: (n, classes)."""
    mapped: NDArray[np.uint8] | None = None
    """Segmenters: (worst, core, core) labels of the worst tiles."""


def gate_evaluated(gate: Classifier, tiles: LabelledTiles, temperature: float | None = None) -> Evaluated:
    """Scores as in a run, and all that can be said of them. Raises BadInput where gate and tiles do not fit.

    temperature: that the gate's logits were divided by when it was made, where that is known.
    """
    from flows.pages.tile_pictures import worst_tiles

    require_fit(tiles, gate.model, gate.bands)
    tiles = aligned(tiles, gate.model, gate.classes)
    scores = score_tiles(gate, tiles)
    figures = gate_figures(scores, tiles, gate.model.threshold)
    figures |= calibration_figures(scores, tiles, temperature)
    worst = worst_tiles(tiles.labels, scores, tiles.exclusive)
    return Evaluated(figures=figures, tiles=tiles, worst=worst, scores=scores)


def gate_figures(scores: NDArray[np.float32], tiles: LabelledTiles, threshold: float | None) -> dict[str, Any]:
    """Of the likeliest class, or of each class at one half; and beside them what the gate's threshold does.

    scores: (n, classes).
    """
    from classifiers.measuring.evidence import recall_table
    from classifiers.measuring.gate_metrics import by_group, gate_metrics
    from classifiers.measuring.ranking import curve

    labels, exclusive = tiles.labels, tiles.exclusive
    known = [(name, scores[:, i], labels[:, i] > 0) for i, name in enumerate(tiles.classes)]
    at = None if threshold is None else gate_metrics(labels, scores, False, threshold, tiles.classes)
    return gate_metrics(labels, scores, exclusive, None, tiles.classes) | {
        "threshold": threshold,
        "at_threshold": at,
        "per_group": by_group(labels, scores, tiles.groups, exclusive) if grouped(tiles) else None,
        "recall_table": {name: recall_table(own, true, groups=tiles.groups) for name, own, true in known},
        "curves": {name: curve(own, true) for name, own, true in known},
    }


def calibration_figures(scores: NDArray[np.float32], tiles: LabelledTiles, temperature: float | None) -> dict[str, Any]:
    """Whether probabilities mean what they say: without the gate's own temperature, with it, and with the best one.

    The best one is fitted on every other group and judged on the rest, and the other way round. scores: (n, classes).
    """
    from classifiers.measuring.calibration import expected_calibration_error, fit_temperature, reliability

    labels, exclusive = tiles.labels, tiles.exclusive
    logits = _logits(scores, exclusive=exclusive)
    found: dict[str, Any] = {"reliability": reliability(scores, labels, exclusive)}
    if temperature is not None:
        before = _probability(logits * temperature, exclusive=exclusive)
        found["ece_before"] = expected_calibration_error(before, labels, exclusive)
    half = np.unique(tiles.groups, return_inverse=True)[1] % 2 == 0
    if half.all() or not half.any():
        return found
    fitted = [fit_temperature(logits[part], labels[part], exclusive) for part in (half, ~half)]
    scaled = _probability(logits / np.where(half, fitted[1], fitted[0])[:, None], exclusive=exclusive)
    return found | {
        "temperature": float(np.sqrt(fitted[0] * fitted[1])),
        "ece_scaled": expected_calibration_error(scaled, labels, exclusive),
        "reliability_scaled": reliability(scaled, labels, exclusive),
    }


def segmenter_evaluated(segmenter: Segmenter, tiles: LabelledTiles) -> Evaluated:
    """Masks as in a run, and how their cores agree with the truth. Raises BadInput likewise, and without masks."""
    from classifiers.measuring.mask_metrics import mask_metrics
    from downstream.training.segment_tiles import count_tiles, map_tiles, with_masks
    from flows.evaluation.charts import group_areas
    from flows.pages.tile_pictures import worst_masks

    require_fit(tiles, segmenter.model, segmenter.bands)
    tiles = with_masks(aligned(tiles, segmenter.model, segmenter.classes))
    counts = count_tiles(segmenter, tiles)
    size = tiles.pixel_size
    pixel_area, unit = convert(size.y * size.x, "m2" if size.unit == "m" else "um2", "")
    figures = mask_metrics(counts, tiles.classes, tiles.groups)
    figures |= {
        "per_group": figures["per_group"] if grouped(tiles) else None,
        "areas": group_areas(counts, tiles.classes, tiles.groups, pixel_area or 0.0),
        "area_unit": unit,
    }
    worst = worst_masks(counts)
    return Evaluated(figures=figures, tiles=tiles, worst=worst, mapped=map_tiles(segmenter, tiles, worst))


def score_tiles(gate: Classifier, tiles: LabelledTiles) -> NDArray[np.float32]:
    """(n, classes of the tiles), which are some of the gate's."""
    columns = [gate.classes.index(name) for name in tiles.classes]
    parts = [np.zeros((0, len(columns)), np.float32)]
    for start in range(0, len(tiles), TILES_AT_ONCE):
        some = np.arange(start, min(start + TILES_AT_ONCE, len(tiles)))
        parts.append(gate.score(tiles.shown(gate.model, tiles.stack(some), gate.bands))[:, columns])
    return np.concatenate(parts)


def grouped(tiles: LabelledTiles) -> bool:
    """Whether groups say something: there are several, and most hold more than one tile."""
    return 1 < len(set(tiles.groups.tolist())) <= len(tiles) / 2


def _logits(scores: NDArray[np.float32], *, exclusive: bool) -> NDArray[np.float64]:
    """What the scores are the softmax or sigmoid of, up to a constant per tile. scores: (n, classes)."""
    likely = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(likely) if exclusive else np.log(likely) - np.log1p(-likely))


def _probability(logits: NDArray[np.float64], *, exclusive: bool) -> NDArray[np.float32]:
    """The other way. logits: (n, classes)."""
    from classifiers.answers import probabilities

    return probabilities(logits.astype(np.float32), "softmax" if exclusive else "sigmoid")
