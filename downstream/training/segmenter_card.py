"""The model card of a segmenter: measured figures, as a whole and group by group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import Bundle
from classifiers.training.card import Told, again_section, data_section, percent, valid_section, wrap
from downstream.training.segment_tiles import Agreement

MOST_GROUPS = 40
"""Groups of a card's table; where there are more, those whose area is most wrong."""
_FIGURES = {"f1": "F1 (Dice)", "iou": "IoU", "precision": "precision", "recall": "recall", "accuracy": "accuracy"}


def segmenter_card(bundle: Bundle, found: Agreement, about: Told, parameters: int, halo_px: int) -> str:
    """README.md. found: on the test tiles; parameters: numbers in the network; halo_px: context they were read with."""
    classes = ", ".join(bundle.classes)
    job = about.recipe.model.job or f"Maps {classes}, pixel by pixel."
    several = bundle.activation == "softmax"
    kind = f"Classes: {classes}; or background (softmax)." if several else f"Class: {classes}, or not (sigmoid)."
    zoom = bundle.hyperparameters.get("zoom", 1)
    enlarged = f", which enlarges its input {zoom} times" if zoom != 1 else ""
    context = f"Give it {halo_px} px of context around each tile." if halo_px else "It was measured without context."
    return wrap(f"""# {bundle.name}

{job}

{kind} It looks at {bundle.pixel_size.text} and learnt from crops of {bundle.input_px} px.
{context} It is a U-Net of segmentation-models-pytorch on `{bundle.hyperparameters["encoder_name"]}`{enlarged},
{parameters / 1e6:.2f} million weights.

{_measured(bundle, found, about, halo_px)}

{_groups(bundle, found)}

An area from this model is a mapped area, not a survey: where a class ends is partly a decision of whoever drew the
masks.

{data_section(bundle, about)}

{valid_section(bundle, about)}

{again_section(about)}""")


def _measured(bundle: Bundle, found: Agreement, about: Told, halo_px: int) -> str:
    """All test tiles together."""
    context = f" with {halo_px} px of context" if halo_px else ""
    averaged = " (mean over the classes)" if len(bundle.classes) > 1 else ""
    worst = " (of the class where it is largest)" if len(bundle.classes) > 1 else ""
    rows = [f"| {name}{averaged} | {percent(found.figures[key])} |" for key, name in _FIGURES.items()]
    rows.append(f"| area against the masks{worst} | {_signed(found.figures['area_bias'])} |")
    return f"""## Measured on held-out tiles

{int(found.counts[:, 0, 3].sum()):,} labelled pixels of {len(found.counts)} tiles and
{len(about.groups["test"])} groups that the weights have not seen; tiles of {bundle.input_px} px{context}, as in a run.
{_border(bundle)}

| figure | value |
|---|---|
{chr(10).join(rows)}

{_per_class(bundle, found)}"""


def _border(bundle: Bundle) -> str:
    """Where one class ends and another begins."""
    figures, several = bundle.metrics, bundle.activation == "softmax"
    shift = figures.get("logit_shift", 0.0)
    if not shift:
        return "A pixel is of its likeliest class." if several else "A pixel is of the class above one half."
    how = "added to the background's logit" if several else "taken off the logits"
    return f"""So that as much is mapped as the masks have, {shift:.3f} was {how}: as far as the sum of the
validation tiles and the median of their groups agree. Their area
was {_signed(figures.get("area_bias_validation_unshifted"))} off without it and is
{_signed(figures.get("area_bias_validation"))} off with it; that of the held-out tiles was
{_signed(figures.get("area_bias_unshifted"))} off without it."""


def _per_class(bundle: Bundle, found: Agreement) -> str:
    if len(bundle.classes) == 1:
        return ""
    head = f"| class | {' | '.join(_FIGURES.values())} | area |\n|---{'|---' * len(_FIGURES)}|---|"
    rows = [
        f"| {name} | {' | '.join(percent(of[key]) for key in _FIGURES)} | {_signed(of['area_bias'])} |"
        for name, of in found.figures["per_class"].items()
    ]
    return "\n".join([head, *rows])


def _groups(bundle: Bundle, found: Agreement) -> str:
    """Area and accuracy per group: errors of groups cancel in their sum."""
    names = np.unique(found.groups)
    totals = np.stack([found.counts[found.groups == name].sum(axis=0) for name in names])
    wrong = np.abs(totals[:, :, 1] - totals[:, :, 2]).sum(axis=1) / np.maximum(totals[:, 0, 3], 1)
    shown = np.sort(np.argsort(-wrong, kind="stable")[:MOST_GROUPS])
    fewer = (
        f" These {MOST_GROUPS} of {len(names)} groups are those whose area is most wrong."
        if len(names) > len(shown)
        else ""
    )
    rows = [row for place in shown for row in _rows(str(names[place]), totals[place], bundle.classes)]
    return f"""The error of one group is larger than that of the sum.{fewer}

| group | class | in the masks | mapped | accuracy |
|---|---|---|---|---|
{chr(10).join(rows)}"""


def _rows(group: str, totals: NDArray[np.int64], classes: tuple[str, ...]) -> Iterator[str]:
    """totals: (classes, 4)."""
    for name, (both, mapped, true, labelled) in zip(classes, totals.tolist(), strict=True):
        shares = (true, mapped, labelled - mapped - true + 2 * both)
        cells = " | ".join(f"{100 * part / labelled:.1f} %" if labelled else "not defined" for part in shares)
        yield f"| {group.replace('|', '/')} | {name} | {cells} |"


def _signed(share: float | None) -> str:
    return "not defined" if share is None else f"{100 * share:+.1f} %"
