"""Rasters through rasterio: GeoTIFF, COG, VRT, bands in separate files, local or remote."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from tiling.address import is_remote
from tiling.errors import BadData, BadInput
from tiling.info import ImageInfo, Plane
from tiling.raster_damage import drop_sparse, gdal_window, listening, require_end, require_ends, require_parts
from tiling.raster_gdal import ENVIRONMENT, open_image
from tiling.raster_info import info_of, name_bands, require_companions, require_one_grid, require_small_blocks
from tiling.raster_remote import closing, patiently, reading
from tiling.source import Pixels, Source, SourceSpec, nearest_finer, read_level
from tiling.window import Window

warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # refused in our own words, with what to do


@dataclass(slots=True)
class _File:
    """One raster file and its overviews, each opened when first needed."""

    uri: str
    base: rasterio.DatasetReader
    levels: dict[int, rasterio.DatasetReader] = field(default_factory=dict)

    def at(self, level: int) -> rasterio.DatasetReader:
        """The dataset at a level; 0 = native, i = overview i - 1. One that was closed is opened again."""
        if level == 0:
            if self.base.closed:
                self.base = open_image(self.uri)
            return self.base
        if level not in self.levels or self.levels[level].closed:
            self.levels[level] = open_image(self.uri, overview_level=level - 1)
        return self.levels[level]

    def path(self, level: int) -> Path | None:
        """The local file that holds the blocks of a level, or None for a remote one."""
        side = Path(f"{self.uri}.ovr")
        return None if is_remote(self.uri) else side if level and side.exists() else Path(self.uri)

    def forget(self, level: int) -> None:
        """Empty GDAL's cache: after a failure or a warning it would give the block out as good the next time."""
        (self.levels.get(level) or self.base).close()

    def close(self) -> None:
        for dataset in (self.base, *self.levels.values()):
            dataset.close()


class RasterSource:
    """One image of one or several rasters on the same grid."""

    def __init__(self, spec: SourceSpec) -> None:
        """Open the files and read their headers. Raises BadInput when they are not one usable image."""
        self._files: list[_File] = []
        self._uris, self._nodata = spec.uris, spec.nodata
        with _gdal(spec.uri):
            try:
                patiently(spec.uris, lambda: self._hear_headers(spec), self.close)
            except BaseException:
                self.close()
                raise

    def _hear_headers(self, spec: SourceSpec) -> None:
        """As _read_headers. Raises BadData where a decoder that starts at once, as that of JPEG files, already warns."""
        with listening():
            self._read_headers(spec)

    def _read_headers(self, spec: SourceSpec) -> None:
        """All that is known before a pixel is read. Raises BadInput, or what GDAL and the network say."""
        self._files = [_File(uri, _open(uri)) for uri in spec.uris]
        datasets = [file.base for file in self._files]
        require_one_grid(datasets, spec.uris)
        for file in self._files:
            require_companions(file.base, file.uri)
        self._bands = name_bands(datasets, spec)
        self._info = info_of(datasets, self._bands, spec)
        self._shapes = _level_shapes(self._files)
        self._scales = [(self._shapes[0][0] / height, self._shapes[0][1] / width) for height, width in self._shapes]

    @property
    def info(self) -> ImageInfo:
        """See Source."""
        return self._info

    def read(self, window: Window, plane: Plane) -> Pixels:
        """See Source. A pixel is valid where every band that is read holds data."""
        level = nearest_finer(self._scales, plane, self._info.uri)
        read = partial(self._read, level=level)
        return read_level(read, self._shapes[level], self._scales[level], window, plane)

    def close(self) -> None:
        """See Source."""
        with closing(self._uris):
            for file in self._files:
                file.close()

    def _read(self, part: Window, level: int) -> Pixels:
        where = f"{self._info.uri} rows {part.y}-{part.y_stop} columns {part.x}-{part.x_stop}"
        with rasterio.Env(**ENVIRONMENT):
            try:
                return patiently(self._uris, lambda: self._listen(part, level), lambda: self._forget(level))
            except (RasterioError, RasterioIOError, BadData) as error:
                why = error.__cause__ or error
                raise BadData(f"{where}{f' of overview {level}' if level else ''} cannot be read: {why}") from error

    def _listen(self, part: Window, level: int) -> Pixels:
        with listening():
            return self._read_files(part, level)

    def _read_files(self, part: Window, level: int) -> Pixels:
        """The bands of all files. Raises BadData or RasterioError."""
        data = np.empty((len(self._bands), *part.shape_px), self._info.dtype)
        valid = np.ones(part.shape_px, bool)
        for number, file in enumerate(self._files):
            places = [i for i, band in enumerate(self._bands) if band.file == number]
            if not places:
                continue
            indexes, dataset = [self._bands[i].index for i in places], file.at(level)
            with reading(self._uris):
                data[places] = _read_bands(dataset, indexes, part)
                require_parts(dataset, indexes, part)
                valid &= self._valid(dataset, indexes, data[places], part)
                drop_sparse(valid, data[places], dataset, indexes, part)
            path = file.path(level)
            if path is not None:
                require_ends(dataset, path, indexes, part)
        return Pixels(data, valid)

    def _forget(self, level: int) -> None:
        with closing(self._uris):
            for file in self._files:
                file.forget(level)

    def _valid(
        self, dataset: rasterio.DatasetReader, indexes: list[int], data: NDArray[np.generic], part: Window
    ) -> NDArray[np.bool_]:
        """(h, w), True where all of `indexes` hold data: by value, mask or alpha."""
        valid = np.isfinite(data).all(0) if data.dtype.kind == "f" else np.ones(data.shape[1:], bool)
        for band, index in zip(data, indexes, strict=True):
            flags = dataset.mask_flag_enums[index - 1]
            own = dataset.nodatavals[index - 1] if MaskFlags.nodata in flags else None
            nodata = own if self._nodata is None else self._nodata
            if nodata is not None:
                valid &= band != nodata
            if own is None and MaskFlags.all_valid not in flags:  # mask, alpha, or a colour (NODATA_VALUES)
                valid &= dataset.read_masks(index, window=gdal_window(part)) > 0
        return valid


