"""What the forms of DATA have in common before a pixel is read: files with words, and scenes with a drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from classifiers.labels.sample import Part, Skipped
from tiling.errors import BadInput
from tiling.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One tile that has labels as a whole."""

    name: str
    """As Sample.name."""
    uris: tuple[str, ...]
    """Its image."""
    words: tuple[str, ...]
    """What the data calls it; none = no class."""
    window: Window | None = None
    """Where on the image, px of the file; None = the whole image."""
    group: str = ""
    """Where a table says so."""
    part: Part | None = None
    """Where the data says so."""

    @property
    def file(self) -> str:
        """The name without the place on the image."""
        return self.name if self.window is None else self.name.rpartition(" ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A listing of them."""

    items: tuple[Item, ...]
    """In the order of the tiles."""
    words: tuple[str, ...]
    """All that occur, and those a table has a column for."""
    single: bool
    """Every tile has exactly one word."""
    skipped: tuple[Skipped, ...] = ()
    """Rows or files that can not be items."""
    notes: tuple[str, ...] = ()
    """What was ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One image of which somebody drew what is where."""

    name: str
    """The image below DATA."""
    uris: tuple[str, ...]
    """One file, or one per band."""
    truth: str
    """Path of the mask or of the polygons."""
    part: Part | None = None
    """Where the data says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """A listing of them."""

    scenes: tuple[Scene, ...]
    """By name."""
    skipped: tuple[Skipped, ...] = ()
    """Images nobody drew on."""
    notes: tuple[str, ...] = ()
    """What was ignored."""


def require_usable(used: int, skipped: Iterable[Skipped], what: str, advice: str) -> None:
    """Raise BadInput when nothing can be used, or more than a tenth can not. what: plural of what is counted."""
    lost = list(skipped)
    if used and len(lost) * 10 <= used + len(lost):
        return
    told = "".join(f"\n  {each.name}: {each.why}" for each in lost[:5])
    more = f"\n  and {len(lost) - 5:,} more" if len(lost) > 5 else ""
    share = f"{len(lost):,} of {used + len(lost):,} {what} cannot be used" if lost else f"no {what} were found"
    raise BadInput(f"{share}{', more than a tenth' if used else ''}: {advice}{told}{more}")


def counted(what: Iterable[str]) -> str:
    """Words and how often, the commonest first: "12 .txt, 3 .pdf"."""
    return ", ".join(f"{count:,} {word}" for word, count in Counter(what).most_common(8))
