"""Labelled tiles: what training and evaluation work on, whatever files they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.protocol import ModelId
from classifiers.seen import as_seen
from tiling.grid import Tile, TileGrid
from tiling.info import PixelSize
from tiling.radiometry import Radiometry
from tiling.stack import TileStack

Part = Literal["train", "validation", "test"]
"""train: weights; validation: when to stop, and the temperature; test: metrics and the evidence for thresholds."""
UNLABELLED = 255
"""In masks: nobody said what this pixel is. It is neither learned nor counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Where one tile comes from."""

    name: str
    """Unique in its set: the file below DATA; then, where the file holds more than this tile, its place in the grid."""
    group: str
    """Tiles of one group stay on one side of a split: patient, slide, scene, or block of a scene."""
    part: Part | None = None
    """Where the data itself says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file or tile that is not used."""

    name: str
    """As Sample.name."""
    why: str
    """For a person, with the numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTiles:
    """Tiles of equal size in memory (or in a temporary file, when they are many), and what they hold."""

    samples: tuple[Sample, ...]
    """One per tile."""
    classes: tuple[str, ...]
    """Names, without background."""
    exclusive: bool
    """A tile is of exactly one of the classes (softmax); otherwise of any number of them, none included (sigmoid)."""
    bands: tuple[str, ...]
    """Names of the bands, in order."""
    pixel_size: PixelSize
    """Of every tile."""
    tile_px: int
    """Side of the core."""
    halo_px: int
    """Context around the core; the arrays are tile_px + 2 halo_px a side."""
    pixels: NDArray[np.generic]
    """(n, band, side, side) in the images' dtype."""
    valid: NDArray[np.bool_]
    """(n, side, side), True = data."""
    labels: NDArray[np.float32]
    """(n, classes), 1 = the tile holds the class, 0 = it does not."""
    fractions: NDArray[np.float32]
    """(n, classes), share of the core's valid labelled pixels that are of the class; the labels where nobody drew."""
    masks: NDArray[np.uint8] | None = None
    """(n, side, side), 0 = background, i = classes[i - 1], UNLABELLED; None where tiles as a whole have labels."""
    skipped: tuple[Skipped, ...] = ()
    """What could not be used."""
    notes: tuple[str, ...] = ()
    """What was done to the data that a reader of the model card should know, one sentence each."""
    radiometry: Radiometry | None = None
    """How the numbers of every band become reflectance, as the files say; for the rules that want it."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def dtype(self) -> str:
        """Name of the pixels' type, as numpy has it."""
        return str(self.pixels.dtype.name)

    @property
    def side_px(self) -> int:
        """Of the arrays."""
        return self.tile_px + 2 * self.halo_px

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """(n,) of the samples."""
        return np.array([sample.group for sample in self.samples])

    def pick(self, chosen: Sequence[int] | NDArray[np.intp]) -> LabelledTiles:
        """Some of the tiles, by position, in that order; what was skipped stays told."""
        index = np.asarray(chosen, np.intp)
        return replace(
            self,
            samples=tuple(self.samples[i] for i in index),
            pixels=self.pixels[index],
            valid=self.valid[index],
            labels=self.labels[index],
            fractions=self.fractions[index],
            masks=None if self.masks is None else self.masks[index],
        )

    def stack(self, chosen: Sequence[int] | NDArray[np.intp]) -> TileStack:
        """Some of the tiles as models receive them, halo included."""
        index = np.asarray(chosen, np.intp)
        return TileStack(tiles=(self.tile,) * len(index), pixels=self.pixels[index], valid=self.valid[index])

    def shown(self, model: ModelId, stack: TileStack, bands: Sequence[str]) -> TileStack:
        """A stack of these tiles, with some of their bands, in the values that a model sees in a run."""
        chosen = [self.bands.index(band) for band in bands]
        return as_seen(stack.pick(range(len(stack)), chosen), model, self.radiometry, chosen)

    @property
    def tile(self) -> Tile:
        """The one tile all of them are, as far as models care: halo on every side."""
        side, halo = self.side_px, self.halo_px
        grid = TileGrid(shape_px=(3 * self.tile_px, 3 * self.tile_px), tile_px=self.tile_px, halo_px=halo)
        tile = grid.tile(1, 1)
        assert tile.read.shape_px == (side, side)
        return tile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Positions of tiles; no group and no pair of near-duplicates is on two sides."""

    train: NDArray[np.intp]
    """Ascending."""
    validation: NDArray[np.intp]
    """Ascending."""
    test: NDArray[np.intp]
    """Ascending."""

    def of(self, part: Part) -> NDArray[np.intp]:
        """The positions of one part."""
        found: NDArray[np.intp] = getattr(self, part)
        return found


def positives(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, classes) 0 or 1 -> (classes,) how many tiles hold each class."""
    return np.asarray(labels.sum(axis=0), np.float32)
