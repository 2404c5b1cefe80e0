"""The thumbnail of a change, filled window by window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from downstream.change import FIRST_CLASS, REJECTED, Codes
from tiling.window import Window

STABLE, GAINED, LOST = range(3)


class Board:
    """How much of each thumbnail pixel is stable, gained, lost or not observed."""

    def __init__(self, shape_px: tuple[int, int], classes: Sequence[int], longest_px: int) -> None:
        """shape_px: of the grid; classes: which of the joined ones; longest_px: of the thumbnail."""
        scale = max(1.0, max(shape_px) / longest_px)
        self.shape = max(1, round(shape_px[0] / scale)), max(1, round(shape_px[1] / scale))
        self.classes = tuple(classes)
        self._grid_px = shape_px
        self._kinds = np.zeros((len(self.classes), 3, *self.shape))
        self._unseen, self._all = np.zeros(self.shape), np.zeros(self.shape)

    def add(self, window: Window, a: Codes, b: Codes) -> None:
        """a, b: (h, w) codes of the window's pixels."""
        rows = np.arange(window.y, window.y_stop) * self.shape[0] // self._grid_px[0]
        cols = np.arange(window.x, window.x_stop) * self.shape[1] // self._grid_px[1]
        high, wide = int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1
        into = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        places = (rows - rows[0])[:, None] * wide + (cols - cols[0])

        def counted(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
            return np.bincount(places[chosen], minlength=high * wide).reshape(high, wide).astype(np.float64)

        seen = (a >= REJECTED) & (b >= REJECTED)
        self._all[into] += counted(np.ones_like(seen))
        self._unseen[into] += counted(~seen)
        for i, position in enumerate(self.classes):
            at_a, at_b = (a == FIRST_CLASS + position) & seen, (b == FIRST_CLASS + position) & seen
            for kind, chosen in ((STABLE, at_a & at_b), (GAINED, at_b & ~at_a), (LOST, at_a & ~at_b)):
                self._kinds[(i, kind, *into)] += counted(chosen)

    def shares(self, i: int) -> NDArray[np.float64]:
        """(3, h, w) of the i-th class: stable, gained, lost; each a share of the thumbnail pixel."""
        return np.asarray(self._kinds[i] / self._all)

    @property
    def unseen(self) -> NDArray[np.float64]:
        """(h, w) share that at least one date did not observe."""
        return np.asarray(self._unseen / self._all)
