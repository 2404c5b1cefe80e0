"""What is known of one tile after a stage: one row of the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from tiling.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRecord:
    """One tile, one stage."""

    row: int
    """Row in the grid of tiles."""
    col: int
    """Column in the grid of tiles."""
    state: State
    """Where it ended."""
    score: float | None = None
    """Highest gate score of the positive classes, in [0, 1]; None when the gate did not score it."""
    distance: float | None = None
    """How far its look is from the tiles its gate was calibrated on (classifiers/domain.py); None = not judged."""
    valid_area: float = 0.0
    """Area of valid pixels of its core that some step looked at, m2 or um2."""
    claimed_area: float | None = None
    """valid_area as the gate plane showed it, where pixels without data may hide in it; None where none can."""
    tissue_area: float | None = None
    """Slides: area of its core that is tissue on the gate plane, um2; None where no cut says what tissue is."""
    pixels: tuple[int, ...] = ()
    """Pixels per class of the segmenter; empty before it ran."""
    area: tuple[float, ...] = ()
    """Area per class, m2 or um2."""
    reason: str = ""
    """Why it is unreadable or failed."""
