"""From the words the data uses to the classes of a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Bundle
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput

NONE, LEFT_OUT = -1, -2
"""Instead of a class: it is of none of them; nobody knows, so it is not used."""
REST = "*"
"""In data.classes: every word or value that no other class claims, and what nobody drew."""
BACKGROUND = "background"
"""In data.classes, where somebody drew: what is none of the classes, and is known to be."""
UNLABELLED_NAMES = frozenset({"unlabelled", "unlabeled", "ignore"})
"""In data.classes: what is not to be learnt from."""
_NO = {"0": "1", "no": "yes", "false": "true", "negative": "positive"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Which word means what."""

    classes: tuple[str, ...]
    """In the order of the model's columns."""
    codes: Mapping[str, int]
    """Word -> column, NONE or LEFT_OUT."""
    rest: int | None = None
    """The same for what nobody drew; None = nobody said."""
    note: str = ""
    """What was assumed."""


def vocabulary(words: Collection[str], settings: DataSettings, default: Bundle | None, *, drawn: bool) -> Vocabulary:
    """What each of the words means. drawn: by polygons, so `background` is no class but what is none of them.

    Where neither settings nor a bundle name classes, every word but 0 is one; of polygons, every word but background,
    and QuPath's Region* and Ignore*. Case is overlooked where nothing matches as it is written.
    """
    named = _named(settings, default)
    if not named:
        kept = [word for word in words if word not in ("0", "") and not (drawn and _reserved(word))]
        _require_unlike(kept)
        named = {word: (word,) for word in sorted(kept, key=_natural)}
    reserved = {name for name in named if name.lower() in UNLABELLED_NAMES or (drawn and name.lower() == BACKGROUND)}
    classes = tuple(name for name in named if name not in reserved)
    meaning = {name: classes.index(name) if name in classes else _code(name) for name in named}
    claims = _claims(named, meaning)
    codes = {word: _meant(word, claims, drawn=drawn) for word in words}
    note = ""
    if default is not None and words and not settings.classes and max(codes.values()) < 0:
        codes, note = _by_convention(words, codes, default)
    return Vocabulary(classes=classes, codes=codes, rest=claims.get(REST), note=note)


def _require_unlike(words: Collection[str]) -> None:
    """Raise BadInput for classes that nobody can have meant as two, such as Forest and forest."""
    alike = Counter(word.casefold() for word in words)
    twice = listed(word for word in words if alike[word.casefold()] > 1)
    if twice != "nothing":
        raise BadInput(
            f"the classes {twice} differ only in capital letters: write them alike, or say which words each class has, "
            'such as --set \'data.classes={"forest": ["Forest", "forest"], "water": ["water"]}\''
        )


def _named(settings: DataSettings, default: Bundle | None) -> dict[str, tuple[str, ...]]:
    """Classes and how the data writes them, as the settings or the bundle say."""
    if settings.classes or default is None:
        return dict(settings.classes)
    others = {name: words for name, words in default.labels.items() if name not in default.classes}
    return {name: default.labels.get(name, ()) for name in default.classes} | others


def _claims(named: Mapping[str, tuple[str, ...]], meaning: Mapping[str, int]) -> dict[str, int]:
    """Word -> code. A class claims its own name, too, unless another one does. Raises BadInput when two claim a word."""
    claims: dict[str, int] = {}
    for name, words in named.items():
        for word in words:
            if claims.setdefault(word, meaning[name]) != meaning[name]:
                raise BadInput(f"data.classes: two classes claim {word!r}; a word can mean one of them")
    return {name: meaning[name] for name in named if name not in claims} | claims


def _meant(word: str, claims: Mapping[str, int], *, drawn: bool) -> int:
    if word in claims:
        return claims[word]
    folded = [code for claim, code in claims.items() if claim.casefold() == word.casefold()]
    if folded:
        return folded[0]
    reserved = _reserved(word) if drawn else None
    return claims.get(REST, NONE) if reserved is None else reserved


def _reserved(word: str) -> int | None:
    """What polygons of these words mean without being told."""
    low = word.lower().rstrip("*")
    if low in UNLABELLED_NAMES or word.lower().startswith("ignore"):
        return LEFT_OUT
    return NONE if low in (BACKGROUND, "region") else None


def _code(name: str) -> int:
    return LEFT_OUT if name.lower() in UNLABELLED_NAMES else NONE


def _by_convention(words: Collection[str], codes: Mapping[str, int], default: Bundle) -> tuple[dict[str, int], str]:
    """Codes of {0, 1}, {no, yes}, … for a bundle of one class."""
    if len(default.classes) == 1:
        name = default.classes[0].casefold()
        pairs = _NO | {f"not {name}": name, f"not_{name}": name, f"no_{name}": name}
        low = {word.casefold(): word for word in words}
        for no, yes in pairs.items():
            if yes in low and set(low) <= {no, yes}:
                note = f"{low[yes]} in the data was taken for {default.classes[0]}."
                return {**codes, low[yes]: 0}, note
    raise BadInput(
        f"none of what the data holds ({listed(words)}) is a class of {default.name} ({', '.join(default.classes)}): "
        f'say how the data writes them, for instance --set \'data.classes={{"{default.classes[0]}": ["…"]}}\''
    )


def label_rows(rows: Sequence[tuple[str, ...]], found: Vocabulary) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Words of each tile -> labels (n, classes) 0 or 1; used (n,), False for words that are left out."""
    labels = np.zeros((len(rows), len(found.classes)), np.float32)
    used = np.ones(len(rows), bool)
    for i, words in enumerate(rows):
        codes = [found.codes[word] for word in words]
        used[i] = LEFT_OUT not in codes
        labels[i, [code for code in codes if code >= 0]] = 1
    return labels, used


def listed(words: Iterable[str]) -> str:
    """For messages: the first ones, in order."""
    ordered = sorted(words, key=_natural)
    return ", ".join(ordered[:12]) + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "") or "nothing"


def _natural(word: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers by their value: 2 before 10."""
    parts = [part for part in re.split(r"(\d+)", word) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
