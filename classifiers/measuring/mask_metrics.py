"""How good mapped masks are, from counts of pixels: sums of integers, so any order gives the same figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput

_AVERAGED = ("iou", "dice", "f1", "precision", "recall", "accuracy")


def mask_metrics(counts: NDArray[np.int64], classes: Sequence[str], groups: NDArray[np.str_]) -> dict[str, Any]:
    """Figures that JSON can hold; what is not defined on these tiles is None.

    counts: (n, classes, 4) pixels per tile and class: both (mapped and true), mapped, true, and all that are labelled,
    the same for each class; without the fourth, (n, classes, 3), accuracy is None. groups: (n,).
    All tiles' pixels count together. iou, dice, f1, precision, recall and accuracy of several classes are means over
    those where they are defined; accuracy is each class against the rest. area_bias: mapped / true area - 1, of the
    class where that is largest, either way. Raises BadInput when counts contradict each other.
    """
    _refuse_nonsense(counts, classes, groups)
    per_group: dict[str, dict[str, Any]] = {}
    for group in np.unique(groups):
        own = counts[groups == group]
        per_group[str(group)] = {"tiles": len(own), **_together(_per_class(own, classes))}
    per_class = _per_class(counts, classes)
    return {"tiles": len(counts), **_together(per_class), "per_class": per_class, "per_group": per_group}


def _per_class(counts: NDArray[np.int64], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    totals = counts.sum(axis=0)
    return {name: _one_class(*(int(n) for n in row)) for name, row in zip(classes, totals, strict=True)}


def _one_class(both: int, mapped: int, true: int, labelled: int | None = None) -> dict[str, float | int | None]:
    dice = _share(2 * both, mapped + true)
    return {
        "labelled_px": labelled,
        "mapped_px": mapped,
        "true_px": true,
        "iou": _share(both, mapped + true - both),
        "dice": dice,
        "f1": dice,  # the same number where pixels are counted, and both names are in use
        "precision": _share(both, mapped),
        "recall": _share(both, true),
        "accuracy": None if labelled is None else _share(labelled - mapped - true + 2 * both, labelled),
        "area_bias": _share(mapped - true, true),
    }


def _together(per_class: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    rows = list(per_class.values())
    biases = [row["area_bias"] for row in rows if row["area_bias"] is not None]
    means = {key: _mean(row[key] for row in rows) for key in _AVERAGED}
    return {**means, "area_bias": max(biases, key=abs, default=None)}


def _refuse_nonsense(counts: NDArray[np.int64], classes: Sequence[str], groups: NDArray[np.str_]) -> None:
    if counts.ndim != 3 or counts.shape[1] != len(classes) or counts.shape[2] not in {3, 4} or not len(classes):
        raise BadInput(f"counts are {counts.shape}; for {len(classes)} classes they must be (tiles, {len(classes)}, 4)")
    if len(groups) != len(counts):
        raise BadInput(f"counts are of {len(counts)} tiles, groups of {len(groups)}")
    both, mapped, true = (counts[..., place] for place in range(3))
    if (both < 0).any() or (both > np.minimum(mapped, true)).any():
        raise BadInput("more pixels agree than one of the masks has: the counts are wrong")
    if counts.shape[2] == 4 and (mapped + true - both > counts[..., 3]).any():
        raise BadInput("the masks have more pixels than are labelled: the counts are wrong")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
