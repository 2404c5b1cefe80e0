"""Where pixels come from: one protocol, its fake, and the recipe to open one anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize, Plane
from tiling.resample import area_average
from tiling.window import Window


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
        """The window of `plane`, area-averaged from the nearest finer level of the file.

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

    @property
    def uri(self) -> str:
        """All paths in one text."""
        return ",".join(self.uris)


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
        return self._data[:, rows, cols], self._valid[rows, cols]


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
    y_edges = _level_edges(window.y, window.height, plane.scale[0] / level_scale[0])
    x_edges = _level_edges(window.x, window.width, plane.scale[1] / level_scale[1])
    needed = Window(
        y=int(np.floor(y_edges[0])),
        x=int(np.floor(x_edges[0])),
        height=int(np.ceil(y_edges[-1])) - int(np.floor(y_edges[0])),
        width=int(np.ceil(x_edges[-1])) - int(np.floor(x_edges[0])),
    )
    part = needed.clip((level_shape[0], level_shape[1]))
    if part is None:
        raise BadInput(f"{window} lies wholly outside the image")
    pixels = read(part)
    data, valid = area_average(*_pad(pixels, part, needed, y_edges, x_edges))
    return Pixels(data, valid)


def _level_edges(start: int, size: int, ratio: float) -> NDArray[np.float64]:
    """Cell borders in level px; a ratio within 0.1 % of 1 is the level itself (4.0001 asked of 4)."""
    ratio = 1.0 if abs(ratio - 1) < 1e-3 else ratio
    return np.arange(start, start + size + 1, dtype=np.float64) * np.float64(ratio)


def _pad(
    pixels: Pixels, part: Window, needed: Window, y_edges: NDArray[np.float64], x_edges: NDArray[np.float64]
) -> tuple[NDArray[np.generic], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Grow what was read to what is needed: edge pixels repeated for context, none of them valid."""
    data, valid = pixels
    if part != needed:
        before = (part.y - needed.y, part.x - needed.x)
        after = (needed.y_stop - part.y_stop, needed.x_stop - part.x_stop)
        around = ((before[0], after[0]), (before[1], after[1]))
        data = np.pad(data, ((0, 0), *around), mode="edge")
        valid = np.pad(valid, around, constant_values=False)
    return data, valid, y_edges - needed.y, x_edges - needed.x


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
