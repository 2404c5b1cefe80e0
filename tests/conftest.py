"""Tiny real files: rasters written by rasterio, slides written by tifffile; and a plan to store."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from hypothesis import settings
from numpy.typing import NDArray
from rasterio.enums import Resampling

from storage.plan import RunPlan
from tiling.grid import TileGrid
from tiling.info import ImageInfo, PixelSize, plane_at
from tiling.source import SourceSpec

settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
"""10 m pixels, north-up."""

MakeRaster = Callable[..., Path]
MakeSlide = Callable[..., Path]


@pytest.fixture
def tiny_raster(tmp_path: Path) -> MakeRaster:
    """(array (band, y, x) or (y, x), georeference, …) -> path of a GeoTIFF."""

    def make(
        array: NDArray[Any],
        name: str = "raster.tif",
        *,
        transform: Affine | None = UTM,
        crs: str | None = "EPSG:32633",
        mask: NDArray[np.bool_] | None = None,
        overviews: Sequence[int] = (),
        resampling: Resampling = Resampling.average,
        descriptions: Sequence[str] = (),
        tags: dict[str, str] | None = None,
        **profile: Any,
    ) -> Path:
        """`mask`: internal, True = data. `profile`: anything else that rasterio takes, such as nodata or tiled."""
        bands = array if array.ndim == 3 else array[None]
        height, width = bands.shape[1:]
        path = tmp_path / name
        shape = {"count": len(bands), "height": height, "width": width, "dtype": bands.dtype}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with rasterio.open(path, "w", driver="GTiff", transform=transform, crs=crs, **shape, **profile) as file:
                file.write(bands)
                if mask is not None:
                    file.write_mask(mask)
                for index, description in enumerate(descriptions, start=1):
                    file.set_band_description(index, description)
                file.update_tags(**(tags or {}))
            if overviews:
                with rasterio.open(path, "r+") as file:
                    file.build_overviews(list(overviews), resampling)
        return path

    return make


@pytest.fixture
def tiny_slide(tmp_path: Path) -> MakeSlide:
    """(rgb (y, x, 3) uint8, mpp (y, x), smaller levels, …) -> path of a tiled pyramid that OpenSlide reads."""

    def make(
        rgb: NDArray[np.uint8],
        mpp: tuple[float, float] | None = (0.5, 0.5),
        levels: Sequence[NDArray[np.uint8]] = (),
        name: str = "slide.tif",
        *,
        unit: str = "CENTIMETER",
        compression: str = "deflate",
        **options: Any,
    ) -> Path:
        """`mpp`: written as resolution tags in `unit`; None writes none. `compression`: lossless unless "jpeg"."""
        um = {"CENTIMETER": 10_000, "INCH": 25_400}
        per_unit = {} if mpp is None else {"resolution": (um[unit] / mpp[1], um[unit] / mpp[0]), "resolutionunit": unit}
        path = tmp_path / name
        shared = {"tile": (64, 64), "photometric": "rgb", "compression": compression, "metadata": None} | options
        with tifffile.TiffWriter(path) as file:
            file.write(rgb, **shared, **per_unit)
            for level in levels:
                file.write(level, **shared, subfiletype=1)
        return path

    return make


@pytest.fixture
def tiny_plan() -> Callable[..., RunPlan]:
    """Changes -> a plan over a raster of 100 x 140 px, on a plane half as fine, with tiles of 16 px in batches of 2."""

    def make(**changes: Any) -> RunPlan:
        image = ImageInfo(
            uri="scene.tif",
            kind="raster",
            shape_px=(100, 140),
            bands=("green", "nir"),
            dtype="uint16",
            nodata=0.0,
            pixel_size=PixelSize(y=10, x=10, unit="m"),
            transform=UTM,
            crs="EPSG:32633",
        )
        plan = RunPlan(
            name="water",
            source=SourceSpec(uris=("scene.tif",), bands=(("green", 2), ("nir", "B08"))),
            identity="5e" * 32,
            image=image,
            fine=plane_at(image, 2),
            grid=TileGrid(shape_px=(50, 70), tile_px=16, halo_px=4, batch_tiles=2),
            gate_tile_px=4,
            classes=("water", "ice"),
            models={"gate": {"name": "ndwi", "sha256": "aa"}, "segmenter": {"name": "ndwi", "sha256": "bb"}},
            recipe={"name": "water", "gate": {"threshold": 0.1, "positive": []}},
        )
        return replace(plan, **changes)

    return make


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A real S3 server on loopback, without buckets.

    A process of its own: rasterio keeps the GIL while it opens a URL, so a thread here could never answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/moto-api/")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def wait_for(url: str) -> None:
    for _ in range(150):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"no server at {url}")
