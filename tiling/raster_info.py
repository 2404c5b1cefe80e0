"""What raster headers say: band names, one grid, nodata, CRS and pixel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from pyproj import CRS
from rasterio import DatasetReader
from rasterio.enums import ColorInterp, Interleaving, MaskFlags

from tiling.address import is_remote
from tiling.dates import RASTER, ImageDate, date_in, one_date
from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize
from tiling.planar_area import ground_pixel_size
from tiling.radiometry import radiometry_of
from tiling.source import MAX_BLOCK_BYTES, SourceSpec

NAMED_COLOURS = {
    ColorInterp.red: "red",
    ColorInterp.green: "green",
    ColorInterp.blue: "blue",
    ColorInterp.gray: "grey",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Where one band of the image lives."""

    name: str
    """As the models call it."""
    file: int
    """Index into the files of the source."""
    index: int
    """1-based band index in that file."""


def require_one_grid(datasets: Sequence[DatasetReader], uris: Sequence[str]) -> None:
    """Raise BadInput unless all files share size, transform and CRS: together they are one image."""
    first = datasets[0]
    for uri, other in zip(uris[1:], datasets[1:], strict=True):
        for what in ("shape", "transform", "crs"):
            ours, theirs = getattr(first, what), getattr(other, what)
            same = ours.almost_equals(theirs, 1e-9) if what == "transform" else ours == theirs
            if not same:
                raise BadInput(
                    f"{uris[0]} and {uri} are not bands of one image: {what} {ours!r} against {theirs!r}. "
                    "Warp them to one grid first (gdalwarp -te … -tr …)."
                )


def require_small_blocks(dataset: DatasetReader, uri: str) -> None:
    """Raise BadInput for tiles or strips that decode to more than MAX_BLOCK_BYTES: a few kilobytes can hold gigabytes."""
    # of a JPEG 2000 with a broken header GDAL never answers how its bands lie
    shared = dataset.driver != "GTiff" or dataset.interleaving == Interleaving.pixel
    bands = dataset.count if shared else 1
    for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        size = height * width * bands * np.dtype(dtype).itemsize
        if size > MAX_BLOCK_BYTES:
            raise BadInput(
                f"{uri} is stored in blocks of {height:,} x {width:,} px, {size / 2**30:.3g} GiB each when decoded; at "
                f"most {MAX_BLOCK_BYTES / 2**30:g} GiB are taken. If the file is to be trusted, store it in smaller "
                "ones: gdal_translate -of COG IN OUT"
            )


def require_companions(dataset: DatasetReader, uri: str) -> None:
    """Raise BadInput when a mask or metadata lie beside the file and are damaged: GDAL would go on without a word."""
    if is_remote(uri):
        return
    mask, metadata = Path(uri + ".msk"), Path(uri + ".aux.xml")
    unmasked = {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}
    if mask.exists() and unmasked & set(dataset.mask_flag_enums[0]):
        raise BadInput(f"{mask} lies beside the image and cannot be read as its mask: mend it, or move it away")
    try:
        if metadata.exists():
            ET.parse(metadata)  # noqa: S314 (expat bounds what entities expand to)
    except (ET.ParseError, OSError, ValueError) as error:
        raise BadInput(
            f"{metadata} lies beside the image and is damaged ({error}): mend it, or move it away"
        ) from error


def name_bands(datasets: Sequence[DatasetReader], spec: SourceSpec) -> tuple[Band, ...]:
    """Every band with a name: as the spec says, else by description, colour or file name. Alpha is no band."""
    own = [
        Band(name=_own_name(dataset, index, uri, len(datasets)), file=number, index=index)
        for number, (dataset, uri) in enumerate(zip(datasets, spec.uris, strict=True))
        for index in dataset.indexes
        if dataset.colorinterp[index - 1] != ColorInterp.alpha
    ]
    if not spec.bands:
        return tuple(own)
    return tuple(_pick(own, name, want, spec.uri) for name, want in spec.bands)


def _pick(own: list[Band], name: str, want: int | str, uri: str) -> Band:
    found = [
        band
        for number, band in enumerate(own, start=1)
        if (number == want if isinstance(want, int) else band.name.lower() == want.lower())
    ]
    if not found:
        names = ", ".join(f"{number}={band.name}" for number, band in enumerate(own, start=1))
        raise BadInput(f"--bands {name}={want}: {uri} has no band {want}; it has {names}")
    return Band(name=name, file=found[0].file, index=found[0].index)


