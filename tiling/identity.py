"""Which image this is, by content: a path says nothing, the same name with other bytes is another image."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tiling.address import is_remote
from tiling.coarse import read_coarse
from tiling.open import gdal_path, open_source
from tiling.source import SourceSpec

SAMPLE_PX = 256
PIECE_BYTES = 16 * 2**20
"""Of a file, hashed by one thread. Another number gives every image another identity."""
READ_BYTES = 2**20
"""Held by each thread at once."""


def image_identity(spec: SourceSpec) -> str:
    """sha256 of the image's bytes; of its header and a thumbnail where the bytes are far away (URLs).

    Local files are read whole, with the masks and overviews GDAL keeps beside them: a sha256 of each PIECE_BYTES, all
    processors at once, and one over those. Files that only point to others (VRT, MRXS) also count by their thumbnail, so
    a changed part shows unless it is smaller than the thumbnail resolves.
    """
    digest = hashlib.sha256()
    uris = [gdal_path(uri) for uri in spec.uris]
    for uri in uris:
        if not is_remote(uri):
            for path in (Path(uri), *(side for end in (".msk", ".ovr") if (side := Path(uri + end)).exists())):
                digest.update(file_digest(path))
    if any(is_remote(uri) or path_points_elsewhere(uri) for uri in uris):
        digest.update(_thumbnail(spec))
    return digest.hexdigest()


def file_digest(path: Path) -> bytes:
    """The sha256 of a file's length (8 bytes, little-endian) and of the sha256 of each of its pieces, in order."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        size = os.fstat(file.fileno()).st_size
        pieces = threads.map(partial(_piece_digest, file.fileno()), range(0, size, PIECE_BYTES))
        return hashlib.sha256(b"".join((size.to_bytes(8, "little"), *pieces))).digest()


def _piece_digest(file: int, start: int) -> bytes:
    """Of the piece that starts at byte `start`; hashing and reading let other threads work."""
    digest = hashlib.sha256()
    for at in range(start, start + PIECE_BYTES, READ_BYTES):
        digest.update(os.pread(file, READ_BYTES, at))
    return digest.digest()


def path_points_elsewhere(uri: str) -> bool:
    """True for formats whose pixels live in other files."""
    return Path(uri).suffix.lower() in {".vrt", ".mrxs", ".dcm", ".vms", ".vmu"}


def _thumbnail(spec: SourceSpec) -> bytes:
    """Header and coarse pixels as bytes."""
    source = open_source(spec)
    try:
        info = source.info
        pixels = read_coarse(source, SAMPLE_PX)
        header = repr((info.shape_px, info.bands, info.dtype, info.transform, info.crs, info.nodata))
        return header.encode() + pixels.data.tobytes() + pixels.valid.tobytes()
    finally:
        source.close()
