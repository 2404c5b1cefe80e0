"""Where tiles are put while they are read: memory, or a temporary file when they are many."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from classifiers.labels.sample import Sample

MEMORY_BYTES = 2 * 2**30
"""Arrays larger than this lie in a temporary file, which has no name and goes with them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """One tile that was read."""

    sample: Sample
    """Where it comes from."""
    pixels: NDArray[np.generic]
    """(band, side, side)."""
    valid: NDArray[np.bool_]
    """(side, side), True = data."""
    fractions: NDArray[np.float32]
    """(classes,) share of the core's valid labelled pixels; nothing is read of it for tiles with words."""
    mask: NDArray[np.uint8] | None
    """(side, side) as LabelledTiles.masks."""
    holes: bool = False
    """Whether pixels of a tile with words hold no data, though its image goes on."""
    fit: str = ""
    """"cropped" or "padded" where the image is not as large as the tile."""


class Shelf:
    """Arrays with room for `most` tiles, filled from the front."""

    def __init__(
        self, most: int, bands: int, side_px: int, dtype: str, *, masks: bool, room: int = MEMORY_BYTES
    ) -> None:
        """room: bytes an array may take in memory."""
        self.samples: list[Sample] = []
        self.fractions: list[NDArray[np.float32]] = []
        self.fits: list[str] = []
        self.holes = 0
        self._pixels = _array((most, bands, side_px, side_px), dtype, room)
        self._valid = _array((most, side_px, side_px), np.bool_, room)
        self._masks = _array((most, side_px, side_px), np.uint8, room) if masks else None

    def put(self, piece: Piece) -> None:
        """The next tile."""
        i = len(self.samples)
        self._pixels[i], self._valid[i] = piece.pixels, piece.valid
        if self._masks is not None:
            assert piece.mask is not None
            self._masks[i] = piece.mask
        self.samples.append(piece.sample)
        self.fractions.append(piece.fractions)
        self.fits.append(piece.fit)
        self.holes += piece.holes

    def arrays(self) -> dict[str, Any]:
        """The tiles put so far, by the names of LabelledTiles."""
        n = len(self.samples)
        return {
            "samples": tuple(self.samples),
            "pixels": self._pixels[:n],
            "valid": self._valid[:n],
            "masks": None if self._masks is None else self._masks[:n],
        }


def _array(shape: tuple[int, ...], dtype: DTypeLike, room: int) -> NDArray[Any]:
    """Not set to anything: memory and disk are taken where it is written to."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= room:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="tilegate-") as file:
        return np.asarray(np.memmap(file, dtype, "w+", shape=shape))
