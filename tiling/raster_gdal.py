"""How GDAL is set up: bounded memory, patient with networks, deaf to files that want more than to be read."""

from __future__ import annotations

import os
from functools import cache

import rasterio
from rasterio.env import ensure_env_with_credentials
from rasterio.io import DatasetReader

from tiling.address import is_remote
from tiling.raster_remote import open_patiently

NETWORK = frozenset({"DAAS", "EEDA", "EEDAI", "HTTP", "PLMOSAIC", "STACIT", "STACTA", "WCS", "WMS", "WMTS"})
"""Formats that are services: a few lines of XML or JSON make GDAL ask any server, as this machine."""
ODD = frozenset({"DERIVED", "GNMDatabase", "GNMFile", "KMLSUPEROVERLAY", "MEM", "MRF", "OSM", "PDF"})
"""No files of pixels, or files that make GDAL do more than decode: MRF writes a cache, KML follows links."""

os.environ["GDAL_SKIP"] = " ".join(sorted({*os.environ.get("GDAL_SKIP", "").split(), *NETWORK}))
# ^ read once, when GDAL registers its formats: so a VRT cannot name a service, either. MEM is needed inside GDAL.

ENVIRONMENT = {
    "GDAL_CACHEMAX": 96 * 2**20,
    # ^ bytes, whatever GDAL's own manual says: rasterio hands the number on as such, and text is refused. Without it
    # every window decodes again each block that it shares with its neighbours. The default is 5 % of the machine
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 0.1,
    # ^ of one request, after 429, 500, 502-504 and timeouts; GDAL asks each range in three ways. tiling/raster_remote.py waits
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_LOW_SPEED_TIME": 6,
    # ^ s without a byte: an answer that stalls is no answer
    "CPL_VSIL_CURL_NON_CACHED": "/vsi",
    # ^ a file that is opened again is asked for again: half a header, or a failure, would be remembered for ever
    "VSI_CACHE": True,
    # ^ remote headers are read once, not once per block
    "GDAL_NUM_THREADS": 1,
    # ^ a warning of lost pixels is heard only in the thread that reads; tiles are read in parallel anyway
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    # ^ the fast path skips the checksums of PNG
    "GDAL_VRT_ENABLE_PYTHON": False,
    "GDAL_MEM_ENABLE_OPEN": False,
    # ^ a VRT may carry no code, and no address in memory
}
"""GDAL's options around every opening and reading."""


@cache
def drivers() -> frozenset[str]:
    """Short names of the formats this GDAL knows."""
    with rasterio.Env() as env:
        return frozenset(env.drivers())


@cache
def formats() -> list[str]:
    """Those of them that an image may be in."""
    return sorted(drivers() - NETWORK - ODD)


_reader = ensure_env_with_credentials(DatasetReader)


def open_image(uri: str, **options: int) -> DatasetReader:
    """As rasterio.open, which takes one format or all, never some. Raises RasterioIOError.

    Behind an address with a query, GDAL looks for no masks and overviews beside the file: it would append `.msk` to the
    query, and a server that does not mind answers with the image itself.
    """
    alone = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"} if is_remote(uri) and "?" in uri else {}
    with rasterio.Env(**alone):
        return open_patiently(uri, lambda: _reader(uri, driver=formats(), **options))
