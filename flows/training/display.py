"""Training and evaluation as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classifiers.training.lesson import EpochReport

HEADLINES = (
    *("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "ece", "iou", "dice", "area_bias"),
    *("threshold",),
)
"""In the order they are told."""
MOST_LINES = 8
"""Of a list that may be long."""


def epoch_line(report: EpochReport) -> str:
    """One epoch in a line."""
    best = " (best)" if report.score >= report.best else ""
    return (
        f"epoch {report.epoch} of {report.epochs}: loss {report.loss:.4f}, validation score {report.score:.4f}{best}, "
        f"{report.seconds:.1f} s"
    )


def prepared_lines(found: dict[str, Any]) -> list[str]:
    """What the data is, what was skipped, what is odd, and how it is split. found: of prepare_stage."""
    kinds = "one of them each" if found["exclusive"] else "any of them, or none"
    lines = [
        f"{found['tiles']:,} tiles of {found['side_px']} px ({found['pixel_size']} pixels, {found['dtype']}, "
        f"{', '.join(found['bands'])}), {', '.join(found['classes'])}: {kinds}",
        *skipped_lines(found["skipped"]),
        *found["notes"],
        *found["check_lines"],
    ]
    for part, facts in found["split"].items():
        shares = ", ".join(f"{count:,} {name}" for name, count in facts["classes"].items())
        lines.append(f"{part:10} {facts['tiles']:,} tiles of {facts['groups']:,} groups: {shares}")
    return [*lines, *(f"WARNING: {text}" for text in found["warnings"])]


def skipped_lines(skipped: list[dict[str, str]]) -> list[str]:
    """What could not be used, and why; the first few by name."""
    if not skipped:
        return []
    lines = [f"  {each['name']}: {each['why']}" for each in skipped[:MOST_LINES]]
    more = len(skipped) - MOST_LINES
    return [f"{len(skipped):,} skipped:", *lines, *([f"  and {more:,} more"] if more > 0 else [])]


def evaluation_lines(figures: dict[str, Any]) -> list[str]:
    """What was measured. figures: of an evaluation."""
    part = "" if figures["part"] == "all" else f", part {figures['part']}"
    lines = [
        *(f"WARNING: {text}" for text in figures["warnings"]),
        *skipped_lines(figures["skipped"]),
        *figures["notes"],
        f"{figures['bundle']['name']} on {figures['tiles']:,} tiles of {figures['groups']:,} groups{part}:",
        *(f"  {name.replace('_', ' '):10} {figures[name]:.4f}" for name in HEADLINES if figures[name] is not None),
    ]
    classes = figures["per_class"] or {}
    if len(classes) > 1:
        columns = [name for name in HEADLINES if any(row.get(name) is not None for row in classes.values())]
        width = max(map(len, classes))
        lines.append(f"  {'':{width}} {' '.join(f'{name:>10}' for name in columns)}")
        lines += [
            f"  {name:{width}} {' '.join(_cell(row.get(key)) for key in columns)}" for name, row in classes.items()
        ]
    return lines + threshold_lines(figures)


def threshold_lines(figures: dict[str, Any]) -> list[str]:
    """What the gate's own threshold does."""
    at = figures["at_threshold"]
    if at is None:
        return []
    names = ("recall", "precision") if figures["exclusive"] else ("recall", "precision", "accuracy")
    told = ", ".join(f"{name} {at[name]:.4f}" for name in names if at[name] is not None)
    return [f"  at its threshold {figures['threshold']:.3g}: {told}"]


def usage_line(kind: str, out: str) -> str:
    """How the bundle is used."""
    part = "gate" if kind == "gate" else "segment"
    path = out if out.startswith(("/", ".", "~")) else f"./{out}"
    return f"Use it: tilegate run IMAGE --recipe RECIPE --set {part}.model={path} --out RUN"


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.4f}':>10}"
