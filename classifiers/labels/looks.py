"""What most images of a set look like, so that those that look otherwise are told apart instead of mixed in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

from classifiers.bundle_contract import Bundle
from classifiers.labels.items import require_usable
from classifiers.labels.sample import Skipped
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize, Plane, native_plane
from tiling.open import open_source
from tiling.radiometry import Radiometry
from tiling.source import Source, SourceSpec

PROBED = 200
"""Images whose headers are read to know what most look like."""
THREADS = 4
"""That read files."""
MOST_OFF = 1.25
"""Factor by which an image's pixels may be larger or smaller than those of most."""
MOST_UNEVEN = 0.1
"""How far a bundle's pixels may be from a whole number of the file's, to be read as that number."""
PICTURE_PX = 4096
"""Images with a longer side are rasters, not pictures with a palette."""
DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Of pixels that a model can be made for."""
_UNKNOWN = PixelSize(y=1, x=1, unit="m")
"""Only to find out whether a file can be opened once its pixel size is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the images of a set are opened and on which plane they are read: the same way as in a run."""

    bands: tuple[tuple[str, int | str], ...] = ()
    """As SourceSpec.bands."""
    pixel_size: PixelSize | None = None
    """As SourceSpec.pixel_size."""
    nodata: float | None = None
    """As SourceSpec.nodata."""
    downsample: float = 1.0
    """Pixels of the file along one side of a pixel of a tile."""

    def open(self, uris: Sequence[str]) -> Source:
        """Raises BadInput."""
        spec = SourceSpec(uris=tuple(uris), bands=self.bands, nodata=self.nodata, pixel_size=self.pixel_size)
        return open_source(spec)

    def plane(self, info: ImageInfo) -> Plane:
        """The plane that tiles are cut on; its last row and column may reach over the image."""
        if self.downsample == 1:
            return native_plane(info)
        height, width = (math.ceil(side / self.downsample) for side in info.shape_px)
        return native_plane(info).coarser((height, width), self.downsample)


class Look(NamedTuple):
    """What an image says of itself."""

    bands: tuple[str, ...]
    """Names, in order."""
    dtype: str
    """numpy's name."""
    shape_px: tuple[int, int]
    """(height, width), px of the file."""
    pixel_size: PixelSize
    """Of the file."""
    uri: str = ""
    """Which image it is, or one of those that look like this."""
    radiometry: Radiometry | None = None
    """As ImageInfo.radiometry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commonest:
    """What most images are, and so what all of them have to be."""

    opening: Opening
    """Settled."""
    look: Look
    """shape_px: the commonest one. pixel_size: the median."""
    notes: tuple[str, ...] = ()
    """What was assumed."""

    @property
    def pixel_size(self) -> PixelSize:
        """Of the tiles."""
        return self.look.pixel_size.times((self.opening.downsample, self.opening.downsample))

    def misfit(self, info: ImageInfo) -> str:
        """Why an image can not be among the others; empty when it can."""
        look, size = self.look, info.pixel_size
        if info.bands != look.bands:
            palette = " (numbers of the colours of a palette)" if _has_palette(info.uri, info.shape_px) else ""
            return f"its bands are {', '.join(info.bands)}{palette}, those of most images {', '.join(look.bands)}"
        if info.dtype != look.dtype:
            return f"it holds {info.dtype} values, most images {look.dtype}: the same number means another brightness"
        if info.radiometry != look.radiometry:
            return "its scales and offsets are not those of most images: the same number means another brightness"
        factor = size.mean / look.pixel_size.mean
        if size.unit != look.pixel_size.unit or not 1 / MOST_OFF <= factor <= MOST_OFF:
            return f"its pixels are {size.text}, those of most images {look.pixel_size.text}"
        return ""


def commonest(images: Sequence[tuple[str, ...]], settings: DataSettings, default: Bundle | None) -> Commonest:
    """Look at some of the images. Raises BadInput: none can be opened, no pixel size is known, other bands are needed."""
    size = settings.pixel_size and PixelSize(y=settings.pixel_size, x=settings.pixel_size, unit=settings.unit)
    opening = Opening(
        bands=settings.bands, pixel_size=size or None, nodata=settings.nodata, downsample=settings.downsample
    )
    some = images[:: max(1, math.ceil(len(images) / PROBED))]
    looks, failed = _looks(some, opening)
    notes: list[str] = []
    if not looks:
        opening = replace(opening, pixel_size=_missing_size(some, failed, opening, default))
        looks, failed = _looks(some, opening)
        if default is not None:
            notes.append(
                f"The files state no pixel size: that of {default.name}, {default.pixel_size.text}, was assumed."
            )
    if not looks:
        require_usable(0, failed, "images", "not one of those that were tried can be opened")
    most, _ = Counter((look.bands, look.dtype, look.radiometry) for look in looks).most_common(1)[0]
    alike = [look for look in looks if (look.bands, look.dtype, look.radiometry) == most]
    _refuse_useless(alike[0])
    found = Commonest(opening=opening, look=_middle(alike), notes=tuple(notes))
    return found if default is None else _as_bundle(found, settings, default)


def _looks(images: Iterable[tuple[str, ...]], opening: Opening) -> tuple[list[Look], list[Skipped]]:
    with ThreadPoolExecutor(THREADS) as pool:
        seen = list(pool.map(lambda uris: _look(uris, opening), images))
    return [look for look in seen if isinstance(look, Look)], [why for why in seen if isinstance(why, Skipped)]


def _look(uris: tuple[str, ...], opening: Opening) -> Look | Skipped:
    try:
        source = opening.open(uris)
    except BadInput as error:
        return Skipped(name=uris[0], why=str(error))
    try:
        info = source.info
        return Look(info.bands, info.dtype, info.shape_px, info.pixel_size, uris[0], info.radiometry)
    finally:
        source.close()


def _refuse_useless(look: Look) -> None:
    """Raise BadInput for values no model takes, and for numbers of colours: neighbours in number are none in colour."""
    if look.dtype not in DTYPES:
        raise BadInput(
            f"{look.uri} and most other images hold {look.dtype} values; a model takes {', '.join(DTYPES)}. Convert them "
            "to the smallest that holds all values (gdal_translate -ot)"
        )
    if look.bands == ("band1",) and _has_palette(look.uri, look.shape_px):
        raise BadInput(f"{look.uri} has a palette: its pixels are numbers of colours. Convert the images to RGB first")


def _has_palette(uri: str, shape_px: tuple[int, int]) -> bool:
    """Of a picture; a raster with a table of colours is none."""
    from PIL import Image, UnidentifiedImageError

    if max(shape_px) > PICTURE_PX:
        return False
    try:
        with Image.open(uri) as image:
            return image.mode == "P"
    except (UnidentifiedImageError, OSError):
        return False


def _missing_size(
    images: Sequence[tuple[str, ...]], failed: Sequence[Skipped], opening: Opening, default: Bundle | None
) -> PixelSize | None:
    """The bundle's pixel size where a size is all that the files lack. Raises BadInput where nobody knows it."""
    if opening.pixel_size is not None or not _looks(images, replace(opening, pixel_size=_UNKNOWN))[0]:
        return opening.pixel_size
    if default is not None:
        return default.pixel_size
    raise BadInput(
        f"the images state no pixel size that can be used, and a model is valid for some only: give the side of a pixel "
        "as data.pixel_size, with data.unit m (ground) or um (glass), such as --set data.pixel_size=10; or assign the "
        f"files a coordinate system. The first of them is {failed[0].name}"
    )


