"""What is wrong with labels, as far as the data itself can tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from classifiers.labels.duplicates import Pairs, blank, components, same_pixels
from classifiers.labels.sample import LabelledTiles, positives
from classifiers.labels.split import blocks
from classifiers.labels.suspects import Suspect, label_suspects

_UNEQUAL = 5
"""Factor between classes from which on a person is told."""
_NAMED = 5
"""Examples in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCheck:
    """What was found; nothing was changed."""

    tiles: int
    """How many."""
    groups: int
    """How many patients, slides, scenes or blocks."""
    balance: Mapping[str, int]
    """Tiles per class."""
    none: int
    """Tiles of no class."""
    blank: tuple[str, ...]
    """Names of tiles with one value all over, or without data."""
    copies: tuple[tuple[str, ...], ...]
    """Names of tiles with the same pixels, a tuple each; blank ones left out."""
    contradictions: tuple[tuple[str, ...], ...]
    """Tiles that show the same under different labels, as "name: label", a tuple each."""
    suspects: tuple[Suspect, ...]
    """Likely label errors, most doubtful label first."""
    not_checked: str
    """Which labels were not doubted, and why; empty = all were."""

    def lines(self) -> tuple[str, ...]:
        """For a person."""
        shares = [f"{name} {n} ({100 * n / max(self.tiles, 1):.0f} %)" for name, n in self.balance.items()]
        shares += [f"none {self.none}"] if self.none else []
        lines = [f"{self.tiles} tiles in {self.groups} groups: {', '.join(shares)}", self._unequal()]
        lines.append(_listed("blank tile{s}, of one value all over", self.blank))
        lines.append(_listed("set{s} of tiles with the same pixels", [" = ".join(names) for names in self.copies]))
        lines.append(
            _listed("set{s} of tiles that show the same, labelled otherwise", map(", ".join, self.contradictions))
        )
        lines.append(_listed("label{s} that may be wrong, most doubtful first", map(_told, self.suspects)))
        return tuple(line for line in (*lines, self.not_checked) if line)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def _unequal(self) -> str:
        ordered = sorted(self.balance.items(), key=lambda item: item[1])
        if not ordered or ordered[-1][1] < _UNEQUAL * max(ordered[0][1], 1):
            return ""
        (rare, few), (common, many) = ordered[0], ordered[-1]
        return f"classes are unequal: {few} tiles of {rare}, {many} of {common}; see fit.class_weights, fit.oversample"


def check_tiles(tiles: LabelledTiles, linked: Pairs = ()) -> LabelCheck:
    """Balance, copies, contradictions and likely label errors. linked: near-duplicates, where they are known.

    Label errors by confident learning (Northcutt, Jiang and Chuang 2021): a logistic regression on colour and texture,
    fitted five times without a fifth of the groups, says how likely each class is for the tiles it did not see. It
    finds labels that contradict what a tile looks like at a glance, and it doubts rare looks that are labelled well:
    with every twentieth label of 4000 EuroSAT tiles changed, it listed 177 of those 200 and 254 others, but of the first
    50 it listed 48 were changed. Where colour says less, as on breast tissue, that was 28 of the first 50.
    """
    same = same_pixels(tiles)
    suspects, not_checked = label_suspects(tiles, blocks(tiles, linked))
    names = [sample.name for sample in tiles.samples]
    return LabelCheck(
        tiles=len(tiles),
        groups=len(set(tiles.groups.tolist())),
        balance={name: int(n) for name, n in zip(tiles.classes, positives(tiles.labels), strict=True)},
        none=int((~tiles.labels.any(axis=1)).sum()),
        blank=tuple(names[i] for i in np.flatnonzero(blank(tiles))),
        copies=tuple(tuple(names[i] for i in alike) for alike in same),
        contradictions=_contradictions(tiles, same, linked),
        suspects=suspects,
        not_checked=not_checked,
    )


def _contradictions(tiles: LabelledTiles, same: Sequence[Sequence[int]], linked: Pairs) -> tuple[tuple[str, ...], ...]:
    pairs = [*linked, *((alike[0], other) for alike in same for other in alike[1:])]
    number = components(len(tiles), pairs)
    sets: dict[int, list[int]] = {}
    for i in sorted({i for pair in pairs for i in pair}):
        sets.setdefault(int(number[i]), []).append(i)
    unequal = [alike for alike in sets.values() if len(np.unique(tiles.labels[alike], axis=0)) > 1]
    return tuple(tuple(f"{tiles.samples[i].name}: {_label(tiles, i)}" for i in alike) for alike in unequal)


def _label(tiles: LabelledTiles, position: int) -> str:
    there = [name for name, holds in zip(tiles.classes, tiles.labels[position], strict=True) if holds]
    return " + ".join(there) or "none"


def _told(suspect: Suspect) -> str:
    return f"{suspect.name} says {suspect.given}, looks like {suspect.likely} ({suspect.probability:.2f})"


def _listed(what: str, names: Iterable[str]) -> str:
    """Empty without names. what: with {s} where the plural has an s."""
    every = list(names)
    more = f"; and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return (
        f"{len(every)} {what.format(s='' if len(every) == 1 else 's')}: {'; '.join(every[:_NAMED])}{more}"
        if every
        else ""
    )
