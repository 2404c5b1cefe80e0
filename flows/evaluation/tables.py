"""What an evaluation says in numbers: HTML of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from flows.evaluation.charts import strip
from flows.evaluation.keys import Evaluation
from flows.pages.html_parts import Cell, Html, items, per_cent, shown, table

MOST_GROUPS = 200
"""Rows of the table of groups; those that matter most come first."""
HEADLINES = {
    "gate": ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "ece"),
    "segmenter": ("dice", "iou", "precision", "recall", "accuracy", "area_bias"),
}
WORDS = {
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "ece": "calibration error",
    "iou": "IoU",
    "dice": "Dice",
    "area_bias": "area bias",
    "mapped_px": "mapped, px",
    "true_px": "true, px",
}


def headline(evaluation: Evaluation) -> Html:
    """The figures that people ask for first, large."""
    known = {key: evaluation.get(key) for key in HEADLINES[kind_of(evaluation)]}
    cards = "".join(
        f"<div class=card><b>{_figure(key, value)}</b>{escape(word(key))}</div>" for key, value in known.items()
    )
    at = evaluation.get("at_threshold")
    told = ""
    if at and evaluation.get("threshold") is not None:
        told = (
            f"<p>At the gate's threshold {shown(evaluation['threshold'])}: recall {shown(at.get('recall'))}, "
            f"precision {shown(at.get('precision'))}.</p>"
        )
    return Html(f"<div class=cards>{cards}</div>{told}")


def per_class(evaluation: Evaluation) -> Html:
    """One row per class."""
    return _figures_table("class", (evaluation.get("per_class") or {}).items())


def per_group(evaluation: Evaluation) -> Html:
    """One row per patient, slide or scene, worst first; nothing without groups."""
    groups = evaluation.get("per_group") or {}
    main = main_figure(evaluation)
    ordered = sorted(groups.items(), key=lambda item: (item[1].get(main) is None, item[1].get(main) or 0, item[0]))
    left = len(ordered) - MOST_GROUPS
    told = f"<p class=sub>{left:,} more, all of them at least as good, are in the JSON.</p>" if left > 0 else ""
    made = _figures_table("group", ordered[:MOST_GROUPS])
    return Html(f"{made}{told}" if made else "")


def confusion(evaluation: Evaluation) -> Html:
    """Rows are truth, columns the answer; darker is a larger share of the row."""
    matrix, names = evaluation.get("confusion") or [], list(evaluation.get("classes", ()))
    if not matrix:
        return Html("")
    if isinstance(matrix[0][0], Sequence):
        each = zip(names, matrix, strict=True)
        return Html("".join(_matrix(counts, [f"not {name}", name]) for name, counts in each))
    if len(names) == 1:
        names = [f"not {names[0]}", names[0]]
    return _matrix(matrix, names)


def recall_tables(evaluation: Evaluation) -> Html:
    """What each aim at a recall costs, and what the tiles prove of it; a table per class, folded where there are many."""
    tables = {name: rows for name, rows in (evaluation.get("recall_table") or {}).items() if rows}
    folded = len(tables) > 2
    parts = []
    for name, rows in tables.items():
        counts = rows[0]
        of = f" in {shown(counts['groups'])} groups" if counts.get("groups") else ""
        title = escape(f"{name}: {shown(counts.get('positives'))} tiles of it{of}")
        made = _recall_rows(rows)
        parts.append(f"<details><summary>{title}</summary>{made}</details>" if folded else f"<h3>{title}</h3>{made}")
    return Html("".join(parts))


def robustness(evaluation: Evaluation) -> Html:
    """How the model bends: every figure, its change, and the main one drawn; nothing where it was not measured."""
    told = [*(evaluation.get("robustness") or ()), *(evaluation.get("fgsm") or ())]
    rows = [row for row in told if not row.get("skipped")]
    if not rows:
        return Html("")
    keys = list(rows[0]["figures"])
    main = next(key for key in (main_figure(evaluation), *keys) if key in keys)
    values = [row["figures"][main] for row in rows if row["figures"].get(main) is not None]
    base, low, high = rows[0]["figures"][main] or 0.0, min(values, default=0.0) - 0.01, max(values, default=1.0) + 0.01
    columns = ("disturbance", "how", f"{word(main)}, {low:.2f} to {high:.2f}", *map(word, keys))
    drawn = [
        (_name(row), row["parameters"], strip(row["figures"].get(main), base, low, high), *_bent(row, keys))
        for row in rows
    ]
    return Html(table(columns, drawn, words=3) + _left_out([row for row in told if row.get("skipped")]))


def facts(*groups: Mapping[str, Any] | None) -> Html:
    """Names and values, as they are."""
    rows = [
        (name, _value(value)) for group in groups for name, value in (group or {}).items() if value not in (None, "")
    ]
    return table(("", ""), rows, words=2) if rows else Html("")


def kind_of(evaluation: Evaluation) -> str:
    """Gate or segmenter."""
    return evaluation.get("kind", "gate")


def main_figure(evaluation: Evaluation) -> str:
    """What models of this kind are compared by: Dice; accuracy where tiles are of one class each; else ROC-AUC."""
    if kind_of(evaluation) == "segmenter":
        return "dice"
    return "accuracy" if evaluation.get("exclusive") and len(evaluation.get("classes", ())) > 1 else "roc_auc"


def word(key: str) -> str:
    """A key for people."""
    return WORDS.get(key, key.replace("_", " "))


def _figures_table(first: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Html:
    """A row for each, a column for each figure that any of them has."""
    told = list(rows)
    keys = [
        key for key in dict.fromkeys(key for _, row in told for key in row) if key != "f1" or not _has(told, "dice")
    ]
    keys = [key for key in keys if any(isinstance(row.get(key), (int, float)) for _, row in told)]
    if not keys:
        return Html("")
    return table((first, *map(word, keys)), [(name, *(_cell(key, row.get(key)) for key in keys)) for name, row in told])


def _has(rows: Iterable[tuple[str, Mapping[str, Any]]], key: str) -> bool:
    return any(key in row for _, row in rows)


def _cell(key: str, value: Any) -> Cell:
    if key == "area_bias":
        return per_cent(value, signed=True)
    return value if isinstance(value, (int, float)) else None


def _figure(key: str, value: Any) -> str:
    return shown(_cell(key, value))


def _recall_rows(rows: Sequence[Mapping[str, Any]]) -> Html:
    columns = ("aim at recall", "threshold", "recall found", "proven (95 %)", "let through", "saved", "precision")
    return table(
        columns,
        [
            (
                f"{100 * row['target']:.4g} %",
                row["threshold"],
                f"{per_cent(row['recall'])} ({row['found']:,} of {row['positives']:,})",
                f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %",
                per_cent(row["let_through"]),
                per_cent(1 - row["let_through"]),
                row["precision"],
            )
            for row in rows
        ],
    )


def _matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Html:
    head = "".join(f"<th scope=col class=tilt><span>{escape(name)}</span>" for name in names)
    lines = []
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row) or 1
        cells = "".join(
            f'<td class="n {"right" if i == j else "wrong"}" style="--share:{count / total:.3f}" '
            f'title="{escape(f"true {name}, answer {names[j]}: {100 * count / total:.1f} % of the row", quote=True)}">{count:,}'
            for j, count in enumerate(row)
        )
        lines.append(f"<tr><th scope=row>{escape(name)}{cells}<td class=n>{sum(row):,}")
    return Html(
        f"<div class=wide><table class=confusion><tr><th>true, down; answer, across{head}"
        f"<th scope=col class=n>all{''.join(lines)}</table></div>"
    )


def _name(row: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (row["name"], row["step"])))


def _left_out(rows: Sequence[Mapping[str, Any]]) -> Html:
    """What was not measured, by reason."""
    reasons = dict.fromkeys(row["skipped"] for row in rows)
    names = {why: dict.fromkeys(row["name"] for row in rows if row["skipped"] == why) for why in reasons}
    return items(f"{', '.join(names[why])} not measured: {why}" for why in reasons)


def _bent(row: Mapping[str, Any], keys: Sequence[str]) -> list[Cell]:
    """Such as "0.912 (-0.031)"."""
    cells: list[Cell] = []
    for key in keys:
        value, change = row["figures"].get(key), row.get("change", {}).get(key)
        moved = f" ({change:+.3f})" if change else ""
        cells.append(None if value is None else f"{value:.3f}{moved}")
    return cells


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