def _own_name(dataset: DatasetReader, index: int, uri: str, files: int) -> str:
    """A band's name in lower case: a colour, its description, the stem of a file with one band, or its number."""
    colour = dataset.colorinterp[index - 1]
    if colour in NAMED_COLOURS and not (colour == ColorInterp.gray and (dataset.count > 1 or files > 1)):
        return NAMED_COLOURS[colour]
    description = dataset.descriptions[index - 1]
    if description:
        return str(description).lower()
    if dataset.count == 1 and files > 1:
        return PurePosixPath(uri).stem.lower()
    return f"band{index}"


def _require_nodata(nodata: float | None, dtype: np.dtype[Any], uri: str) -> None:
    """Raise BadInput for a value that no pixel can have: what it was to hide would count as data."""
    if nodata is None or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if not (float(nodata).is_integer() and limits.min <= nodata <= limits.max):
        raise BadInput(
            f"{uri} holds {dtype} pixels, from {limits.min} to {limits.max}: none of them can be nodata {nodata:g}, so "
            "all would count as data. Give the value that the file really uses, such as 0 or 255."
        )


def info_of(datasets: Sequence[DatasetReader], bands: Sequence[Band], spec: SourceSpec) -> ImageInfo:
    """The image the files make together. Raises BadInput when its pixels have no known size."""
    first = datasets[0]
    crs, size = _place(first, spec)
    used = [datasets[band.file] for band in bands]
    dtype = np.result_type(*(d.dtypes[b.index - 1] for d, b in zip(used, bands, strict=True)))
    if dtype.kind not in "uif":
        raise BadInput(f"{spec.uri} holds {dtype} pixels; only integers and floats can be gated")
    _require_nodata(spec.nodata, dtype, spec.uri)
    own = [d.nodatavals[b.index - 1] for d, b in zip(used, bands, strict=True)]
    nodata = spec.nodata if spec.nodata is not None else own[0] if len(set(map(repr, own))) == 1 else None  # NaN != NaN
    masked = any(MaskFlags.all_valid not in d.mask_flag_enums[b.index - 1] for d, b in zip(used, bands, strict=True))
    sparse = any(dataset.driver == "GTiff" for dataset in used)  # may be: to know it, every block would be asked
    return ImageInfo(
        uri=spec.uri,
        kind="slide" if size.unit == "um" else "raster",
        shape_px=(first.height, first.width),
        bands=tuple(band.name for band in bands),
        dtype=str(dtype),
        nodata=nodata,
        pixel_size=size,
        transform=first.transform if crs else None,
        crs=crs,
        may_hide_data=sparse or masked or nodata is not None or dtype.kind == "f",
        may_lack_pixels=masked or nodata is not None or dtype.kind == "f",
        reader="gdal",
        radiometry=radiometry_of(
            [d.scales[b.index - 1] for d, b in zip(used, bands, strict=True)],
            [d.offsets[b.index - 1] for d, b in zip(used, bands, strict=True)],
        ),
        date=one_date(_date(datasets[number], spec.uris[number]) for number in {band.file for band in bands}),
    )


def _date(dataset: DatasetReader, uri: str) -> ImageDate | None:
    """By the file's own tags, and by the metadata that lie beside a local one."""
    beside = {} if is_remote(uri) else dataset.tags(ns="IMAGERY")  # GDAL would ask a server for twenty names
    return date_in({**dataset.tags(), **beside}, RASTER)


def _place(dataset: DatasetReader, spec: SourceSpec) -> tuple[str | None, PixelSize]:
    """(CRS as WKT, pixel size): the CRS is dropped where a pixel size is given by hand."""
    if spec.pixel_size is not None:
        return None, spec.pixel_size
    if dataset.crs is None:
        gcps, _ = dataset.gcps
        what = f"only {len(gcps)} ground control points" if gcps else "no coordinate system"
        advice = "warp it first (gdalwarp -tps IN OUT)" if gcps else "assign one (gdal_edit.py -a_srs EPSG:…)"
        raise BadInput(
            f"{spec.uri} has {what}, so its pixels have no known area: {advice}, or give the size of a pixel: "
            "--pixel-size METRES for ground, --mpp MICROMETRES for glass"
        )
    if dataset.transform.is_degenerate or dataset.transform.is_identity:
        raise BadInput(f"{spec.uri} has a CRS but no geotransform; give --pixel-size METRES")
    crs = CRS.from_user_input(dataset.crs)
    shape = (dataset.height, dataset.width)
    return dataset.crs.to_wkt(), ground_pixel_size(dataset.transform, crs, shape, spec.uri)
