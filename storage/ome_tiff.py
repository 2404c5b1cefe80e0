"""A mask as a tiled, pyramidal OME-TIFF: for QuPath, Bio-Formats and OpenSlide, which read no OME-NGFF 0.5 yet.

OME-TIFF with sub-resolutions in SubIFDs as of OME schema 2016-06 and Bio-Formats 6
(https://ome-model.readthedocs.io/en/stable/ome-tiff/specification.html).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.layout import MASK
from storage.ngff import sampled
from storage.run import Run
from tiling.info import ImageInfo, PixelSize
from tiling.window import Window

TILE_PX = 512
PER_CM = {"m": 1e-2, "um": 1e4}
"""Units of a pixel size in a centimetre."""

Seen = Callable[[NDArray[np.uint8], Window], None]


def write_ome_tiff(run: Run, out: Path, classes: Sequence[str], seen: Seen) -> None:
    """uint8 (y, x), 0 = background, 1 … = classes, whose names stand in the OME-XML as a map annotation.

    Of a slide whose scanned part does not start at its corner, PositionX and PositionY of the plane are um from there.
    Levels are sampled at the middle of their pixels, each half as fine as the one before. seen: told of every window of
    the first one as written. A row of tiles is in memory at a time.
    """
    from tifffile import TiffWriter

    mask, size = run.array(MASK), run.plan.image.pixel_size.times(run.plan.fine.scale)
    shapes = pyramid(run.plan.grid.shape_px)
    shared: dict[str, Any] = {
        "dtype": "uint8",
        "tile": (TILE_PX, TILE_PX),
        "compression": "adobe_deflate",
        "photometric": "minisblack",
        "resolutionunit": "CENTIMETER",
    }
    with TiffWriter(out, bigtiff=True, ome=True) as file:
        for i, shape in enumerate(shapes):
            tiles = _tiles(mask, shape, 2**i, seen if i == 0 else None)
            place = (
                {"subfiletype": 1} if i else {"subifds": len(shapes) - 1, "metadata": _described(run, classes, size)}
            )
            file.write(tiles, shape=shape, resolution=_per_cm(size, 2**i), **shared, **place)


def pyramid(shape_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Shapes of the levels: halves, rounded up, until one tile holds it all."""
    shapes = [shape_px]
    while max(shapes[-1]) > TILE_PX:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return shapes


def _tiles(mask: Any, shape_px: tuple[int, int], factor: int, seen: Seen | None) -> Iterator[NDArray[np.uint8]]:
    height, width = shape_px
    for y in range(0, height, TILE_PX):
        window = Window(y=y, x=0, height=min(TILE_PX, height - y), width=width)
        row = sampled(mask, window, (factor, factor))
        if seen is not None:
            seen(row, window)
        for x in range(0, width, TILE_PX):
            part = row[:, x : x + TILE_PX]
            yield np.pad(part, [(0, TILE_PX - part.shape[0]), (0, TILE_PX - part.shape[1])])


def _per_cm(size: PixelSize, factor: int) -> tuple[float, float]:
    """Pixels per centimetre along (x, y), as TIFF wants it."""
    return PER_CM[size.unit] / size.x / factor, PER_CM[size.unit] / size.y / factor


def _described(run: Run, classes: Sequence[str], size: PixelSize) -> dict[str, Any]:
    unit = "m" if size.unit == "m" else "µm"
    named = {str(value): name for value, name in enumerate(("background", *classes))}
    return {
        "axes": "YX",
        "Name": f"{run.plan.name} mask",
        "PhysicalSizeX": size.x,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": size.y,
        "PhysicalSizeYUnit": unit,
        **_position(run.plan.image),
        "MapAnnotation": {"Namespace": "tilegate/classes", **named},
    }


def _position(image: ImageInfo) -> dict[str, Any]:
    """`Plane` of the OME model, where it has something to say: the first pixel's corner, from that of the slide."""
    if image.origin_px == (0, 0):
        return {}
    y, x = image.origin_px
    place = {"PositionX": x * image.pixel_size.x, "PositionY": y * image.pixel_size.y}
    return {"Plane": {**place, "PositionXUnit": "µm", "PositionYUnit": "µm"}}