def _read_bands(dataset: rasterio.DatasetReader, indexes: list[int], part: Window) -> NDArray[np.generic]:
    return np.asarray(dataset.read(indexes, window=gdal_window(part)))


def _open(uri: str) -> rasterio.DatasetReader:
    dataset = open_image(uri)
    if dataset.count == 0:
        names = ", ".join(dataset.subdatasets[:4]) or "none"
        raise BadInput(f"{uri} holds no bands of its own; open one of its subdatasets: {names}")
    if not is_remote(uri):
        require_end(dataset, Path(uri))
    return dataset


def _level_shapes(files: list[_File]) -> list[tuple[int, int]]:
    """(height, width) px of the levels, fine to coarse; up to the first overview that differs in size between files."""
    counts = {len(file.base.overviews(1)) for file in files}
    for file in files:
        for level in range(min(counts) + 1):
            require_small_blocks(file.at(level), file.uri)
    shapes = [[file.at(level).shape for file in files] for level in range(min(counts) + 1)]
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, shapes)]


def codecs() -> list[str]:
    """Compressions of GeoTIFF that write and read back here, tried on a small image in memory."""
    return [name for name in ("DEFLATE", "LZW", "ZSTD", "LERC", "JPEG", "WEBP") if _survives(name)]


def _survives(codec: str) -> bool:
    pixels = np.full((3, 64, 64), 77, np.uint8)
    profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint8", "compress": codec}
    try:
        with rasterio.MemoryFile() as memory:
            with memory.open(**profile, crs="EPSG:6933", transform=rasterio.Affine(1, 0, 9, 0, -1, 9)) as file:
                file.write(pixels)
            with memory.open() as file:
                return bool(np.abs(file.read().astype(int) - 77).max() <= 2)  # two of them are lossy
    except RasterioError:
        return False


@contextmanager
def _gdal(uri: str) -> Iterator[None]:
    """GDAL's settings around an opening, and its complaints in our words."""
    try:
        with rasterio.Env(**ENVIRONMENT):
            yield
    except (RasterioError, RasterioIOError, BadData) as error:
        raise BadInput(
            f"{uri} cannot be opened as an image: {error}. Is it complete, and a format that GDAL or OpenSlide reads?"
        ) from error


_: type[Source] = RasterSource
