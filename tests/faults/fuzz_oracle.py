"""What a file holds, read whole and without tilegate: how many pixels a rule finds in it. Prints one JSON object.

fuzz_oracle.py water FILE GREEN NIR TILE_PX     NDWI > 0, by rasterio
fuzz_oracle.py tissue FILE CUT TILE_PX          saturation > CUT, by OpenSlide
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openslide
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

Count = Callable[[int, int, int, int], int]
"""(y, x, height, width) -> pixels found; raises where it cannot be read."""
Facts = dict[str, Any]
"""What else the file says."""


def water(path: str, green: int, nir: int) -> tuple[Count, Facts]:
    """NDWI > 0 where both bands hold data, as GDAL sees it."""
    file = rasterio.open(path)
    bands = [i for i in file.indexes if file.colorinterp[i - 1] != ColorInterp.alpha]
    chosen = [bands[green - 1], bands[nir - 1]]

    def count(y: int, x: int, height: int, width: int) -> int:
        window = Window(x, y, width, height)
        a, b = file.read(chosen, window=window).astype("float64")
        held = (file.read_masks(chosen, window=window) > 0).all(0) & np.isfinite(a) & np.isfinite(b)
        with np.errstate(all="ignore"):
            return int((((a - b) / (a + b) > 0) & held).sum())

    masked = MaskFlags.per_dataset in file.mask_flag_enums[chosen[0] - 1]
    return count, {"shape": (file.height, file.width), "masked": masked, "nodata": repr(file.nodata)}


def tissue(path: str, cut: float) -> tuple[Count, Facts]:
    """Saturation > cut on level 0, on white, where the slide is not transparent."""
    slide = openslide.OpenSlide(path)
    held = [slide.properties.get(f"openslide.bounds-{key}") for key in ("y", "x", "height", "width")]
    top, left, *shape = map(int, held) if None not in held else (0, 0, *slide.dimensions[::-1])

    def count(y: int, x: int, height: int, width: int) -> int:
        with openslide.OpenSlide(path) as slide:  # one error spoils a handle for good
            rgba = np.asarray(slide.read_region((left + x, top + y), 0, (width, height))).astype(np.int64)
        return int(((saturation(on_white(rgba)) > cut) & (rgba[..., 3] > 0)).sum())

    return count, {"shape": (shape[0], shape[1])}


def on_white(rgba: NDArray[np.int64]) -> NDArray[np.int64]:
    alpha = rgba[..., 3:]
    return (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255


def saturation(rgb: NDArray[np.int64]) -> NDArray[np.float64]:
    high = rgb.max(-1)
    return (high - rgb.min(-1)) / np.maximum(high, 1)


def parts(shape: tuple[int, int], side: int) -> Iterator[tuple[int, int, int, int]]:
    """The tiles, one after the other."""
    for y in range(0, shape[0], side):
        for x in range(0, shape[1], side):
            yield y, x, min(side, shape[0] - y), min(side, shape[1] - x)


def count_all(count: Count, shape: tuple[int, int], side: int) -> dict[str, Any]:
    """The whole at once; tile by tile where that fails."""
    try:
        return {"pixels": count(0, 0, *shape), "unreadable": 0}
    except (RasterioError, openslide.OpenSlideError) as error:
        found, bad = 0, 0
        for part in parts(shape, side):
            try:
                found += count(*part)
            except (RasterioError, openslide.OpenSlideError):
                bad += 1
        return {"pixels": found, "unreadable": bad, "error": str(error)}


class Heard(logging.Handler):
    """GDAL's complaints."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main(rule: str, path: str, *rest: str) -> None:
    heard = Heard()
    with rasterio.Env(GDAL_PNG_WHOLE_IMAGE_OPTIM=False):  # GDAL's fast path returns noise for a PNG without its end
        count, facts = water(path, int(rest[0]), int(rest[1])) if rule == "water" else tissue(path, float(rest[0]))
        logging.getLogger("rasterio").addHandler(heard)
        logging.getLogger("rasterio").setLevel(logging.WARNING)
        found = count_all(count, facts["shape"], int(rest[-1]))
    print(json.dumps(found | facts | {"heard": heard.lines[:20]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
