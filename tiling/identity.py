"""Which image this is, by content: a path says nothing, the same name with other bytes is another image."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tiling.address import is_remote
from tiling.coarse import read_coarse
from tiling.open import gdal_path, open_source
from tiling.source import SourceSpec

SAMPLE_PX = 256


def image_identity(spec: SourceSpec, content: bytes) -> str:
    """sha256 of the image's bytes; of its header and a thumbnail where the bytes are far away (URLs).

    content: see content_digests. Files that only point to others (VRT, MRXS) also count by their thumbnail, so a changed
    part shows unless it is smaller than the thumbnail resolves.
    """
    digest = hashlib.sha256(content)
    if any(is_remote(uri) or path_points_elsewhere(uri) for uri in map(gdal_path, spec.uris)):
        digest.update(_thumbnail(spec))
    return digest.hexdigest()


def content_digests(spec: SourceSpec) -> bytes:
    """sha256 of each local file and of the masks and overviews GDAL keeps beside it, 32 bytes each.

    They are read whole, about a second per gigabyte. Raises OSError.
    """
    digests = []
    for uri in map(gdal_path, spec.uris):
        if not is_remote(uri):
            for path in (Path(uri), *(side for end in (".msk", ".ovr") if (side := Path(uri + end)).exists())):
                with path.open("rb") as file:
                    digests.append(hashlib.file_digest(file, "sha256").digest())
    return b"".join(digests)


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
