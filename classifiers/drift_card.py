"""The part of a model card that says on what a bundle runs, and how far that is from torch."""

from __future__ import annotations

import re

from classifiers.bundle_contract import Bundle, Drift
from classifiers.runtime import bf16_doubt

TITLE = "## Runtimes"


def with_runtimes(card: str, bundle: Bundle) -> str:
    """The card with its section on runtimes written anew, at its old place or at the end."""
    kept, found, rest = card.partition(f"{TITLE}\n")
    section = runtimes_section(bundle)
    if not found:
        return f"{kept.rstrip()}\n\n{section}\n".lstrip()
    following = re.search(r"^## ", rest, flags=re.MULTILINE)
    after = rest[following.start() :] if following else ""
    return f"{kept}{section}\n" + (f"\n{after}" if after else "")


def runtimes_section(bundle: Bundle) -> str:
    """Markdown; tells what auto will choose and what was refused."""
    tiles = max((drift.tiles for drift in bundle.drift.values()), default=0)
    doubt = bf16_doubt(bundle)
    choice = f"auto takes float32 because {doubt}" if doubt else "auto takes bfloat16 where the CPU has it"
    refused = "openvino-int8" in bundle.drift and "model-int8" not in bundle.exports
    int8 = " int8 was refused and is not in this bundle." if refused else ""
    lines = [
        TITLE,
        "",
        "All figures above were made with torch in float32. What other runtimes change, on the same",
        f"{tiles} held-out tiles:" if tiles else "tiles, was not measured.",
        "",
        *_table(bundle),
        "",
        f"On CPUs {choice}.{int8}",
    ]
    return "\n".join(lines)


def _table(bundle: Bundle) -> list[str]:
    if bundle.task == "classification":
        head = ["| runtime | largest change of a score | decisions flipped |", "|---|---|---|"]
    else:
        head = ["| runtime | IoU with torch's mask | area | pixels flipped |", "|---|---|---|---|"]
    return [*head, *(f"| {name} | {_cells(bundle, drift)} |" for name, drift in sorted(bundle.drift.items()))]


def _cells(bundle: Bundle, drift: Drift) -> str:
    flipped = "no threshold" if drift.flipped is None else f"{100 * drift.flipped:.3g} %"
    if bundle.task == "classification":
        return f"{drift.max_probability:.2g} | {flipped}"
    if drift.iou is None or drift.area is None:
        return f"nothing mapped | - | {flipped}"
    return f"{drift.iou:.4f} | {100 * drift.area:+.3f} % | {flipped}"
