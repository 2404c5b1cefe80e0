"""The Amazon scenes as training examples: random crops for the segmenter, crops and mosaics for the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import ImageInfo, PixelSize, native_plane
from tiling.resample import area_average
from tiling.source import ArraySource
from tiling.stack import TileStack, read_stack

T = TypeVar("T", bound=np.generic)

BANDS = ("red", "green", "blue")
TILE_PX, HALO_PX = 256, 32
"""The segmenter's tiles, px of 10 m."""
GATE_FACTOR = 4
"""Pixels of 10 m along one pixel of the gate's plane."""
_BLOCK_PX = 16
"""Side of a mosaic's blocks, px of the gate's plane."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One labelled image."""

    name: str
    """Stem of its files."""
    pixels: NDArray[np.uint8]
    """(band, y, x)."""
    forest: NDArray[np.float32]
    """(y, x) share of each pixel that is forest, 0 or 1 at 10 m."""

    def coarser(self, factor: int) -> Scene:
        """The scene as a coarser plane shows it: averaged by the same function as in a run."""
        edges = np.arange(0.0, self.forest.shape[0] + 1, factor)
        valid = np.ones(self.forest.shape, bool)
        pixels = np.asarray(area_average(self.pixels, valid, edges, edges)[0], np.uint8)
        forest = np.asarray(area_average(self.forest[None], valid, edges, edges)[0][0], np.float32)
        return Scene(name=self.name, pixels=pixels, forest=forest)


def load_scenes(folder: Path) -> list[Scene]:
    """Every images/NAME.tiff with its masks/NAME.png, by name."""
    paths = sorted((folder / "images").glob("*.tiff"))
    if not paths:
        raise BadInput(f"{folder / 'images'} holds no .tiff; give the folder that has images/ and masks/")
    scenes = []
    for path in paths:
        with Image.open(path) as image, Image.open(folder / "masks" / f"{path.stem}.png") as mask:
            pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
            scenes.append(Scene(name=path.stem, pixels=pixels, forest=(np.asarray(mask) == 1).astype(np.float32)))
    return scenes


def split(scenes: Sequence[Scene]) -> tuple[list[Scene], list[Scene]]:
    """(training, held out): every fourth scene by share of forest is held out, from none at all to nearly all."""
    ordered = sorted(scenes, key=lambda scene: (float(scene.forest.mean()), scene.name))
    held_out = ordered[::4]
    return [scene for scene in ordered if scene not in held_out], held_out


