"""A finished run as codes: what each pixel is, and whether anybody saw it. One window in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from downstream.change import BACKGROUND, HOLE, OUTSIDE, REJECTED, Codes, label_codes
from flows.plan_areas import plan_areas
from flows.results import ledger_tiles
from storage.layout import MASK
from storage.run import Run
from tiling.errors import BadData, BadInput
from tiling.grid import Tile
from tiling.identity import content_digests, image_identity
from tiling.open import open_source
from tiling.pixel_area import PixelAreas, window_area
from tiling.placement import Match, Placement, place
from tiling.record import TileRecord
from tiling.source import LostSource, Source
from tiling.state import State
from tiling.window import Window

LOOKED = BACKGROUND
"""Kind of a tile whose mask says what is there."""
KINDS = {
    State.SEGMENTED: LOOKED,
    State.AUDITED: LOOKED,
    State.NEGATIVE: REJECTED,
    State.EMPTY: BACKGROUND,
    State.UNREADABLE: HOLE,
    State.FAILED: HOLE,
    State.PLANNED: HOLE,
    State.OUTSIDE: OUTSIDE,
}
FULL = 1e-10
"""A tile whose observed area is short of its own by less than this share holds data in every pixel."""


class Seen:
    """One date: a finished run, read in windows of its fine plane. Close it."""

    def __init__(self, place_of_run: str) -> None:
        """Raises BadInput when there is no finished run."""
        self.run = Run.open(place_of_run)
        summary = self.run.summary()
        if summary is None:
            raise BadInput(
                f"{place_of_run} is not finished: it has no summary. Finish it: tilegate resume {place_of_run}"
            )
        for _, shard in self.run.damaged("segment", MASK):
            raise BadInput(
                f"{place_of_run}/{shard} is damaged or gone, and would read as background. Make it again: tilegate resume "
                f"{place_of_run}"
            )
        self.summary: dict[str, Any] = summary
        self.plan = self.run.plan
        self.areas: PixelAreas = plan_areas(self.plan)
        self.placement: Placement = place(self.plan.image, self.plan.fine)
        self.lost: dict[tuple[int, int], str] = {}
        """Tiles whose nodata nobody can tell any more, because their image cannot be read again: why, by (row, col)."""
        tiles = ledger_tiles(self.run)
        shape = self.plan.grid.shape_tiles
        self._kind = np.array([kind_of(tile) for tile in tiles], np.uint8).reshape(shape)
        self._valid_area = np.array([tile.valid_area for tile in tiles]).reshape(shape)
        self._mask = self.run.array(MASK)

    def close(self) -> None:
        """Let go of the image."""
        if "_source" in self.__dict__:
            self._source.close()

    def codes(self, window: Window, joined: Sequence[str]) -> Codes:
        """(h, w) of a window of the fine plane, clipped to it. joined: the classes of both dates."""
        rows, cols = window.slices
        labels = label_codes(self.plan.classes, joined)[np.asarray(self._mask[rows, cols])]
        codes = np.full(window.shape_px, OUTSIDE, np.uint16)
        for tile, part in self._tiles(window):
            kind = int(self._kind[tile.row, tile.col])
            within = part.relative_to(window).slices
            codes[within] = labels[within] if kind == LOOKED else kind
            if kind in (LOOKED, REJECTED) and not self._is_full(tile):
                codes[within] = self._observed(tile, part, codes[within])
        return codes

    def _tiles(self, window: Window) -> Iterator[tuple[Tile, Window]]:
        """The tiles that a window touches, and where it does."""
        grid = self.plan.grid
        side = grid.tile_px
        for row in range(window.y // side, -(-window.y_stop // side)):
            for col in range(window.x // side, -(-window.x_stop // side)):
                tile = grid.tile(row, col)
                part = tile.core.intersection(window)
                assert part is not None
                yield tile, part

    def _is_full(self, tile: Tile) -> bool:
        full = window_area(self.areas, tile.core)
        return bool(abs(self._valid_area[tile.row, tile.col] - full) <= FULL * full)

    def _observed(self, tile: Tile, part: Window, codes: Codes) -> Codes:
        """The codes with what holds no data taken out; the ledger knows how much that is, only the image knows where."""
        try:
            return np.where(self._source.read(part, self.plan.fine).valid, codes, np.uint16(OUTSIDE))
        except (BadData, BadInput) as error:
            self.lost[tile.row, tile.col] = str(error)
            return np.full(part.shape_px, HOLE, np.uint16)

    @cached_property
    def _source(self) -> Source:
        """The image, if it is still the one that was measured."""
        try:
            source = open_source(self.plan.source)
            same = image_identity(self.plan.source, content_digests(self.plan.source)) == self.plan.identity
        except (BadInput, OSError) as error:
            return LostSource(self.plan.image, str(error))
        if same:
            return source
        source.close()
        return LostSource(self.plan.image, f"{self.plan.image.uri} is not the image any more that was measured")


def kind_of(tile: TileRecord) -> int:
    """What a tile's state makes of its pixels. Empty tiles without data are OUTSIDE; bare glass is background."""
    return OUTSIDE if tile.state is State.EMPTY and tile.valid_area == 0 else KINDS[tile.state]


def looked_up(seen: Seen, match: Match, window: Window, joined: Sequence[str]) -> tuple[Codes, int]:
    """((h, w) codes of `seen` under a window of another grid, how many of its pixels lie on the image of `seen`)."""
    height, width = seen.placement.shape_px
    y, x = match.indices(window)
    inside = np.broadcast_to((y >= 0) & (y < height) & (x >= 0) & (x < width), window.shape_px)
    codes = np.full(window.shape_px, OUTSIDE, np.uint16)
    if inside.any():
        rows, cols = np.broadcast_to(y, window.shape_px)[inside], np.broadcast_to(x, window.shape_px)[inside]
        first_y, first_x = int(rows.min()), int(cols.min())
        size = int(rows.max()) - first_y + 1, int(cols.max()) - first_x + 1
        there = Window(y=first_y, x=first_x, height=size[0], width=size[1])
        codes[inside] = seen.codes(there, joined)[rows - first_y, cols - first_x]
    return codes, int(inside.sum())