def _middle(looks: Sequence[Look]) -> Look:
    """One look for all: the commonest shape, and of the pixels the median one, which some image has."""
    shape, _ = Counter(look.shape_px for look in looks).most_common(1)[0]
    unit, _ = Counter(look.pixel_size.unit for look in looks).most_common(1)[0]
    sizes = sorted((look.pixel_size for look in looks if look.pixel_size.unit == unit), key=lambda size: size.mean)
    return looks[0]._replace(shape_px=shape, pixel_size=sizes[(len(sizes) - 1) // 2])


def _as_bundle(found: Commonest, settings: DataSettings, default: Bundle) -> Commonest:
    """Bands and plane as a bundle needs them, where the settings say nothing. Raises BadInput for other bands."""
    opening, notes = found.opening, list(found.notes)
    if not settings.bands and found.look.bands != default.bands:
        bands, note = _bands_for(found.look.bands, default)
        opening = replace(opening, bands=bands)
        notes += [note] if note else []
    own, wanted = found.look.pixel_size, default.pixel_size
    factor = wanted.mean / own.mean
    if settings.downsample == 1 and own.unit == wanted.unit and factor > 1 / default.pixel_size_range[0]:
        whole = round(factor)
        factor = whole if abs(factor / whole - 1) < MOST_UNEVEN else factor
        opening = replace(opening, downsample=factor)
        notes.append(f"The images were read {factor:.3g} times coarser, for the {wanted.text} of {default.name}.")
    look = found.look._replace(bands=default.bands) if opening.bands and not settings.bands else found.look
    return Commonest(opening=opening, look=look, notes=tuple(notes))


def _bands_for(bands: tuple[str, ...], default: Bundle) -> tuple[tuple[tuple[str, int | str], ...], str]:
    """(SourceSpec.bands, note): by name, else by place where the file has no names for them."""
    if set(default.bands) <= set(bands):
        return tuple((name, name) for name in default.bands), ""
    numbered = all(name.removeprefix("band").isdecimal() for name in bands)
    if numbered and len(bands) == len(default.bands):
        chosen = tuple((name, number) for number, name in enumerate(default.bands, start=1))
        return chosen, f"The bands have no names: they were taken for {', '.join(default.bands)}, in that order."
    raise BadInput(
        f"{default.name} needs the bands {', '.join(default.bands)}; those of most images are {', '.join(bands)}. Say which "
        f"is which as data.bands, for instance [[{default.bands[0]!r}, 1]]"
    )
