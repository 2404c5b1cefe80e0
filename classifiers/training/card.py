"""Model cards: what a model is for, how good it was on what, and what it was never tried on. Measured figures only."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from classifiers.bundle_contract import Bundle
from classifiers.labels.sample import LabelledTiles, Part, Split
from classifiers.training.measure_gate import AT_THRESHOLD, HALF, Measured, Row
from classifiers.training.settings import TrainingRecipe

_NAMED = 12
"""Groups or sentences that are named one by one."""
_AVERAGED = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}
_TARGETS = (0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a card says besides the measurements."""

    recipe: TrainingRecipe
    """What was trained, how."""
    command: str
    """Makes it again; empty = not known."""
    tiles: dict[Part, int]
    """Per part."""
    groups: dict[Part, tuple[str, ...]]
    """Names of the groups of each part."""
    held: dict[Part, dict[str, int]]
    """Tiles of each class, per part."""
    skipped: int
    """Files and tiles that were not used."""
    notes: tuple[str, ...]
    """As LabelledTiles.notes."""


def told(tiles: LabelledTiles, split: Split, recipe: TrainingRecipe, command: str) -> Told:
    """Counted from the tiles."""
    parts: tuple[Part, ...] = get_args(Part)
    labels = {part: tiles.labels[split.of(part)] for part in parts}
    return Told(
        recipe=recipe,
        command=command,
        tiles={part: len(split.of(part)) for part in parts},
        groups={part: tuple(sorted({str(name) for name in tiles.groups[split.of(part)]})) for part in parts},
        held={part: dict(zip(tiles.classes, map(int, labels[part].sum(axis=0)), strict=True)) for part in parts},
        skipped=len(tiles.skipped),
        notes=tiles.notes,
    )


def gate_card(bundle: Bundle, measured: Measured, about: Told, parameters: int) -> str:
    """README.md of a gate. parameters: numbers in the network."""
    size, classes = bundle.pixel_size, ", ".join(bundle.classes)
    job = about.recipe.model.job or f"Says how likely a tile holds: {classes}."
    kind = "Exactly one of them (softmax)" if bundle.activation == "softmax" else "Each by itself (sigmoid)"
    kind = "There or not (sigmoid)" if len(bundle.classes) == 1 else kind
    return wrap(f"""# {bundle.name}

{job}

Classes: {classes}. {kind}. Tiles of {bundle.input_px} px at {size.text}; the network takes other sides where
`{bundle.architecture}` does, but what its scores are worth there was not measured. {_network(bundle, parameters)}

{figures_section(bundle, measured, about)}

{thresholds_section(bundle, measured)}

{data_section(bundle, about)}

{valid_section(bundle, about)}

{again_section(about)}""")


def data_section(bundle: Bundle, about: Told) -> str:
    """What it learnt from, under which licence, and how tiles were held out."""
    licence = about.recipe.model.licence or "unknown: ask whoever owns the data before you pass the weights on"
    rows = [
        f"| {part} | {about.tiles[part]} | {len(about.groups[part])} | {_counts(about.held[part])} |"
        for part in about.tiles
    ]
    group = about.recipe.data.group
    alone = sum(map(len, about.groups.values())) == sum(about.tiles.values())
    by = f"A group is what `{group}` finds in a file's name" if group else "A group is an image, or what the data says"
    by = "Every tile is a group of its own" if alone else by
    notes = "".join(f"\n- {note}" for note in about.notes[:_NAMED])
    skipped = f" {about.skipped} files or tiles could not be used." if about.skipped else ""
    return f"""## Data and licence

{about.recipe.model.training_data or "Nobody said what these data are, whose, and under which licence."}

Licence of the weights: {licence}. They started from {bundle.pretrained_source or "random numbers"}.

No group is on two sides of the split, nor are tiles that look the same. {by}.{skipped}

| part | tiles | groups | tiles that hold |
|---|---|---|---|
{chr(10).join(rows)}

{"" if alone else f"Held out for the figures above: {_few(about.groups['test'])}."}
{notes}"""


def valid_section(bundle: Bundle, about: Told) -> str:
    """Which images it is for, and which it never saw."""
    (low, high), size = bundle.pixel_size_range, bundle.pixel_size
    values = ", ".join(
        f"{band} {mean:.4g} ± {std:.4g}" for band, mean, std in zip(bundle.bands, bundle.mean, bundle.std, strict=True)
    )
    never = about.recipe.model.not_tested or "nobody said what it was not tested on; take it as tested on nothing else."
    return f"""## Valid for

Pixels of {low:g} to {high:g} times {size.text}; bands {", ".join(bundle.bands)} as {bundle.dtype}, with values as in
the training tiles ({values}). Other pixel sizes and value types are refused. Another stretch of the same type is not
refused, and gives wrong results.

Never tested on: {never}"""


def again_section(about: Told) -> str:
    """The command, and the hash of what it made."""
    command = about.command or "(the command was not recorded; the recipe is in training.json, if it lies here)"
    fit = about.recipe.fit
    return f"""## Make it again

    {command}

Seeded ({fit.seed}); stopped, it goes on after the last whole epoch. Another version of torch, another processor or
another number of threads gives slightly different weights.

sha256 of model.safetensors: `{{sha256}}`"""


