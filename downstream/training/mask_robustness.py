"""How a segmenter bends: Dice and area on tiles as they are, and on the same tiles disturbed."""

from __future__ import annotations

from functools import partial

import numpy as np

from classifiers.labels.sample import LabelledTiles
from classifiers.measuring.disturb import Change
from classifiers.measuring.disturbances import disturbances, for_masks
from classifiers.measuring.mask_metrics import mask_metrics
from classifiers.measuring.robustness import Figures, RobustnessRow, band_spread, bend, evenly
from downstream.protocol import Segmenter
from downstream.training.segment_tiles import count_tiles

FIGURES = ("dice", "recall", "precision", "area_bias")
"""Of mask_metrics."""


def mask_robustness(segmenter: Segmenter, tiles: LabelledTiles, *, most_tiles: int = 200) -> tuple[RobustnessRow, ...]:
    """The FIGURES of any segmenter, undisturbed and under each disturbance that leaves pixels where they are.

    most_tiles: of more, as many are taken evenly. Raises BadInput as count_tiles does.
    """
    chosen = evenly(tiles, most_tiles)
    steps = disturbances(chosen.bands, chosen.dtype, chosen.pixel_size.unit, band_spread(chosen))
    return bend(partial(mask_figures, segmenter, chosen), for_masks(steps))


def mask_figures(segmenter: Segmenter, tiles: LabelledTiles, change: Change) -> Figures:
    """Of a segmenter on tiles that are changed before it sees them."""
    counts = count_tiles(segmenter, tiles, np.arange(len(tiles)), change)
    found = mask_metrics(counts, tiles.classes, tiles.groups)
    return {key: found[key] for key in FIGURES}
