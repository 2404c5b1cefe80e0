"""Tiles and masks cut out of images that somebody drew on, by the same code as in a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.crops import AT_ONCE, chunks, in_order
from classifiers.labels.groups import Grouping
from classifiers.labels.items import Scene
from classifiers.labels.looks import Commonest
from classifiers.labels.sample import UNLABELLED, Sample, Skipped
from classifiers.labels.shelf import Piece
from tiling.errors import TilegateError
from tiling.grid import Tile, TileGrid
from tiling.info import Plane
from tiling.resample import area_average
from tiling.source import Pixels, Source
from tiling.window import Window

LEAST_DATA = 0.05
"""Tiles of which a smaller share holds data are left out: a run takes them for empty, too."""


class Drawing(Protocol):
    """What somebody drew on one image. Not thread-safe: open one per thread."""

    def draw(self, window: Window) -> NDArray[np.uint8]:
        """(h, w) of a window inside the image, px of the file: as LabelledTiles.masks. Raises TilegateError."""

    def close(self) -> None:
        """Let go of the file."""


class Truth(Protocol):
    """Opens the drawings of a set."""

    classes: tuple[str, ...]
    """Without background."""

    def open(self, scene: Scene, shape_px: tuple[int, int]) -> Drawing:
        """Raises BadInput where it does not fit the image of `shape_px`."""

    def touches(self, scene: Scene, core: Window) -> bool:
        """False where nothing is labelled in a window, px of the file, and that is known without a look at it."""


class ArrayDrawing:
    """The fake: a mask in memory."""

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        """mask: (h, w) of the whole image."""
        self._mask = mask

    def draw(self, window: Window) -> NDArray[np.uint8]:
        """See Drawing."""
        return self._mask[window.slices]

    def close(self) -> None:
        """Nothing to let go of."""


class ArrayTruth:
    """The fake: one mask for all scenes."""

    def __init__(self, classes: tuple[str, ...], mask: NDArray[np.uint8]) -> None:
        """mask: (h, w) as LabelledTiles.masks."""
        self.classes, self._mask = classes, mask

    def open(self, scene: Scene, shape_px: tuple[int, int]) -> ArrayDrawing:  # noqa: ARG002
        """See Truth."""
        return ArrayDrawing(self._mask)

    def touches(self, scene: Scene, core: Window) -> bool:  # noqa: ARG002
        """See Truth."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A scene and its tiles."""

    scene: Scene
    """Which."""
    shape_px: tuple[int, int]
    """Of the image."""
    tiles: tuple[Tile, ...]
    """Those that may hold something labelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """How scenes become tiles."""

    found: Commonest
    """What all images are."""
    truth: Truth
    """What was drawn."""
    tile_px: int
    """Side of the core."""
    halo_px: int
    """Around it."""
    groups: Grouping
    """Names of groups."""
    masks: bool
    """Whether masks are kept, and not only what a tile holds."""


def plot(scene: Scene, cutting: Cutting) -> Plot | Skipped:
    """Where the tiles of a scene are."""
    try:
        source = cutting.found.opening.open(scene.uris)
        info = source.info
        source.close()
        misfit = cutting.found.misfit(info)
        if misfit:
            return Skipped(name=scene.name, why=misfit)
        cutting.truth.open(scene, info.shape_px).close()
    except TilegateError as error:
        return Skipped(name=scene.name, why=str(error))
    plane = cutting.found.opening.plane(info)
    grid = TileGrid(shape_px=plane.shape_px, tile_px=cutting.tile_px, halo_px=cutting.halo_px)
    rows, cols = grid.shape_tiles
    tiles = (grid.tile(row, col) for row in range(rows) for col in range(cols))
    kept = tuple(t for t in tiles if cutting.truth.touches(scene, of_file(t.core, plane, info.shape_px)))
    return Plot(scene=scene, shape_px=info.shape_px, tiles=kept)


def pieces(plots: Sequence[Plot], cutting: Cutting) -> Iterator[Piece | Skipped]:
    """The tiles with something labelled, scene by scene, row by row."""
    jobs = ([(each, run)] for each in plots for run in chunks(each.tiles, AT_ONCE))
    return in_order(jobs, lambda job: [piece for each, run in job for piece in _cut_scene(each, run, cutting)])


def _cut_scene(each: Plot, tiles: Sequence[Tile], cutting: Cutting) -> Iterator[Piece | Skipped]:
    source = drawing = None
    try:
        source = cutting.found.opening.open(each.scene.uris)
        drawing = cutting.truth.open(each.scene, each.shape_px)
        for tile in tiles:
            piece = _try(each.scene, tile, source, drawing, cutting)
            if piece is not None:
                yield piece
    except TilegateError as error:
        yield Skipped(name=each.scene.name, why=str(error))
    finally:
        for opened in (source, drawing):
            if opened is not None:
                opened.close()


def _try(scene: Scene, tile: Tile, source: Source, drawing: Drawing, cutting: Cutting) -> Piece | Skipped | None:
    try:
        return _cut(scene, tile, source, drawing, cutting)
    except TilegateError as error:
        return Skipped(name=f"{scene.name} {tile.id}", why=str(error))


def _cut(scene: Scene, tile: Tile, source: Source, drawing: Drawing, cutting: Cutting) -> Piece | None:
    """None where nothing is labelled, or next to nothing holds data."""
    plane, wanted = cutting.found.opening.plane(source.info), tile.read if cutting.masks else tile.core
    window = of_file(wanted, plane, source.info.shape_px)
    drawn = drawing.draw(window)
    if (drawn == UNLABELLED).all():
        return None
    pixels = source.read(tile.read, plane)
    core = pixels.valid[tile.core.relative_to(tile.read).slices]
    if core.sum() < LEAST_DATA * cutting.tile_px**2:
        return None
    counts = count_labels(drawn, window, pixels.valid, tile, plane, len(cutting.truth.classes))
    if not counts.sum():
        return None
    group = cutting.groups.of(scene.name, "", (tile.row, tile.col))
    return Piece(
        sample=Sample(name=f"{scene.name} {tile.id}", group=group, part=scene.part),
        pixels=pixels.data,
        valid=pixels.valid,
        fractions=np.asarray(counts[1:] / counts.sum(), np.float32),
        mask=_mask(drawn, window, pixels, tile, plane, len(cutting.truth.classes)) if cutting.masks else None,
    )


def of_file(window: Window, plane: Plane, shape_px: tuple[int, int]) -> Window:
    """The pixels of the file under a window of a plane, as far as the image goes."""
    (y, y_stop), (x, x_stop) = plane.edges(window.y, window.height, 0), plane.edges(window.x, window.width, 1)
    top, left = int(np.floor(y)), int(np.floor(x))
    covered = Window(y=top, x=left, height=int(np.ceil(y_stop)) - top, width=int(np.ceil(x_stop)) - left)
    inside = covered.clip(shape_px)
    assert inside is not None  # every core holds a pixel of the image
    return inside


def count_labels(
    drawn: NDArray[np.uint8], window: Window, valid: NDArray[np.bool_], tile: Tile, plane: Plane, classes: int
) -> NDArray[np.int64]:
    """(1 + classes,) labelled valid pixels of the file whose centre is in the core: background, then the classes.

    drawn: of `window`, px of the file; valid: of the tile's read, px of the plane.
    """
    rows = _under(window.y, window.height, plane.scale[0], tile.read.y)
    cols = _under(window.x, window.width, plane.scale[1], tile.read.x)
    core = tile.core.relative_to(tile.read)
    in_rows, in_cols = (rows >= core.y) & (rows < core.y_stop), (cols >= core.x) & (cols < core.x_stop)
    labels = drawn[np.ix_(in_rows, in_cols)]
    known = valid[np.ix_(rows[in_rows], cols[in_cols])] & (labels != UNLABELLED)
    return np.bincount(labels[known], minlength=1 + classes).astype(np.int64)


def _under(start: int, size: int, scale: float, first: int) -> NDArray[np.intp]:
    """Which pixel of a tile, along one side, the centres of pixels of the file are in."""
    rows: NDArray[np.intp] = np.floor((np.arange(start, start + size) + 0.5) / scale).astype(np.intp) - first
    return rows


def _mask(
    drawn: NDArray[np.uint8], window: Window, pixels: Pixels, tile: Tile, plane: Plane, classes: int
) -> NDArray[np.uint8]:
    """(side, side): each pixel what most of it is; UNLABELLED where half of it is not labelled or it holds no data."""
    mask = np.full(pixels.valid.shape, UNLABELLED, np.uint8)
    inside = tile.read.clip(plane.shape_px)
    assert inside is not None  # every core holds a pixel of the image
    y = np.minimum(np.arange(inside.y, inside.y_stop + 1) * plane.scale[0], window.y_stop) - window.y
    x = np.minimum(np.arange(inside.x, inside.x_stop + 1) * plane.scale[1], window.x_stop) - window.x
    rows, cols = inside.relative_to(tile.read).slices
    mask[rows, cols] = drawn if plane.scale == (1, 1) else _majority(drawn, y, x, classes)
    mask[~pixels.valid] = UNLABELLED
    return mask


def _majority(
    drawn: NDArray[np.uint8], y_edges: NDArray[np.float64], x_edges: NDArray[np.float64], classes: int
) -> NDArray[np.uint8]:
    """What most of each cell's labelled area is; of two alike the earlier one."""
    each = np.stack([drawn == code for code in range(1 + classes)]).astype(np.float32)
    shares, labelled = area_average(each, drawn != UNLABELLED, y_edges, x_edges)
    return np.where(labelled, shares.argmax(0), UNLABELLED).astype(np.uint8)


_: type[Drawing] = ArrayDrawing
__: type[Truth] = ArrayTruth
