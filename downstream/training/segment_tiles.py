"""A segmenter asked about labelled tiles: what it maps in their cores, and how that agrees with their masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import UNLABELLED, LabelledTiles
from classifiers.measuring.disturb import Change, unchanged
from classifiers.measuring.mask_metrics import mask_metrics
from downstream.protocol import Segmenter
from tiling.errors import BadInput
from tiling.stack import crop_to_core

TILES_AT_ONCE = 16
"""Tiles a segmenter is handed at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreement:
    """How a segmenter agrees with masks."""

    counts: NDArray[np.int64]
    """(n, classes, 4) as of count_tiles."""
    groups: NDArray[np.str_]
    """(n,) of the tiles."""
    figures: dict[str, Any]
    """Of mask_metrics."""

    @property
    def metrics(self) -> dict[str, float]:
        """For bundle.json: what is a number in the figures, and the pixels they are of."""
        told = {key: value for key, value in self.figures.items() if isinstance(value, float | int)}
        return {"pixels": float(self.counts[:, 0, 3].sum()), **{key: float(value) for key, value in told.items()}}


def measure(segmenter: Segmenter, tiles: LabelledTiles, chosen: NDArray[np.intp]) -> Agreement:
    """Figures of some tiles. Raises BadInput as count_tiles does."""
    counts, groups = count_tiles(segmenter, tiles, chosen), tiles.groups[chosen]
    return Agreement(counts=counts, groups=groups, figures=mask_metrics(counts, tiles.classes, groups))


def count_tiles(
    segmenter: Segmenter,
    tiles: LabelledTiles,
    chosen: NDArray[np.intp] | None = None,
    change: Change = unchanged,
) -> NDArray[np.int64]:
    """(n, classes, 4) pixels per tile and class of `tiles`: both, mapped, true, labelled.

    both: mapped by the segmenter and true by the mask. labelled: all that count, which are the valid pixels of the
    core that somebody labelled; the same for every class. chosen: positions of tiles, None = all of them. change: what
    happens to the tiles before the segmenter sees them. Raises BadInput when there are no masks, or the segmenter
    needs other bands or knows other classes.
    """
    index = np.arange(len(tiles)) if chosen is None else chosen
    parts = [np.zeros((0, len(tiles.classes), 4), np.int64)]
    for start in range(0, len(index), TILES_AT_ONCE):
        some = index[start : start + TILES_AT_ONCE]
        truth, counted = truth_of(tiles, some)
        parts.append(_counted(map_tiles(segmenter, tiles, some, change), truth, counted, len(tiles.classes)))
    return np.concatenate(parts)


def truth_of(tiles: LabelledTiles, chosen: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Masks of the cores of some tiles (k, tile_px, tile_px), and which of their pixels count, likewise.

    Raises BadInput when there are no masks.
    """
    if tiles.masks is None:
        raise BadInput("these tiles have no masks: labels of whole tiles say nothing about the area in them")
    truth = np.asarray(crop_to_core(tiles.masks[chosen], tiles.tile), np.uint8)
    return truth, np.asarray(crop_to_core(tiles.valid[chosen], tiles.tile) & (truth != UNLABELLED), bool)


def map_tiles(
    segmenter: Segmenter, tiles: LabelledTiles, chosen: NDArray[np.intp], change: Change = unchanged
) -> NDArray[np.uint8]:
    """(k, tile_px, tile_px) labels of the cores of some tiles, numbered as in their masks.

    What the segmenter maps beyond the tiles' classes is background. Raises BadInput as count_tiles does.
    """
    _require_bands(segmenter, tiles)
    numbers = _numbers(segmenter, tiles)
    stack = tiles.shown(segmenter.model, change(tiles.stack(chosen)), segmenter.bands)
    found = numbers[segmenter.segment(stack).labels]
    return np.asarray(crop_to_core(found, tiles.tile), np.uint8)


def with_masks(tiles: LabelledTiles) -> LabelledTiles:
    """The tiles as they are; those whose labels are of whole tiles as of their class all over, and a note that says so.

    Raises BadInput where a tile is of several classes.
    """
    if tiles.masks is not None:
        return tiles
    several = np.flatnonzero((tiles.labels > 0).sum(axis=1) > 1)
    if len(several):
        first = tiles.samples[several[0]].name
        raise BadInput(
            f"{len(several)} of {len(tiles)} tiles are of several classes, such as {first}: without masks nobody knows "
            "which pixel is of which. Give masks or polygons, or train one segmenter per class."
        )
    label = np.where((tiles.labels > 0).any(axis=1), tiles.labels.argmax(axis=1) + 1, 0).astype(np.uint8)
    masks = np.broadcast_to(label[:, None, None], tiles.valid.shape)
    note = "Nobody drew masks: every pixel of a tile was taken as what its tile is labelled."
    return replace(tiles, masks=masks, notes=(*tiles.notes, note))


def _counted(
    mapped: NDArray[np.uint8], truth: NDArray[np.uint8], counted: NDArray[np.bool_], classes: int
) -> NDArray[np.int64]:
    """(k, classes, 4). mapped, truth, counted: (k, h, w)."""
    counts = np.zeros((len(mapped), classes, 4), np.int64)
    counts[:, :, 3] = counted.sum(axis=(1, 2))[:, None]
    for column in range(classes):
        found, true = (mapped == column + 1) & counted, (truth == column + 1) & counted
        for place, chosen in enumerate((found & true, found, true)):
            counts[:, column, place] = chosen.sum(axis=(1, 2))
    return counts


def _require_bands(segmenter: Segmenter, tiles: LabelledTiles) -> None:
    """Raise BadInput where the tiles lack some of the segmenter's."""
    missing = [band for band in segmenter.bands if band not in tiles.bands]
    if missing:
        raise BadInput(
            f"{segmenter.model.name} needs the bands {', '.join(segmenter.bands)}; these tiles have "
            f"{', '.join(tiles.bands)}. Name the bands of the images ([data] bands), such as {missing[0]}."
        )


def _numbers(segmenter: Segmenter, tiles: LabelledTiles) -> NDArray[np.uint8]:
    """(segmenter's classes + 1,) the tiles' number of each of the segmenter's labels."""
    missing = [name for name in tiles.classes if name not in segmenter.classes]
    if missing:
        raise BadInput(
            f"{segmenter.model.name} maps {', '.join(segmenter.classes)}; these tiles are labelled with "
            f"{', '.join(tiles.classes)}. Say which values of the masks mean {segmenter.classes[0]} ([data] classes)."
        )
    places = {name: number for number, name in enumerate(tiles.classes, start=1)}
    return np.array([0, *(places.get(name, 0) for name in segmenter.classes)], np.uint8)
