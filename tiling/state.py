"""Where a tile can end. Every tile ends in exactly one of these, and they sum to the grid."""

from enum import StrEnum


class State(StrEnum):
    """planned -> outside | empty | negative | positive -> segmented; negative -> audited; any -> unreadable | failed."""

    PLANNED = "planned"
    """Nobody has looked yet."""
    EMPTY = "empty"
    """No data there (or no tissue, when the recipe screens for it)."""
    OUTSIDE = "outside"
    """Nobody wants to know: it lies outside of the area of interest and was not read. A kind of empty."""
    NEGATIVE = "negative"
    """The gate kept it out."""
    POSITIVE = "positive"
    """The gate let it through; waits for the expensive step."""
    SEGMENTED = "segmented"
    """Let through and segmented."""
    AUDITED = "audited"
    """Kept out by the gate, drawn for the audit and segmented anyway."""
    UNREADABLE = "unreadable"
    """Its pixels could not be read: the data's fault."""
    FAILED = "failed"
    """Code or machine failed on it, after retries."""