def tiles_of(scene: Scene) -> tuple[TileStack, TileStack]:
    """(segmenter's tiles with halo, the same tiles on the gate's plane), read as a run reads them."""
    height, width = scene.forest.shape
    info = ImageInfo(
        uri=scene.name,
        kind="raster",
        shape_px=(height, width),
        bands=BANDS,
        dtype="uint8",
        nodata=None,
        pixel_size=PixelSize(y=10, x=10, unit="m"),
        transform=None,
        crs=None,
    )
    source, plane = ArraySource(info, scene.pixels), native_plane(info)
    grid = TileGrid(shape_px=info.shape_px, tile_px=TILE_PX, halo_px=HALO_PX)
    coarse = grid.at(TILE_PX // GATE_FACTOR)
    fine_tiles, coarse_tiles = (tuple(t for batch in g.batches() for t in batch.tiles) for g in (grid, coarse))
    return (
        read_stack(source, fine_tiles, plane),
        read_stack(source, coarse_tiles, plane.coarser(coarse.shape_px, GATE_FACTOR)),
    )


class Crop(NamedTuple):
    """One training example."""

    pixels: NDArray[np.uint8]
    """(band, h, w)."""
    forest: NDArray[np.float32]
    """(h, w) share of each pixel that is forest; 0 where not valid."""
    valid: NDArray[np.bool_]
    """(h, w), True = data."""


class Examples:
    """Random training batches: turned, mirrored, slightly recoloured, some reaching over the edge of the image."""

    def __init__(self, scenes: Sequence[Scene], seed: int) -> None:
        """scenes: all at one pixel size."""
        self._scenes, self._random = list(scenes), np.random.default_rng(seed)

    def segmenter(self, count: int) -> tuple[TileStack, NDArray[np.float32]]:
        """Tiles of 256 px and the forest in them, (count, 1, 256, 256)."""
        crops = [self._vary(self._crop(TILE_PX)) for _ in range(count)]
        return _stack(crops), np.stack([crop.forest[None] for crop in crops])

    def gate(self, count: int, least: float) -> tuple[TileStack, NDArray[np.float32]]:
        """Tiles of 64 px and whether at least the share `least` of them is forest, (count, 1).

        Nearly every real tile of this data holds forest, so two in three are mosaics.
        """
        side = TILE_PX // GATE_FACTOR
        crops = [self._crop(side) if self._random.random() < 1 / 3 else self._mosaic(side) for _ in range(count)]
        crops = [self._vary(crop) for crop in crops]
        shares = [crop.forest.sum() / crop.valid.sum() for crop in crops]
        return _stack(crops), np.array([[share >= least] for share in shares], np.float32)

    def _crop(self, side: int) -> Crop:
        """A square anywhere in any scene."""
        scene = self._scenes[self._random.integers(len(self._scenes))]
        height, width = scene.forest.shape
        y, x = self._random.integers(height - side + 1), self._random.integers(width - side + 1)
        window = (slice(y, y + side), slice(x, x + side))
        return Crop(scene.pixels[:, *window], scene.forest[window], np.ones((side, side), bool))

    def _mosaic(self, side: int) -> Crop:
        """Blocks without forest, half the time all of one scene; in one mosaic of three, 1 to 4 blocks with forest."""
        cells = side // _BLOCK_PX
        wooded = int(self._random.integers(1, 5)) if self._random.random() < 1 / 3 else 0
        one_scene = self._pick(self._bare) if self._random.random() < 1 / 2 else None
        blocks = [self._block(self._pick(self._wooded)) for _ in range(wooded)]
        blocks += [self._block(one_scene or self._pick(self._bare)) for _ in range(cells**2 - wooded)]
        order = self._random.permutation(cells**2)
        rows = [[blocks[i] for i in order[row * cells : (row + 1) * cells]] for row in range(cells)]
        pixels = np.concatenate([np.concatenate([b.pixels for b in row], axis=2) for row in rows], axis=1)
        forest = np.concatenate([np.concatenate([b.forest for b in row], axis=1) for row in rows], axis=0)
        return Crop(pixels, forest, np.ones((side, side), bool))

    def _pick(self, by_scene: list[list[Crop]]) -> list[Crop]:
        """The blocks of one scene: each scene counts the same, however many it has."""
        return by_scene[self._random.integers(len(by_scene))]

    def _block(self, blocks: list[Crop]) -> Crop:
        return self._turn(blocks[self._random.integers(len(blocks))])

    @cached_property
    def _bare(self) -> list[list[Crop]]:
        """Per scene, its blocks with next to no forest."""
        return self._blocks(lambda share: share < 0.002)

    @cached_property
    def _wooded(self) -> list[list[Crop]]:
        """Per scene, its blocks with some forest."""
        return self._blocks(lambda share: share > 0.1)

    def _blocks(self, wanted: Callable[[float], bool]) -> list[list[Crop]]:
        by_scene = [[b for b in _every_block(scene) if wanted(float(b.forest.mean()))] for scene in self._scenes]
        return [blocks for blocks in by_scene if blocks]

    def _vary(self, crop: Crop) -> Crop:
        return self._cut_edge(self._recolour(self._turn(crop)))

    def _turn(self, crop: Crop) -> Crop:
        """One of the eight ways to lay a square."""
        turns, mirror = int(self._random.integers(4)), 1 if self._random.random() < 1 / 2 else -1

        def lay(array: NDArray[T]) -> NDArray[T]:
            return np.rot90(array, turns, axes=(-2, -1))[..., ::mirror]

        return Crop(lay(crop.pixels), lay(crop.forest), lay(crop.valid))

    def _recolour(self, crop: Crop) -> Crop:
        """Brightness, colour balance and haze a little off, as between dates."""
        gain = self._random.normal(1, 0.08) * self._random.normal(1, 0.03, (len(BANDS), 1, 1))
        pixels = np.clip(np.rint(crop.pixels * gain + self._random.normal(0, 3)), 0, 255)
        return crop._replace(pixels=pixels.astype(np.uint8))

    def _cut_edge(self, crop: Crop) -> Crop:
        """One in four lies at the edge of its image: its first rows and columns hold no data."""
        if self._random.random() > 1 / 4:
            return crop
        side = crop.valid.shape[0]
        rows, cols = self._random.integers(0, side // 2, 2)
        valid = np.zeros_like(crop.valid)
        valid[rows:, cols:] = True
        return self._turn(crop._replace(forest=np.where(valid, crop.forest, np.float32(0)), valid=valid))


def _every_block(scene: Scene) -> list[Crop]:
    """Overlapping squares of the side of a mosaic's block."""
    starts = range(0, scene.forest.shape[0] - _BLOCK_PX + 1, _BLOCK_PX // 4)
    windows = [(slice(y, y + _BLOCK_PX), slice(x, x + _BLOCK_PX)) for y in starts for x in starts]
    valid = np.ones((_BLOCK_PX, _BLOCK_PX), bool)
    return [Crop(scene.pixels[:, *window], scene.forest[window], valid) for window in windows]


def _stack(crops: Sequence[Crop]) -> TileStack:
    """The crops as the tiles that `normalise` takes."""
    side = crops[0].valid.shape[0]
    tile = TileGrid(shape_px=(side, side), tile_px=side).tile(0, 0)
    pixels, valid = np.stack([crop.pixels for crop in crops]), np.stack([crop.valid for crop in crops])
    return TileStack(tiles=(tile,) * len(crops), pixels=pixels, valid=valid)
