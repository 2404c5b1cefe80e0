"""Tiles held out so that nothing leaks: groups stay whole, and so do tiles that look the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.draw import draw_parts
from classifiers.labels.duplicates import Pairs, components, contents
from classifiers.labels.sample import LabelledTiles, Part, Split
from classifiers.training.settings import SplitSettings
from tiling.errors import BadInput

PARTS: tuple[Part, ...] = ("train", "test", "validation")
"""Who gets a class first that few groups have."""
_PAIRS: tuple[tuple[Part, Part], ...] = (("train", "validation"), ("train", "test"), ("validation", "test"))
_UNDECIDED = -1
_NAMED = 3
"""Examples in a sentence."""


def split_tiles(tiles: LabelledTiles, settings: SplitSettings, linked: Pairs = ()) -> Split:
    """Train, validation and test.

    What the data says (Sample.part) is kept; parts it does not name are drawn from what it leaves for training, with
    their shares of it. Groups, and groups that near-duplicates (linked: pairs of positions) join, go to one part whole,
    such that each class, and the area of each class, is shared out alike. The same tiles in another order are split
    alike. Raises BadInput when there are too few groups to hold anything out.
    """
    _refuse_large_shares(settings)
    block = blocks(tiles, linked)
    said = np.array([_UNDECIDED if s.part is None else PARTS.index(s.part) for s in tiles.samples], np.intp)
    part = np.where(said == _UNDECIDED, 0, said)
    for held_out in (2, 1):  # whoever shares a block with tiles held out is held out too
        part[(said == _UNDECIDED) & np.isin(block, block[said == held_out])] = held_out
    if not (part == 0).any():
        raise BadInput(
            f"the data keeps all of its {len(tiles)} tiles for validation or test: nothing is left to learn from"
        )
    shares = np.array([1 - settings.validation - settings.test, settings.test, settings.validation])
    shares[[i for i in (1, 2) if (said == i).any()]] = 0
    pool = np.flatnonzero(~np.isin(block, block[said > 0]))
    if shares[1:].any():
        part[pool] = _drawn(tiles, block, pool, shares / shares.sum(), settings.seed)
    train, test, validation = (np.flatnonzero(part == i) for i in range(3))
    return Split(train=train, validation=validation, test=test)


def blocks(tiles: LabelledTiles, linked: Pairs = ()) -> NDArray[np.intp]:
    """(n,) a number for each tile, the same for all that must stay together: a group, or groups that links join."""
    n = len(tiles)
    names, group = np.unique(tiles.groups, return_inverse=True)
    members = zip(range(n), (n + group).tolist(), strict=True)  # a group is one more node of the graph
    return components(n + len(names), [*linked, *members])[:n]


def gaps(tiles: LabelledTiles, split: Split) -> tuple[str, ...]:
    """What cannot be learnt or measured because a part lacks it, one sentence each."""
    sentences = []
    for part in PARTS:
        labels = tiles.labels[split.of(part)]
        if not len(labels):
            sentences.append(f"{part} has no tiles")
            continue
        for column, name in enumerate(tiles.classes):
            own = np.flatnonzero(tiles.labels[:, column])
            groups = len(np.unique(tiles.groups[own]))
            if not labels[:, column].any():
                sentences.append(
                    f"no tile of {part} holds {name}: {len(own)} of {len(tiles)} do, in {groups} group{'s' * (groups != 1)}"
                )
            elif labels[:, column].all():
                sentences.append(f"every tile of {part} holds {name}: it says nothing about false alarms")
    return tuple(sentences)


def leaks(tiles: LabelledTiles, split: Split, linked: Pairs = ()) -> tuple[str, ...]:
    """Groups and look-alikes (linked: pairs of positions) that are in two parts, one sentence for each kind and pair.

    Such a split, which only the data itself can give, promises more than a model keeps on new images.
    """
    alike = components(len(tiles), linked)
    sentences = list[str]()
    for first, second in _PAIRS:
        ours, theirs = split.of(first), split.of(second)
        shared = np.intersect1d(tiles.groups[ours], tiles.groups[theirs])
        if len(shared):
            sentences.append(f"leak: {first} and {second} share {_counted(shared.tolist(), 'group')}")
        copies, similar = _across(tiles, alike, ours, theirs)
        if copies:
            sentences.append(f"leak: {second} has the pixels of tiles of {first} in {_counted(copies, 'tile')}")
        if similar:
            sentences.append(f"leak: {second} has what looks like tiles of {first} in {_counted(similar, 'tile')}")
    return tuple(sentences)


def _across(
    tiles: LabelledTiles, alike: NDArray[np.intp], ours: NDArray[np.intp], theirs: NDArray[np.intp]
) -> tuple[list[str], list[str]]:
    """Tiles of theirs that are copies of one of ours, and that only look like one. alike: (n,) see components."""
    copies, similar = list[str](), list[str]()
    for both in np.intersect1d(alike[ours], alike[theirs]):
        mine, other = ours[alike[ours] == both], theirs[alike[theirs] == both]
        known = dict(zip(contents(tiles, mine), mine, strict=True))
        for j, digest in zip(other, contents(tiles, other), strict=True):
            found = copies if digest in known else similar
            found.append(f"{tiles.samples[j].name} ({tiles.samples[known.get(digest, mine[0])].name})")
    return copies, similar


def _counted(names: Sequence[str], what: str) -> str:
    """Such as "5 tiles: a, b, c and 2 more"."""
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _refuse_large_shares(settings: SplitSettings) -> None:
    if settings.validation + settings.test >= 1:
        raise BadInput(
            f"split.validation {settings.validation:g} and split.test {settings.test:g} leave nothing to learn from; "
            "together they must be below 1"
        )


def _drawn(
    tiles: LabelledTiles, block: NDArray[np.intp], pool: NDArray[np.intp], shares: NDArray[np.float64], seed: int
) -> NDArray[np.intp]:
    """(pool,) the part of each of these tiles, blocks whole. All in order of names: sums are the same to the bit."""
    names = [tiles.samples[i].name for i in pool]
    order = np.array(sorted(range(len(pool)), key=names.__getitem__), np.intp)
    _, first, member = np.unique(block[pool[order]], return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[member]
    keys = [f"{seed} {names[order[i]]}" for i in np.sort(first)]
    holds = _amounts(tiles, pool[order])
    amounts = np.zeros((len(keys), holds.shape[1]))
    np.add.at(amounts, place, holds)
    parts = np.zeros(len(pool), np.intp)
    parts[order] = draw_parts(amounts, shares.tolist(), keys)[place]
    _refuse_empty_parts(tiles, pool, parts, shares, len(keys))
    return parts


def _amounts(tiles: LabelledTiles, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """(chosen, k) what is to be shared out: tiles, tiles of each class and of none, and the area of each class."""
    labels, fractions = tiles.labels[chosen].astype(np.float64), tiles.fractions[chosen].astype(np.float64)
    every, none = np.ones((len(chosen), 1)), ~labels.any(axis=1, keepdims=True)
    return np.hstack([every, labels, none, fractions])


def _refuse_empty_parts(
    tiles: LabelledTiles, pool: NDArray[np.intp], parts: NDArray[np.intp], shares: NDArray[np.float64], count: int
) -> None:
    empty = [name for i, name in enumerate(PARTS) if shares[i] > 0 and not (parts == i).any()]
    if empty:
        groups = sorted({tiles.samples[i].group for i in pool})
        raise BadInput(
            f"nothing can be held out for {' and '.join(empty)}: groups are held out whole, every class must stay in "
            f"train, and the {len(pool)} tiles to draw from are of {_counted(groups, 'group') if groups else 'no group'}; "
            f"{count} when those that share near-duplicates are one. Bring more patients, slides or scenes, or cut a scene "
            "into smaller blocks (data.block_tiles)"
        )
