"""How good a gate's probabilities are, on tiles whose labels are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.measuring.calibration import expected_calibration_error
from classifiers.measuring.ranking import pr_auc, roc_auc
from tiling.errors import BadInput

HALF = 0.5
_AVERAGED = ("precision", "recall", "f1", "roc_auc", "pr_auc")


def gate_metrics(
    labels: NDArray[np.floating],
    probability: NDArray[np.floating],
    exclusive: bool,
    threshold: float | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Figures that JSON can hold; what is not defined on these tiles (one kind of tile only) is None.

    labels: (n, c) 0 or 1; probability: (n, c) in [0, 1]. exclusive: the most probable class is the answer; otherwise
    every class that reaches the threshold (None = 0.5). classes: c names, None = "0", "1", … precision, recall, f1,
    roc_auc and pr_auc of several classes are means over those where they are defined (macro, one against the rest);
    accuracy is the share of tiles where every class is right. confusion: rows are truth, columns the answer; (c, c),
    of one class (2, 2) with "not" first, of several that do not exclude each other one (2, 2) per class.
    Raises BadInput when shapes differ or a probability is not a number.
    """
    _refuse_other_shapes(labels, probability, classes)
    truth, answer = labels > HALF, _answers(probability, exclusive, threshold)
    names = [str(i) for i in range(labels.shape[1])] if classes is None else list(classes)
    per_class = {name: _one_class(truth[:, i], answer[:, i], probability[:, i]) for i, name in enumerate(names)}
    return {
        "tiles": len(labels),
        "accuracy": _share(int((truth == answer).all(axis=1).sum()), len(labels)),
        **{key: _mean(figures[key] for figures in per_class.values()) for key in _AVERAGED},
        "ece": expected_calibration_error(probability, labels, exclusive),
        "per_class": per_class,
        "confusion": _confusion(truth, answer, exclusive),
    }


def by_group(
    labels: NDArray[np.floating],
    probability: NDArray[np.floating],
    groups: NDArray[np.str_],
    exclusive: bool,
    threshold: float | None = None,
) -> dict[str, dict[str, Any]]:
    """The same for each patient, slide or scene by itself, without the figures of single classes.

    groups: (n,); see gate_metrics for the rest.
    """
    found: dict[str, dict[str, Any]] = {}
    for group in np.unique(groups):
        own = groups == group
        figures = gate_metrics(labels[own], probability[own], exclusive, threshold)
        found[str(group)] = {key: value for key, value in figures.items() if key not in {"per_class", "confusion"}}
    return found


def _refuse_other_shapes(
    labels: NDArray[np.floating], probability: NDArray[np.floating], classes: Sequence[str] | None
) -> None:
    if labels.ndim != 2 or labels.shape != probability.shape:
        raise BadInput(
            f"labels are {labels.shape} and probabilities {probability.shape}; both must be (tiles, classes)"
        )
    if classes is not None and len(classes) != labels.shape[1]:
        raise BadInput(f"{len(classes)} classes are named ({', '.join(classes)}), the labels have {labels.shape[1]}")
    wrong = int((~np.isfinite(probability)).any(axis=1).sum())
    if wrong:
        raise BadInput(f"the gate gave no number for {wrong} of {len(labels)} tiles; nothing can be measured with them")


def _answers(probability: NDArray[np.floating], exclusive: bool, threshold: float | None) -> NDArray[np.bool_]:
    """(n, c)."""
    if not exclusive:
        return np.asarray(probability >= (HALF if threshold is None else threshold))
    return np.asarray(np.arange(probability.shape[1]) == probability.argmax(axis=1)[:, None])


def _one_class(
    truth: NDArray[np.bool_], answer: NDArray[np.bool_], probability: NDArray[np.floating]
) -> dict[str, float | int | None]:
    """truth, answer, probability: (n,)."""
    hits, missed, false = (int(kind.sum()) for kind in (truth & answer, truth & ~answer, answer & ~truth))
    return {
        "tiles": hits + missed,
        "predicted": hits + false,
        "accuracy": _share(len(truth) - missed - false, len(truth)),
        "precision": _share(hits, hits + false),
        "recall": _share(hits, hits + missed),
        "f1": _share(2 * hits, 2 * hits + missed + false),
        "roc_auc": roc_auc(probability, truth),
        "pr_auc": pr_auc(probability, truth),
    }


def _confusion(truth: NDArray[np.bool_], answer: NDArray[np.bool_], exclusive: bool) -> list[Any]:
    if exclusive:
        return [[int(n) for n in row] for row in truth.astype(np.int64).T @ answer.astype(np.int64)]
    tables = [
        [[int((~t & ~a).sum()), int((~t & a).sum())], [int((t & ~a).sum()), int((t & a).sum())]]
        for t, a in zip(truth.T, answer.T, strict=True)
    ]
    return tables[0] if len(tables) == 1 else tables


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
