"""Values of masks and the classes they mean."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Bundle
from classifiers.labels.sample import UNLABELLED
from classifiers.labels.words import BACKGROUND, REST, UNLABELLED_NAMES
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput
from tiling.stack import require_labels_for

MOST_VALUES = 50
"""More values than these are no classes: instances are numbered, or the mask is a picture."""
_RANGE = re.compile(r"\s*(-?\d+)\s*(?:-\s*(-?\d+)\s*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMap:
    """What the values of a mask mean."""

    classes: tuple[str, ...]
    """Names, without background."""
    ranges: tuple[tuple[int, int, int], ...]
    """(first value, last value, meaning): 0 = background, i = classes[i - 1], UNLABELLED."""
    rest: int = 0
    """Meaning of all other values."""

    def meaning(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Any shape of numbers -> the same shape, what they mean; NaN is unlabelled."""
        if values.dtype in (np.uint8, np.uint16):
            table = self._meaning(np.arange(2 ** (8 * values.dtype.itemsize)))
            return np.asarray(table[values.astype(np.intp)], np.uint8)
        return self._meaning(values)

    def unclaimed(self, values: NDArray[np.generic]) -> set[int]:
        """Values but 0 that are in no range, where those are background."""
        if self.rest != 0 or not values.size:
            return set()
        small = values.dtype in (np.uint8, np.uint16)
        found = np.flatnonzero(np.bincount(values.astype(np.intp).ravel())) if small else np.unique(values)
        return {int(v) for v in found if v and not any(low <= v <= high for low, high, _ in self.ranges)}

    def _meaning(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        numbers = np.asarray(values)
        means = np.full(numbers.shape, self.rest, np.uint8)
        means[numbers == 0] = 0
        for low, high, code in self.ranges:
            means[(numbers >= low) & (numbers <= high)] = code
        if numbers.dtype.kind == "f":
            means[np.isnan(numbers)] = UNLABELLED
        return means


def value_map(settings: DataSettings, default: Bundle | None) -> ValueMap | None:
    """What settings or a bundle say; None = neither says anything. Raises BadInput for what is no value."""
    if settings.classes:
        return from_words(settings.classes)
    if default is not None and default.labels:
        return from_words({name: default.labels.get(name, ()) for name in default.classes} | dict(default.labels))
    return None


def from_words(named: Mapping[str, tuple[str, ...]]) -> ValueMap:
    """Classes and their values as written: "3", "1-65535", and "*" for all that no other class claims.

    `background` and `unlabelled` may be among the names. Values of no class are background, and 0 is unless it is claimed.
    """
    reserved = {name for name in named if name.lower() in {BACKGROUND, *UNLABELLED_NAMES}}
    classes = tuple(name for name in named if name not in reserved)
    require_labels_for(classes, "data.classes")
    ranges: list[tuple[int, int, int]] = []
    rest = 0
    for name, words in named.items():
        code = classes.index(name) + 1 if name in classes else 0 if name.lower() == BACKGROUND else UNLABELLED
        for word in words or (name,):
            if word == REST:
                rest = code
            elif words or name in classes:
                ranges.append((*_bounds(name, word), code))
    _require_apart(ranges)
    return ValueMap(classes=classes, ranges=tuple(ranges), rest=rest)


def _bounds(name: str, word: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(word)
    if found is None:
        raise BadInput(
            f'data.classes: {word!r} of {name} is no value of a mask. Write for instance {{"{name}": ["1"]}} or "1-65535"'
        )
    low = int(found[1])
    high = low if found[2] is None else int(found[2])
    if high < low:
        raise BadInput(f"data.classes: {word!r} of {name} ends before it starts")
    return low, high


def _require_apart(ranges: Collection[tuple[int, int, int]]) -> None:
    """Raise BadInput where one value means two things."""
    for (low, high, code), (other_low, other_high, other) in combinations(ranges, 2):
        if code != other and low <= other_high and other_low <= high:
            raise BadInput(
                f"data.classes: values {low}-{high} and {other_low}-{other_high} overlap, but mean two classes"
            )


def from_values(values: Collection[int], default: Bundle | None) -> ValueMap:
    """Where nobody says: every value but 0 is a class of its own; a bundle of one class takes the only one there is.

    values: all that occur. Raises BadInput where that can not be meant.
    """
    found = sorted(set(values) - {0})
    if default is not None and len(default.classes) == len(found) == 1:
        return ValueMap(classes=default.classes, ranges=((found[0], found[0], 1),))
    if not found:
        raise BadInput(
            "the masks are 0 everywhere: nothing is drawn. Are they the right files, or is it their nodata value that is "
            "the class?"
        )
    if default is not None or len(found) > MOST_VALUES:
        name = default.classes[0] if default is not None else "nucleus"
        some = ", ".join(map(str, found[:8])) + (", …" if len(found) > 8 else "")
        raise BadInput(
            f"the masks hold {len(found):,} values besides 0 ({some}); say what they mean as data.classes, "
            f'for instance {{"{name}": ["1-65535"]}}'
        )
    return ValueMap(
        classes=tuple(map(str, found)), ranges=tuple((value, value, i) for i, value in enumerate(found, start=1))
    )
