"""What every export is given and what it says in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from downstream.area import AreaCount
from storage.plan import RunPlan
from storage.run import Run
from tiling.pixel_area import PixelAreas
from tiling.record import TileRecord

Origin = Literal["bounds", "slide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """A finished run and what is wanted of it."""

    run: Run
    """Opened; run.array("mask/0") is the mask."""
    summary: dict[str, Any]
    """summary.json, checked against the ledger."""
    tiles: tuple[TileRecord, ...]
    """Every tile of the grid, row by row."""
    areas: PixelAreas
    """Of the fine plane."""
    out: Path
    """Absolute: the file or folder to write. What is there is replaced once the new one is whole."""
    min_area: float
    """Objects below it are left out, after joining; m2 or um2, 0 keeps all."""
    origin: Origin
    """Where pixel (0, 0) of a slide is: the corner of what was scanned (openslide.bounds), or of the whole slide."""

    @property
    def plan(self) -> RunPlan:
        """What was done."""
        return self.run.plan

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels 1, 2 and so on."""
        return self.run.plan.classes

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """RGB, 0 to 255, of labels 1, 2, …; those of the overview."""
        from flows.pages.picture import CLASS_COLOURS

        drawn = [(int(red), int(green), int(blue)) for red, green, blue in CLASS_COLOURS[1:]]
        return [drawn[i % len(drawn)] for i in range(len(self.classes))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written."""

    path: Path
    """What was asked for."""
    files: tuple[Path, ...]
    """Every file written; of a folder the folder."""
    area: dict[str, AreaCount]
    """By class, as the writer counted what it wrote."""
    features: int | None
    """Objects written; None for formats without objects."""
    dropped: dict[str, AreaCount]
    """By class, what was below the smallest area; classes that lost nothing are not in it."""
    dropped_features: int
    """Objects below the smallest area."""
    notes: tuple[str, ...]
    """What the file does not say, in sentences for people."""


Exporter = Callable[[ExportJob], ExportReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way out."""

    about: str
    """One line for people."""
    suffix: str
    """End of the default file name, such as ".tif"."""
    export: Exporter
    """Writes it."""
