"""Labels with parents: a tile of a child is a tile of its parent, whoever labelled it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from classifiers.bundle_contract import Bundle
from classifiers.labels.sample import LabelledTiles
from tiling.errors import BadInput


def with_parents(tiles: LabelledTiles, parents: Mapping[str, str]) -> LabelledTiles:
    """The tiles with the labels and fractions of parents implied by their children; classes then overlap (sigmoid).

    parents: a class and the class it is a kind of; a parent that nobody labelled becomes a class after the others.
    Raises BadInput when a child is no class, or is its own ancestor.
    """
    if not parents:
        return tiles
    unknown = sorted(set(parents) - {*tiles.classes, *parents.values()})
    if unknown:
        raise BadInput(f"data.parents names {', '.join(unknown)}; the classes are {', '.join(tiles.classes)}")
    added = tuple(dict.fromkeys(name for name in parents.values() if name not in tiles.classes))
    classes = (*tiles.classes, *added)
    labels, fractions = (np.pad(told, ((0, 0), (0, len(added)))) for told in (tiles.labels, tiles.fractions))
    for child in deepest_first(classes, parents):
        above, below = classes.index(parents[child]), classes.index(child)
        labels[:, above] = np.maximum(labels[:, above], labels[:, below])
        fractions[:, above] = np.minimum(fractions[:, above] + fractions[:, below], 1)
    return replace(tiles, classes=classes, exclusive=False, labels=labels, fractions=fractions)


def positions(classes: tuple[str, ...], parents: Mapping[str, str]) -> tuple[int, ...]:
    """Per class the position of its parent, -1 = it has none; () where no class has one."""
    return tuple(classes.index(parents[name]) if name in parents else -1 for name in classes) if parents else ()


def parents_of(bundle: Bundle) -> Mapping[str, str]:
    """As DataSettings.parents, from a gate's hyperparameters."""
    above = bundle.hyperparameters.get("parents", ())
    assert isinstance(above, tuple)  # the one hyperparameter of a gate that is one
    return {name: bundle.classes[i] for name, i in zip(bundle.classes, map(int, above), strict=False) if i >= 0}


def deepest_first(classes: tuple[str, ...], parents: Mapping[str, str]) -> list[str]:
    """The classes that have a parent, children before their parents. Raises BadInput for a circle."""
    depth = {name: _depth(name, parents) for name in classes if name in parents}
    return sorted(depth, key=lambda name: -depth[name])


def _depth(name: str, parents: Mapping[str, str]) -> int:
    """How many ancestors."""
    above: list[str] = []
    while name in parents:
        name = parents[name]
        if name in above or len(above) > len(parents):
            raise BadInput(f"data.parents goes in a circle: {' is a kind of '.join((*above, name))}")
        above.append(name)
    return len(above)
