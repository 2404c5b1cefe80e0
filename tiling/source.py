"""Where pixels come from: one protocol, its fake, and the recipe to open one anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.address import public
from tiling.errors import BadData, BadInput
from tiling.info import ImageInfo, PixelSize, Plane
from tiling.resample import area_average
from tiling.window import Window

MAX_PIXELS = 100_000_000_000
"""Pixels an image may declare unless the caller allows more: 316,000 on a side, five times the largest slides."""

MAX_BLOCK_BYTES = 2**29
"""Largest tile or strip of a file, decoded: it is held in memory as a whole, however little of it is asked for."""


class Pixels(NamedTuple):
    """What a read returns."""

    data: NDArray[np.generic]
    """(band, y, x) in the image's dtype; the values of pixels that are not valid mean nothing."""
    valid: NDArray[np.bool_]
    """(y, x), True = data."""


class Source(Protocol):
    """A huge image that is read in windows of a plane. Not thread-safe: open one per thread."""

    @property
    def info(self) -> ImageInfo:
        """What the image says of itself; its `bands` are the ones a read returns."""

    def read(self, window: Window, plane: Plane) -> Pixels:
        """The window of `plane`, area-averaged from the nearest finer level of the file: arrays of the caller's own.

        Pixels outside the image are not valid. Raises BadData when the file cannot be read there.
        """

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """The recipe of a Source: plain values that travel to a worker, which opens the file itself."""

    uris: tuple[str, ...]
    """One path or URL, or several rasters that together are one image."""
    bands: tuple[tuple[str, int | str], ...] = ()
    """(name, 1-based index over all files or the file's own band name); empty = as the file names them."""
    nodata: float | None = None
    """A nodata value for rasters that forgot to declare theirs; replaces the file's own."""
    pixel_size: PixelSize | None = None
    """Overrides the file: um for slides (mpp), m for rasters without a usable CRS."""
    max_pixels: int = MAX_PIXELS
    """An image that declares more pixels is refused: a few bytes can claim a size that nobody could ever read."""

    @property
    def uri(self) -> str:
        """All addresses in one text, as anybody may see them: without passwords and signatures."""
        return ",".join(map(public, self.uris))


class ArraySource:
    """The shipped fake: an image held in memory, read through the same averaging as a file."""

    def __init__(self, info: ImageInfo, data: NDArray[np.generic], valid: NDArray[np.bool_] | None = None) -> None:
        """data: (band, y, x); valid: (y, x), True = data, all of it when None."""
        self._info, self._data = info, data
        self._valid = np.ones(data.shape[1:], bool) if valid is None else valid

    @property
    def info(self) -> ImageInfo:
        """As given."""
        return self._info

    def read(self, window: Window, plane: Plane) -> Pixels:
        """See Source."""
        return read_level(lambda part: Pixels(*self._cut(part)), self._data.shape[1:], (1.0, 1.0), window, plane)

    def close(self) -> None:
        """Nothing to let go of."""

    def _cut(self, part: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        rows, cols = part.slices
        return self._data[:, rows, cols].copy(), self._valid[rows, cols].copy()


class LostSource:
    """An image that could be opened once and cannot any more: no pixel of it can be read, and every read says why."""

    def __init__(self, info: ImageInfo, reason: str) -> None:
        """info: what it said of itself when it was there."""
        self._info, self._reason = info, reason

    @property
    def info(self) -> ImageInfo:
        """As given."""
        return self._info

    def read(self, window: Window, plane: Plane) -> Pixels:  # noqa: ARG002
        """Raises BadData."""
        raise BadData(self._reason)

    def close(self) -> None:
        """Nothing to let go of."""


class ReadLevel(Protocol):
    """Reads a window that lies inside one stored level."""

    def __call__(self, part: Window, /) -> Pixels:
        """part: px of the level."""


def read_level(
    read: ReadLevel, level_shape: tuple[int, ...], level_scale: tuple[float, float], window: Window, plane: Plane
) -> Pixels:
    """Cut `window` of `plane` out of one level: read what it covers, average it, pad what is outside.

    level_scale: image px per level px, (y, x), not coarser than the plane.
    """
    inner = window.clip(plane.shape_px)
    if inner is None:
        raise BadInput(f"{window} lies wholly outside the plane of {plane.shape_px} px")
    y_edges = _level_edges(inner.y, inner.height, plane.scale[0] / level_scale[0], level_shape[0])
    x_edges = _level_edges(inner.x, inner.width, plane.scale[1] / level_scale[1], level_shape[1])
    part = _cover(y_edges, x_edges)
    data, valid = area_average(*read(part), y_edges - part.y, x_edges - part.x)
    return _grow(_grow(Pixels(data, valid), (0, 0), inner.shape_px, "edge"), *_place(inner, window), "constant")


def _level_edges(start: int, size: int, ratio: float, level_size: int) -> NDArray[np.float64]:
    """Cell borders in level px, as far as the level goes; 4.0001 asked of 4 is the level itself.

    Levels are rounded to whole pixels, so the plane's last cell may lie behind the level's end: it gets no border
    here and repeats the cell before it.
    """
    off = abs(ratio - 1)
    if off < 1e-3 and off * level_size < 0.6:  # a plane is rounded to whole pixels: its end is half of one away
        ratio = 1.0
    edges = np.minimum(np.arange(start, start + size + 1, dtype=np.float64) * np.float64(ratio), level_size)
    cells = max(1, int((np.diff(edges) > 1e-9).sum()))
    return edges[: cells + 1] if edges[1] > edges[0] else np.array([level_size - 1.0, level_size])


def _cover(y_edges: NDArray[np.float64], x_edges: NDArray[np.float64]) -> Window:
    """The whole pixels that some cells touch."""
    y, x = int(np.floor(y_edges[0])), int(np.floor(x_edges[0]))
    return Window(y=y, x=x, height=int(np.ceil(y_edges[-1])) - y, width=int(np.ceil(x_edges[-1])) - x)


def _place(inner: Window, window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    """(offset of inner in window, shape of window)."""
    return (inner.y - window.y, inner.x - window.x), window.shape_px


def _grow(
    pixels: Pixels, offset: tuple[int, int], shape_px: tuple[int, int], valid: Literal["edge", "constant"]
) -> Pixels:
    """Pixels set into a larger shape: values repeat the edge (context for models); validity too, or is False."""
    height, width = pixels.valid.shape
    if (height, width) == shape_px:
        return pixels
    around = (
        (offset[0], shape_px[0] - height - offset[0]),
        (offset[1], shape_px[1] - width - offset[1]),
    )
    data = np.pad(pixels.data, ((0, 0), *around), mode="edge")
    return Pixels(data, np.pad(pixels.valid, around, mode=valid))


def nearest_finer(scales: list[tuple[float, float]], plane: Plane, uri: str) -> int:
    """Index of the coarsest level that is not coarser than the plane; levels are sorted fine to coarse.

    Downsamples such as 4.0001 count as 4. Raises BadInput when the plane is finer than the file.
    """
    fits = [i for i, (y, x) in enumerate(scales) if y <= plane.scale[0] * 1.001 and x <= plane.scale[1] * 1.001]
    if not fits:
        raise BadInput(
            f"{uri}: pixels {1 / min(plane.scale):.3g} times finer than the file's were asked for; "
            "there is no such detail in it. Ask for the native pixel size or a coarser one."
        )
    return fits[-1]


_: type[Source] = ArraySource
__: type[Source] = LostSource
