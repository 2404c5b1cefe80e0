"""Damage that GDAL only warns of, or does not see at all: grey or black must never stand in for pixels that are lost."""

from __future__ import annotations

import base64
import os
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.enums import Compression, Interleaving
from rasterio.errors import RasterioError
from rasterio.windows import Window as GdalWindow

from tiling.errors import BadData, BadInput, TilegateError
from tiling.raster_voice import heard_by
from tiling.window import Window

_LOST = re.compile(
    r"Corrupt JPEG data|Premature end of JPEG|Improper JPEG|does not end with EOC"
    r"|[Nn]ot enough data|lack of data|Premature EO|Line length mismatch|Bad code word",
)
"""Warnings after which libjpeg, OpenJPEG and libtiff fill what is missing with grey, black or what was there before."""
_ODD = re.compile(r"JPEGLib:|libjpeg:")
"""Whatever else libjpeg says. It tells its first warning of an image and only counts the others: a number in a header
that is merely odd hides all that is lost behind it. And its errors at the end of a block GDAL takes for success."""
_CHECKSUM_BYTES = {Compression.deflate: 4, Compression.webp: 16, Compression.zstd: 4096}
"""Bytes at the end of a block that are never all zero: a download that was cut, in a file made full-size before it, is.

Deflate ends with its checksum, but libtiff stops reading where the block is full; WebP has none. Zstandard stores what
it cannot compress as it is, with as many zeros as would not pay. The other codecs notice by themselves.
"""
_ENDS = {"JPEG": b"\xff\xd9", "JP2OpenJPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""Last bytes of formats that are one stream: what lies behind a cut cannot be told apart from what lies before."""
_END_BYTES = 2**16
_MADE_OF_FILES = frozenset({"DIMAP", "ECRGTOC", "GTI", "RPFTOC", "RS2", "SAFE", "SENTINEL2", "TIL", "VRT"})
"""Formats that only name the files their pixels are in."""
_CUT = (
    "c-r&y)MDUZU|`^8U|?isU<9%RfS3`9%>-qGR53%@>_E&0WrMIFBMX?m1;nCA;$leVh(p!P17f~r9tLJ0Jqd`LT6h@Pfb=Q`WbnZrl_ms~98hTnhW"
    "|JI-)3-T2r##CvoQ*Ab99Re4T!He(NvL_SMhcI&WR`f69*13aB~1XAi&5d$ngINgBUPy7*VWdVqgS{D+w?HLy(z;87|Jq#2~0Bl(^B*F|csr!w>&"
    "&F>ru%+B0~nT|5Z@T}Mqb"
)
"""A GeoTIFF of 16 x 16 px, one JPEG block that ends after 10 of its bytes; zlib, base 85."""
_mine = threading.local()


@contextmanager
def listening() -> Iterator[None]:
    """Raises BadData at the end when GDAL said in this thread that pixels are lost: it has no other way to tell.

    Needs all decoding in this thread (see ENVIRONMENT). Raises TilegateError where nothing would be heard.
    """
    _require_voice()
    with _losses() as losses:
        yield
    if losses:
        lost = next(filter(_LOST.search, losses), None)
        if lost is None:
            raise BadData(
                f"libjpeg stumbles and would tell of no damage after that: {losses[0]}. If the image is good, write it "
                "again without that, as gdal_translate does"
            )
        raise BadData(f"pixels are lost: {lost}")


@contextmanager
def _losses() -> Iterator[list[str]]:
    losses: list[str] = []

    def ear(message: str) -> bool:
        lost = (_LOST.search(message) or _ODD.search(message)) is not None
        if lost:
            losses.append(message)
        return lost

    with heard_by(ear):
        yield losses


def _require_voice() -> None:
    """Decode a block that is known to be cut, once in each thread. Raises TilegateError when no warning arrives.

    So with a GDAL, or a rasterio, that says it in another way than those that tilegate was written for.
    """
    if getattr(_mine, "sure", False):
        return
    with _losses() as losses, rasterio.MemoryFile(zlib.decompress(base64.b85decode(_CUT))) as memory:
        try:
            with memory.open(driver="GTiff") as image:
                image.read()
        except RasterioError as error:
            losses.append(str(error))
    if not losses:
        raise TilegateError(
            f"rasterio {rasterio.__version__} with GDAL {rasterio.__gdal_version__} read a JPEG block that is cut off "
            "without a word: damaged pixels would be measured as if they were real. Install the versions that tilegate "
            "was tested with, and make sure that nothing in this process replaces GDAL's error handler"
        )
    _mine.sure = True


def require_end(dataset: DatasetReader, path: Path) -> None:
    """Raise BadInput for a JPEG, JPEG 2000 or PNG that ends in zeros: their decoders paint those grey or black."""
    end = _ENDS.get(dataset.driver)
    if end is None:
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        tail = file.read()
    if tail.endswith(bytes(16)) and not tail.rstrip(b"\0").endswith(end):
        raise BadInput(
            f"{path} ends in zeros, not as a {dataset.driver} does: was its download cut off? Fetch it again"
        )


def require_parts(dataset: DatasetReader, indexes: Sequence[int], part: Window) -> None:
    """Raise RasterioIOError where a part of a mosaic cannot be opened.

    GDAL complains of such a file once; at later reads it returns failure without an error, which rasterio takes for
    success, and zeros. A checksum over the same pixels, which the files have in their caches by now, says it every time.
    """
    if dataset.driver in _MADE_OF_FILES:
        for index in indexes:
            dataset.checksum(index, window=gdal_window(part))


class _Block(NamedTuple):
    """One strip or tile of a GeoTIFF as it is stored."""

    rows: slice
    """Its rows within the part that is read, px."""
    cols: slice
    """Its columns within the part, px."""
    start: int | None
    """First byte in the file; None when the block is not stored at all."""
    size_bytes: int
    """Bytes in the file."""


def _blocks(dataset: DatasetReader, index: int, part: Window) -> Iterator[_Block]:
    """Blocks of band `index` that `part` touches; none for other formats, and none where GDAL invents blocks of a row.

    A single strip as large as the image is shown as one block per row, of which only the first is stored.
    """
    height, width = dataset.block_shapes[index - 1]
    if dataset.driver != "GTiff" or height == 1:
        return
    for row in range(part.y // height, (part.y_stop - 1) // height + 1):
        for col in range(part.x // width, (part.x_stop - 1) // width + 1):
            start = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=index)
            size = start and dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=index)
            y, x = row * height - part.y, col * width - part.x
            yield _Block(
                slice(max(0, y), y + height),
                slice(max(0, x), x + width),
                int(start) if start else None,
                int(size or 0),
            )


def _is_shared(dataset: DatasetReader) -> bool:
    """True when a block holds all bands."""
    return bool(dataset.interleaving == Interleaving.pixel)


def gdal_window(part: Window) -> GdalWindow:
    """The same window in rasterio's words."""
    return GdalWindow(part.x, part.y, part.width, part.height)


def drop_sparse(
    valid: NDArray[np.bool_], data: NDArray[np.generic], dataset: DatasetReader, indexes: Sequence[int], part: Window
) -> None:
    """Mark as not valid, in place, what a sparse GeoTIFF does not store: GDAL reads zeros there.

    valid: (h, w), True = data; data: (band, h, w), the bands `indexes` of `part`.
    """
    if dataset.driver != "GTiff":
        return
    for bands, index in [(data, indexes[0])] if _is_shared(dataset) else zip(data[:, None], indexes, strict=True):
        for block in _blocks(dataset, index, part):
            if block.start is None and not bands[:, block.rows, block.cols].any():
                valid[block.rows, block.cols] = False


def require_ends(dataset: DatasetReader, path: Path, indexes: Sequence[int], part: Window) -> None:
    """Raise BadData when a local file's blocks under `part` end in zeros that their codec does not write."""
    tail = _CHECKSUM_BYTES.get(dataset.compression) if dataset.driver == "GTiff" else None
    if tail is None:
        return
    with path.open("rb", buffering=0) as file:
        for index in indexes[:1] if _is_shared(dataset) else indexes:
            for block in _blocks(dataset, index, part):
                if block.start is None or block.size_bytes < tail:
                    continue
                end = block.start + block.size_bytes
                if not any(os.pread(file.fileno(), tail, end - tail)):
                    raise BadData(
                        f"its block at bytes {block.start}-{end} ends in zeros: was a download cut off there?"
                    )
