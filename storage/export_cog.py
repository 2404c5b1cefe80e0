"""A mask as a cloud-optimised GeoTIFF, written block by block."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tiling.info import PixelSize
from tiling.window import Window

NODATA = 255
"""What was not observed."""
BLOCK_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskImage:
    """What a GeoTIFF says of a mask beside its pixels."""

    shape_px: tuple[int, int]
    """(height, width)."""
    transform: Affine | None
    """Pixel edges (x, y) to the CRS."""
    crs: str | None
    """WKT."""
    glass_size: PixelSize | None
    """Of slides: um per pixel, told in the resolution tags; None for others."""
    classes: tuple[str, ...]
    """Names of labels 1, 2, …"""
    colours: tuple[tuple[int, int, int], ...]
    """RGB of labels 1, 2, …"""
    tags: dict[str, str]
    """Of the dataset: where it comes from."""


def write_cog(path: Path, image: MaskImage, blocks: Iterable[tuple[Window, NDArray[np.uint8]]], block_px: int) -> None:
    """Deflate, blocks of 512 px, overviews by the most frequent label, nodata 255.

    GDAL's COG driver copies a whole dataset, so the blocks go into a plain GeoTIFF beside `path` first. block_px: side
    of the blocks given, so that each is written there once.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.shutil import copy

    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # slides are on no map
    plain = path.with_name(f"{path.stem}.plain.tif")
    side = block_px if block_px % 16 == 0 else BLOCK_PX
    height, width = image.shape_px
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": height, "width": width, "nodata": NODATA}
    georeference = {} if image.transform is None else {"transform": image.transform, "crs": image.crs}
    layout = {"tiled": True, "blockxsize": side, "blockysize": side, "compress": "deflate", "zlevel": 1}
    with rasterio.open(plain, "w", **profile, **georeference, **layout, bigtiff="if_safer") as file:
        _describe(file, image)
        for window, labels in blocks:
            file.write(labels, 1, window=((window.y, window.y_stop), (window.x, window.x_stop)))
    made = {"COMPRESS": "DEFLATE", "BLOCKSIZE": str(BLOCK_PX), "BIGTIFF": "IF_SAFER", "OVERVIEW_RESAMPLING": "MODE"}
    copy(plain, path, driver="COG", **made)
    plain.unlink()


def _describe(writer: Any, image: MaskImage) -> None:
    """Names, colours and resolution. writer: a rasterio dataset."""
    names = {"0": "background, or kept out by the gate", str(NODATA): "not observed"}
    names |= {str(label): name for label, name in enumerate(image.classes, start=1)}
    colours = {0: (0, 0, 0, 0), NODATA: (0, 0, 0, 0)}
    colours |= {label: (*colour, 255) for label, colour in enumerate(image.colours, start=1)}
    writer.write_colormap(1, colours)
    writer.set_band_description(1, "class")
    writer.update_tags(1, **{f"label_{label}": name for label, name in names.items()})
    writer.update_tags(**image.tags, **_resolution(image.glass_size))


def _resolution(size: PixelSize | None) -> dict[str, str]:
    """Pixels per centimetre (TIFF 6.0, tags 282, 283, 296)."""
    if size is None:
        return {}
    return {
        "TIFFTAG_XRESOLUTION": repr(1e4 / size.x),
        "TIFFTAG_YRESOLUTION": repr(1e4 / size.y),
        "TIFFTAG_RESOLUTIONUNIT": "3 (pixels/cm)",
    }
