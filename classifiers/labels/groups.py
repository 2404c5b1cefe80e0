"""Which tiles belong together: a patient, a slide, a scene, or a block of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.training.settings import DataSettings
from tiling.errors import BadInput

FEW_IMAGES = 5
"""With fewer than these, an image as a whole is too much to hold out: its blocks are the groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Names of groups."""

    pattern: re.Pattern[str] | None
    """DataSettings.group."""
    blocks: int | None
    """Tiles along one side of a block; None = images are not cut into blocks."""

    def matched(self, name: str) -> str | None:
        """What the pattern, or its first group, finds in a file's own name, or else in its whole name below DATA."""
        if self.pattern is None:
            return None
        found = self.pattern.search(name.rpartition("/")[2]) or self.pattern.search(name)
        return found and (found[1] if self.pattern.groups and found[1] is not None else found[0])

    def of(self, name: str, told: str = "", place: tuple[int, int] | None = None) -> str:
        """The group of a tile. name: its file below DATA; told: by a table; place: (row, column) of tiles on its image."""
        group = self.matched(name) or told
        if group:
            return group
        if self.blocks is None or place is None:
            return name
        return f"{name} block r{place[0] // self.blocks:03d}c{place[1] // self.blocks:03d}"


def grouping(settings: DataSettings, images: int) -> Grouping:
    """images: how many tiles are cut from. Raises BadInput for what is no regular expression."""
    try:
        pattern = re.compile(settings.group) if settings.group else None
    except re.error as error:
        raise BadInput(f"data.group = {settings.group!r} is no regular expression: {error}") from error
    return Grouping(pattern=pattern, blocks=settings.block_tiles if images < FEW_IMAGES else None)


def unmatched(names: Sequence[str], groups: Grouping) -> tuple[str, ...]:
    """A note on files that the pattern does not fit. Raises BadInput where it fits none."""
    missed = [] if groups.pattern is None else [name for name in names if not groups.matched(name)]
    if not missed:
        return ()
    assert groups.pattern is not None
    if len(missed) == len(names):
        pattern = groups.pattern.pattern
        raise BadInput(f"data.group = {pattern!r} matches none of {len(names):,} files, such as {missed[0]}")
    return (
        f"data.group does not match {len(missed):,} of {len(names):,} files, such as {missed[0]}; "
        "they were grouped as if it were not given.",
    )
