"""From the numbers in a file to reflectance: scale and offset of each band, and who said so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput

Whence = Literal["file", "recipe", "file and recipe"]
Stated = float | Mapping[str, float] | None
"""What a person says: one number for all bands, or one for each by its name; None = nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiometry:
    """value = number * scale + offset, as GDAL and STAC's raster extension define scale and offset."""

    scale: tuple[float, ...]
    """Of each band, in order."""
    offset: tuple[float, ...]
    """Of each band, in the units of the value, not of the number."""
    whence: Whence = "file"
    """Who said so: the file's tags, or the recipe."""

    def reflectance(self, raw: NDArray[np.generic], bands: Sequence[int]) -> NDArray[np.float32]:
        """(…, band, h, w) numbers of some bands, by position -> float32, never below 0.

        Computed in float64 and rounded once, so that two encodings of one value give the same float32. Below 0 is noise
        (dark water, shadow): an index over a negative sum means nothing, and before baseline 04.00 Sentinel-2 wrote 0.
        """
        scale, offset = (np.array(each)[list(bands), None, None] for each in (self.scale, self.offset))
        return np.asarray(np.maximum(raw.astype(np.float64) * scale + offset, 0), np.float32)


def radiometry_of(scale: Sequence[float], offset: Sequence[float]) -> Radiometry | None:
    """What a file's bands are tagged with; None where no tag changes anything."""
    if all(value == 1 for value in scale) and all(value == 0 for value in offset):
        return None
    return Radiometry(scale=tuple(map(float, scale)), offset=tuple(map(float, offset)))


def stated(own: Radiometry | None, bands: Sequence[str], scale: Stated, offset: Stated) -> Radiometry | None:
    """The file's own, with what a person says instead. Raises BadInput for bands that are not among `bands`."""
    if scale is None and offset is None:
        return own
    scales = _of_each("image.scale", bands, scale, own.scale if own else (1.0,) * len(bands))
    offsets = _of_each("image.offset", bands, offset, own.offset if own else (0.0,) * len(bands))
    whole = own is None or (_says_all(bands, scale) and _says_all(bands, offset))
    return Radiometry(scale=scales, offset=offsets, whence="recipe" if whole else "file and recipe")


def require_possible(radiometry: Radiometry, bands: Sequence[str], dtype: str, uri: str) -> None:
    """Raise BadInput where no pixel could reflect anything: most likely an offset in the numbers of the file."""
    kind = np.dtype(dtype)
    highest = math.inf if kind.kind == "f" else float(np.iinfo(kind).max)
    for band, scale, offset in zip(bands, radiometry.scale, radiometry.offset, strict=True):
        if not (0 < scale < math.inf and math.isfinite(offset) and highest * scale + offset > 0):
            raise BadInput(
                f"{uri}, band {band}: scale {scale:g} and offset {offset:g} (by {radiometry.whence}) leave no reflectance "
                f"above 0 in {dtype}. Sentinel-2's offset of -1000 over 10000 is image.scale = 0.0001 with image.offset = "
                '-0.1; image.radiometry = "raw" takes the numbers as they are.'
            )


def _says_all(bands: Sequence[str], said: Stated) -> bool:
    return isinstance(said, float | int) or (said is not None and set(bands) <= set(said))


def _of_each(key: str, bands: Sequence[str], said: Stated, own: Sequence[float]) -> tuple[float, ...]:
    if said is None:
        return tuple(own)
    if not isinstance(said, Mapping):
        return (float(said),) * len(bands)
    unknown = [name for name in said if name not in bands]
    if unknown:
        raise BadInput(f"{key} names band {', '.join(unknown)}; those that are read are {', '.join(bands)}")
    return tuple(float(said.get(name, value)) for name, value in zip(bands, own, strict=True))


def to_json(radiometry: Radiometry) -> dict[str, Any]:
    """As plain JSON."""
    return {"scale": list(radiometry.scale), "offset": list(radiometry.offset), "whence": radiometry.whence}


def from_json(plain: Mapping[str, Any]) -> Radiometry:
    """The same back. Raises KeyError or TypeError on anything else."""
    return Radiometry(scale=tuple(plain["scale"]), offset=tuple(plain["offset"]), whence=plain["whence"])
