"""What a trained gate is worth on tiles it never saw: the figures, and the evidence for thresholds, that it ships with."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.answers import probabilities
from classifiers.bundle_contract import Activation, Bundle, Calibration, Domain
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.measuring.calibration import fit_temperature
from classifiers.measuring.evidence import recall_table, threshold_for
from classifiers.measuring.gate_metrics import gate_metrics
from tiling.errors import BadInput

log = logging.getLogger("tilegate")

HALF = 0.5
AT_THRESHOLD = ("accuracy", "precision", "recall", "f1")
"""Figures that a threshold changes."""
_MOST_VALUES = 200_000
"""Scores that bundle.json holds as evidence at most: about 7 MB of it."""
_DESCRIBED = 4000
"""Training tiles that the domain is made of at most."""
_CHUNK = 256

Row = dict[str, float | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """On the test tiles."""

    threshold: float
    """Recommended."""
    recall: float
    """That it aims at."""
    figures: dict[str, Any]
    """Of gate_metrics: of the likeliest class, or of each at one half, as an evaluation tells them."""
    at_threshold: dict[str, Any]
    """Likewise at the threshold; {} where classes exclude each other."""
    temperature: float
    """Logits were divided by it."""
    ece_before: float | None
    """Expected calibration error without it."""
    tables: dict[str, list[Row]]
    """Of recall_table, per class."""
    calibration: Calibration
    """The evidence."""

    @property
    def metrics(self) -> dict[str, float]:
        """For bundle.json: what is a number there."""
        told: dict[str, Any] = {key: value for key, value in self.figures.items() if isinstance(value, float | int)}
        told |= {f"{key}_at_threshold": self.at_threshold[key] for key in AT_THRESHOLD if self.at_threshold}
        told |= {"temperature": self.temperature, "ece_before": self.ece_before}
        return {key: float(value) for key, value in told.items() if value is not None}


def measure(
    logits: NDArray[np.float32], tiles: LabelledTiles, split: Split, temperature: float, recall: float
) -> Measured:
    """Of the shipped weights. logits: (test tiles, classes), the temperature is in them; recall: aimed at."""
    labels, groups = tiles.labels[split.test], tiles.groups[split.test]
    activation: Activation = "softmax" if tiles.exclusive else "sigmoid"
    scores = probabilities(logits, activation)
    before = gate_metrics(labels, probabilities(logits * np.float32(temperature), activation), tiles.exclusive)
    threshold = recommended(scores, labels, recall)
    return Measured(
        threshold=threshold,
        recall=recall,
        figures=gate_metrics(labels, scores, tiles.exclusive, None, tiles.classes),
        at_threshold={} if tiles.exclusive else gate_metrics(labels, scores, False, threshold, tiles.classes),
        temperature=temperature,
        ece_before=before["ece"],
        tables={
            name: recall_table(scores[:, i], labels[:, i] > HALF, groups=groups) for i, name in enumerate(tiles.classes)
        },
        calibration=evidence(scores, tiles, split.test),
    )


def recommended(scores: NDArray[np.float32], labels: NDArray[np.float32], recall: float) -> float:
    """The threshold for a recall, whichever class a run asks for: the lowest of the classes', to three digits.

    But one half at most: more would rest on a few tiles. One half, too, without a tile of any class.
    scores, labels: (n, classes).
    """
    columns = zip(scores.T, labels.T > HALF, strict=True)
    found = [threshold_for(score, positive, recall) for score, positive in columns if positive.any()]
    return min([HALF, *(math.floor(threshold * 1000) / 1000 for threshold in found)])


def temperature_of(logits: NDArray[np.float32], labels: NDArray[np.float32], *, exclusive: bool) -> float:
    """See fit_temperature; labels are certain but for one in n + 2, or tiles without a mistake would have it go to 0.

    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2. logits, labels: (n, classes).
    """
    doubt = 1 / (len(labels) + 2)
    return fit_temperature(logits, labels * (1 - doubt) + doubt / (labels.shape[1] if exclusive else 2), exclusive)


def evidence(scores: NDArray[np.float32], tiles: LabelledTiles, chosen: NDArray[np.intp]) -> Calibration:
    """scores: (len(chosen), classes). Of very many tiles some, drawn at random."""
    most = _MOST_VALUES // len(tiles.classes)
    kept = np.arange(len(chosen))
    if len(kept) > most:
        log.info("%d of %d test tiles, drawn at random, go into bundle.json as evidence", most, len(kept))
        kept = np.sort(np.random.default_rng(0).choice(kept, most, replace=False))
    index = chosen[kept]
    return Calibration(
        tiles=tuple(tiles.samples[i].name for i in index),
        scores=tuple(tuple(round(float(score), 6) for score in row) for row in scores[kept]),
        labels=tuple(tuple(int(label > HALF) for label in row) for row in tiles.labels[index]),
        fractions=tuple(tuple(round(float(part), 6) for part in row) for row in tiles.fractions[index]),
    )


def domain(tiles: LabelledTiles, split: Split) -> Domain | None:
    """What training tiles look like, and how far from that test tiles are; None where too few can be described."""
    from classifiers.domain import describe, domain_of

    def described(chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        starts = range(0, len(chosen), _CHUNK)
        return np.concatenate([describe(tiles.stack(chosen[start : start + _CHUNK])) for start in starts])

    some = split.train[:: -(-len(split.train) // _DESCRIBED)]
    try:
        return domain_of(described(some), described(split.test))
    except BadInput as error:
        log.warning("no domain in the bundle: %s", error)
        return None


def require_enough(tiles: LabelledTiles, split: Split, draft: Bundle) -> None:
    """Raise BadInput before anything is learnt where a gate could not be trained or trusted."""
    counts = {"training": split.train, "validation": split.validation, "test": split.test}
    short = [f"{len(index)} {part}" for part, index in counts.items() if len(index) < 2]
    if short:
        raise BadInput(
            f"{draft.name}: {' and '.join(short)} tiles of {len(tiles)} in {len(set(tiles.groups))} groups; each part "
            "needs two at least: training ends when validation tiles say so, a threshold rests on test tiles. Give "
            "more groups, or set split.validation and split.test."
        )
    present = tiles.labels[split.train] > HALF
    never = [name for name, seen in zip(tiles.classes, present.T, strict=True) if not seen.any()]
    always = tiles.classes if len(tiles.classes) == 1 and present.all() else ()
    if never or always:
        raise BadInput(
            f"{draft.name}: of {len(split.train)} training tiles "
            + "; ".join([*(f"none holds {name}" for name in never), *(f"all hold {name}" for name in always)])
            + ". That can not be learnt: label tiles of the other kind, leave the class out (data.classes), or split "
            "with another seed."
        )
