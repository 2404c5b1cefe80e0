"""Labels that are likely to be wrong, found by what the tiles look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.confident import label_errors, out_of_fold
from classifiers.labels.descriptors import descriptors
from classifiers.labels.draw import draw_parts
from classifiers.labels.sample import LabelledTiles

FOLDS = 5
LEAST = 10
"""Tiles, in two groups at least, that must have a label before it is doubted."""
CLEAR = 0.25
"""Share of a class in a tile from which on it should be seen; a tile with less, but some, is not doubted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A label that is likely to be wrong."""

    name: str
    """Of the tile."""
    given: str
    """What the label says."""
    likely: str
    """What tiles that look like this one are."""
    probability: float
    """Of `likely`, by a model that did not see this tile's group."""
    doubt: float
    """Probability of `likely` less that of `given`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Question:
    """One choice that was made for every tile."""

    words: tuple[str, ...]
    """What could be said."""
    given: NDArray[np.intp]
    """(n,) what was said, as a place in `words`."""
    clear: NDArray[np.bool_]
    """(n,) whether it can be doubted."""


def label_suspects(tiles: LabelledTiles, block: NDArray[np.intp]) -> tuple[tuple[Suspect, ...], str]:
    """Labels to look at, most doubtful first; and what was not looked at and why, empty if all was.

    block: (n,) tiles of equal number are never judged by one another.
    """
    if find_spec("sklearn") is None:
        return (), "labels were not doubted: that takes scikit-learn (pip install 'tilegate[train]')"
    asked = [(question, _known(question, block)) for question in _questions(tiles)]
    usable = [(question, known) for question, known in asked if len(known) > 1]
    features = descriptors(tiles) if usable else np.zeros((0, 0))
    found = [suspect for choice in usable for suspect in _doubted(tiles, features, block, *choice)]
    rare = [word for question, known in asked for word in _not_asked(question, known)]
    not_checked = f"too few tiles or groups to doubt these labels: {', '.join(rare)}" if rare else ""
    return tuple(sorted(found, key=lambda suspect: (-suspect.doubt, suspect.name))), not_checked


def _questions(tiles: LabelledTiles) -> Iterator[_Question]:
    """Which class, where classes exclude each other; otherwise for each class whether it is there."""
    if tiles.exclusive:
        one = tiles.labels.sum(axis=1) == 1
        yield _Question(words=tiles.classes, given=tiles.labels.argmax(axis=1), clear=one)
        return
    for column, name in enumerate(tiles.classes):
        share, given = tiles.fractions[:, column], tiles.labels[:, column].astype(np.intp)
        yield _Question(words=(f"not {name}", name), given=given, clear=(share == 0) | (share >= CLEAR))


def _known(question: _Question, block: NDArray[np.intp]) -> list[int]:
    """Words that enough tiles have, in two blocks at least: what such tiles look like can be learnt without either."""
    having = [block[question.given == i] for i in range(len(question.words))]
    return [i for i, own in enumerate(having) if len(own) >= LEAST and len(np.unique(own)) > 1]


def _not_asked(question: _Question, known: list[int]) -> list[str]:
    """Words that tiles have and that are not doubted: a word can only be doubted in favour of another."""
    there = np.unique(question.given).tolist()
    return [question.words[i] for i in there if len(known) < 2 or i not in known]


def _doubted(
    tiles: LabelledTiles,
    features: NDArray[np.float64],
    block: NDArray[np.intp],
    question: _Question,
    known: list[int],
) -> list[Suspect]:
    rows = np.flatnonzero(np.isin(question.given, known) & question.clear)
    given = np.searchsorted(known, question.given[rows])
    fold = _folds([tiles.samples[i].name for i in rows], block[rows], given)
    probability = out_of_fold(features[rows], given, len(known), fold)
    likely = label_errors(probability, given)
    return [
        Suspect(
            name=tiles.samples[rows[i]].name,
            given=question.words[known[given[i]]],
            likely=question.words[known[likely[i]]],
            probability=float(probability[i, likely[i]]),
            doubt=float(probability[i, likely[i]] - probability[i, given[i]]),
        )
        for i in np.flatnonzero(likely != given)
    ]


def _folds(names: list[str], block: NDArray[np.intp], given: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) number of the fold, blocks whole, labels shared out alike."""
    _, first, place = np.unique(block, return_index=True, return_inverse=True)
    amounts = np.zeros((len(first), int(given.max()) + 1))
    np.add.at(amounts, (place, given), 1)
    count = min(FOLDS, len(first))
    return draw_parts(amounts, [1 / count] * count, [names[i] for i in first])[place]
