"""What tiles claim to hold, by hand."""

from __future__ import annotations

from downstream.audit import Rejected, draw_audit
from downstream.claims import claims_of
from tiling.record import TileRecord
from tiling.state import State


def tile(col: int, state: State, valid: float, claimed: float | None) -> TileRecord:
    return TileRecord(row=0, col=col, state=state, score=0.1, valid_area=valid, claimed_area=claimed)


def audit_of(tiles: list[TileRecord], size: int):
    kept = [t for t in tiles if t.state in (State.NEGATIVE, State.AUDITED)]
    return draw_audit([Rejected(key=(t.row, t.col), score=t.score, area=10.0) for t in kept], size, "seed")


def test_audited_tiles_tell_what_they_lack_and_screened_ones_count_whole_in_the_bound() -> None:
    audited = [tile(0, State.AUDITED, 7.0, 10.0), tile(1, State.AUDITED, 10.0, 10.0), tile(2, State.AUDITED, 4.0, None)]
    screened = [tile(3, State.EMPTY, 10.0, 10.0), tile(4, State.EMPTY, 0.0, None)]
    tiles = [*audited, *screened, tile(5, State.SEGMENTED, 2.0, None)]
    found = claims_of(tiles, audit_of(tiles, 3))
    assert found is not None
    assert (found.tiles, found.area) == (1, 10.0)
    assert (found.audited, found.lacking, found.found) == (2, 1, 3.0)
    assert found.hidden is not None
    assert (found.hidden.estimate, found.hidden.low, found.hidden.high) == (0.0, 0.0, 10.0)  # nobody looked at tile 3


def test_nothing_is_claimed_where_every_pixel_was_looked_at() -> None:
    exact = [tile(0, State.NEGATIVE, 7.0, None), tile(1, State.AUDITED, 3.0, 10.0), tile(2, State.SEGMENTED, 5.0, 9.0)]
    assert claims_of(exact, audit_of(exact, 1)) is None


def test_without_an_audit_nothing_is_known_but_the_most() -> None:
    found = claims_of([tile(0, State.NEGATIVE, 10.0, 10.0)], audit_of([tile(0, State.NEGATIVE, 10.0, 10.0)], 0))
    assert found is not None
    assert (found.area, found.hidden) == (10.0, None)


def test_rounding_is_nothing_lacking() -> None:
    tiles = [tile(0, State.AUDITED, 10.0 - 1e-12, 10.0), tile(1, State.NEGATIVE, 10.0, 10.0)]
    found = claims_of(tiles, draw_audit([Rejected(key=(0, 0), score=0.1, area=10.0)], 1, "seed"))
    assert found is not None
    assert (found.lacking, found.found) == (0, 0.0)
