"""The keys of an evaluation that its page reads: what `tilegate evaluate --json` prints. All are optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Number = float | int | None
"""None: not defined on these tiles."""
Figures = Mapping[str, Number]
Curve = Mapping[str, Sequence[float]]
"""classifiers.measuring.ranking.curve: threshold, recall, precision, false_positive_rate; equally long."""
Bins = Sequence[Mapping[str, float | int]]
"""classifiers.measuring.calibration.reliability: low, high, count, confidence, accuracy."""


class AreaPoint(TypedDict):
    """What one group holds of one class; `group_areas` makes them."""

    group: str
    """Patient, slide or scene."""
    name: str
    """Of the class."""
    mapped: float
    """In `area_unit`."""
    true: float
    """In `area_unit`."""


class Evaluation(TypedDict, total=False):
    """One model on one set of labelled tiles."""

    kind: Literal["gate", "segmenter"]
    """What was evaluated; a page without it shows a gate."""
    bundle: Mapping[str, Any]
    """name, sha256."""
    data: str
    """What it was evaluated on, as the user wrote it."""
    part: str
    """Of the data: all, test, …"""
    tiles: int
    """How many."""
    groups: int
    """Patients, slides or scenes among them."""
    pixel_size: str
    """Of every tile, with its unit."""
    tile_px: int
    """Side of a tile's core."""
    classes: Sequence[str]
    """Names."""
    exclusive: bool
    """Whether a tile is of exactly one class."""
    threshold: float | None
    """The gate's own."""
    accuracy: Number
    precision: Number
    recall: Number
    f1: Number
    roc_auc: Number
    pr_auc: Number
    iou: Number
    dice: Number
    area_bias: Number
    """This and those above: as gate_metrics or mask_metrics define them; shares of 1."""
    ece: Number
    """Expected calibration error of the model as it is shipped."""
    ece_scaled: Number
    """The same after `temperature`."""
    temperature: Number
    """What logits would be divided by; fitted on other tiles."""
    at_threshold: Mapping[str, Any] | None
    """gate_metrics at the gate's threshold."""
    per_class: Mapping[str, Figures]
    """Of gate_metrics or mask_metrics, by class."""
    per_group: Mapping[str, Figures] | None
    """The same, by group."""
    confusion: Sequence[Any]
    """Of gate_metrics: rows are truth; (2, 2) with "not" first for one class, (classes, c, c) otherwise."""
    recall_table: Mapping[str, Sequence[Figures]] | None
    """By class: rows of evidence.recall_table."""
    curves: Mapping[str, Curve] | None
    """By class."""
    reliability: Bins | None
    """Of the model as it is shipped."""
    reliability_scaled: Bins | None
    """After `temperature`."""
    areas: Sequence[AreaPoint] | None
    """Segmenters: mapped against true, by group and class."""
    area_unit: str
    """Of `areas`, such as ha."""
    robustness: Sequence[Mapping[str, Any]] | None
    """RobustnessRow.as_dict(), undisturbed first."""
    fgsm: Sequence[Mapping[str, Any]] | None
    """RobustnessRow.as_dict() of the attack."""
    label_check: Sequence[str] | None
    """LabelCheck.lines()."""
    split: Mapping[str, Any] | None
    """How tiles were held out, as name and value."""
    provenance: Mapping[str, Any] | None
    """Anything else that tells where the figures come from: versions, recipe, command, hashes."""
    skipped: Sequence[Mapping[str, str]]
    """name, why."""
    notes: Sequence[str]
    """What a reader should know."""
    warnings: Sequence[str]
    """What a reader must know: first on the page."""