def wrap(card: str) -> str:
    """Paragraphs and list items refilled to lines of 100: figures in them are longer or shorter than their names."""
    blocks = []
    for block in card.split("\n\n"):
        text = block.strip("\n")
        if text.startswith("- "):
            items = text[2:].split("\n- ")
            blocks.append("\n".join(_fill(f"- {item}", indent="  ") for item in items))
        elif text:
            blocks.append(text if text.startswith(("#", "|", " ")) else _fill(text))
    return "\n\n".join(blocks) + "\n"


def percent(value: float | None) -> str:
    """A figure for a table; undefined ones are told so."""
    return "not defined" if value is None else f"{value:.4f}"


def _network(bundle: Bundle, parameters: int) -> str:
    zoom = bundle.hyperparameters.get("zoom", 1)
    enlarged = f", which enlarges its input {zoom} times" if zoom != 1 else ""
    views = bundle.hyperparameters.get("views", 1)
    turned = f" Each answer is the mean of {views} ways to lay the tile." if views != 1 else ""
    parents = " A parent is at least as probable as its child." if "parents" in bundle.hyperparameters else ""
    return f"It is timm's `{bundle.architecture}`{enlarged}, {parameters / 1e6:.2f} million weights.{turned}{parents}"


def figures_section(bundle: Bundle, measured: Measured, about: Told) -> str:
    """Measured on the test tiles."""
    figures: dict[str, Any] = measured.figures
    averaged = " (mean over the classes)" if len(bundle.classes) > 1 else ""
    at = measured.at_threshold if measured.threshold != HALF else {}
    rows = [
        _figure("accuracy", figures["accuracy"], at, "accuracy"),
        *(_figure(f"{name}{averaged}", figures[key], at, key) for key, name in _AVERAGED.items()),
        _figure("expected calibration error before temperature scaling", measured.ece_before, at),
        _figure(f"expected calibration error as shipped (temperature {measured.temperature:.3f})", figures["ece"], at),
    ]
    head = f"| figure | at 0.5 | at {measured.threshold:g} |\n|---|---|---|" if at else "| figure | value |\n|---|---|"
    taken = "The answer is the likeliest class" if bundle.activation == "softmax" else "A class is there from 0.5 on"
    taken += f", or from the recommended threshold of {measured.threshold:g} on" if at else ""
    return f"""## Measured on held-out tiles

{about.tiles["test"]} tiles of {len(about.groups["test"])} groups that neither the weights nor the temperature have
seen. {taken}.

{chr(10).join([head, *rows])}

{_per_class(bundle, figures)}"""


def _figure(name: str, value: float | None, at: dict[str, Any], key: str = "") -> str:
    """A row of the table; with a column for the threshold where there are figures at it, of which `key` may be one."""
    told = f"| {name} | {percent(value)} |"
    if not at:
        return told
    return f"{told} {percent(at[key]) if key in AT_THRESHOLD else 'the same'} |"


def _per_class(bundle: Bundle, figures: dict[str, Any]) -> str:
    if len(bundle.classes) == 1:
        return ""
    head = "| class | tiles | precision | recall | F1 | ROC-AUC |\n|---|---|---|---|---|---|"
    keys = ("precision", "recall", "f1", "roc_auc")
    rows = [
        f"| {name} | {of['tiles']} | {' | '.join(percent(of[key]) for key in keys)} |"
        for name, of in figures["per_class"].items()
    ]
    return "\n".join([head, *rows])


def thresholds_section(bundle: Bundle, measured: Measured) -> str:
    """The recommended threshold, and what others cost and prove on the test tiles."""
    head = (
        "| class | aim | threshold | recall, 95 % bounds | tiles let through | precision |\n|---|---|---|---|---|---|"
    )
    rows = [_row(name, aims, row) for name, table in measured.tables.items() for aims, row in _distinct(table)]
    several = "the lowest that any class needs for it" if len(bundle.classes) > 1 else "what these tiles need for it"
    return f"""## Thresholds

Recommended: {measured.threshold:g}, which is one half, or less where a recall of {measured.recall:g} takes less:
{several}. It was chosen on these same tiles. The bounds are exact (Clopper and Pearson 1934) for tiles that do not depend on each other; tiles of one
group resemble each other, so let a run's audit say what was missed. `tilegate:calibration` in bundle.json holds the
score, label and share of every tile.

{chr(10).join([head, *rows])}"""


def _distinct(table: Sequence[Row]) -> list[tuple[str, Row]]:
    """Rows by their aims; few tiles give several aims the same threshold."""
    found: dict[float | int | None, tuple[str, Row]] = {}
    for row in table:
        if row["target"] in _TARGETS:
            aims = [found[row["threshold"]][0]] if row["threshold"] in found else []
            found[row["threshold"]] = ", ".join([*aims, f"{row['target']:g}"]), row
    return list(found.values())


def _row(name: str, aims: str, row: Row) -> str:
    bounds = f"{row['recall']:.3f} ({row['low']:.3f} to {row['high']:.3f}, {row['found']} of {row['positives']})"
    shares = f"{100 * (row['let_through'] or 0):.1f} % | {percent(row['precision'])}"
    return f"| {name} | {aims} | {row['threshold']:.4g} | {bounds} | {shares} |"


def _counts(held: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in held.items())


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), 100, subsequent_indent=indent, break_on_hyphens=False)
