"""Decoding against the bare codec, OpenSlide and GDAL, on one thread."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from bench_models import TILE_PX
from bench_timing import Case, Stage

Corner = tuple[int, int]
"""(y, x) of a tile, px."""


def decode_slide(arguments: argparse.Namespace) -> Stage:
    """Dense tissue of a tiled JPEG slide, 512 px tiles, one thread; every round on a new handle, so caches are empty."""
    import openslide

    path, corners = arguments.image, dense_corners(arguments.image, arguments.side)
    segments, size = preloaded(path, corners), (TILE_PX, TILE_PX)
    cases: dict[str, Case] = {
        "openslide": (
            lambda: openslide.OpenSlide(path),
            lambda slide: [np.asarray(slide.read_region((x, y), 0, size).convert("RGB")) for y, x in corners],
        ),
        "rasterio (GDAL)": rasterio_reads(path, corners),
        "bare codec, segments in memory": lambda: [decode_jpeg(segment) for segment in segments],
        **own_reads(path, corners),
    }
    what = (
        f"Decode: {len(corners)} tiles of {TILE_PX} px of dense tissue, tiled JPEG 4:2:0, one thread, warm page cache."
    )
    return what, "MB", len(corners) * TILE_PX * TILE_PX * 3 / 1e6, cases


def decode_cog(arguments: argparse.Namespace) -> Stage:
    """The same of a COG, whose blocks are the tiles."""
    from tifffile import TiffFile

    path, corners = arguments.image, dense_corners(arguments.image, arguments.side)
    page = TiffFile(path).pages.first
    across = -(-page.imagewidth // TILE_PX)
    numbers = [y // TILE_PX * across + x // TILE_PX for y, x in corners]
    blocks = [(part_of(path, page, i), i) for i in numbers]
    cases: dict[str, Case] = {
        "bare codec, blocks in memory": lambda: [page.decode(block, i)[0] for block, i in blocks],
        "rasterio, block by block": rasterio_reads(path, corners),
        **own_reads(path, corners),
    }
    what = f"Decode: {len(corners)} blocks of {TILE_PX} px of a COG, DEFLATE with predictor, one thread."
    return what, "MB", len(corners) * TILE_PX * TILE_PX * 3 / 1e6, cases


def rasterio_reads(path: Path, corners: list[Corner]) -> Case:
    """Tile by tile; GDAL keeps blocks for all datasets of a process, so its cache is made too small for one."""
    import rasterio
    from rasterio.windows import Window

    def read(file: Any) -> None:
        with rasterio.Env(GDAL_CACHEMAX=1):
            for y, x in corners:
                file.read(window=Window(x, y, TILE_PX, TILE_PX))
        file.close()

    return lambda: rasterio.open(path), read


def part_of(path: Path, page: Any, number: int) -> bytes:
    """One segment as the file holds it."""
    with path.open("rb") as file:
        file.seek(page.dataoffsets[number])
        return file.read(page.databytecounts[number])


def dense_corners(path: Path, side: int) -> list[Corner]:
    """(y, x) of side x side neighbouring tiles with the least glass, found on a coarse plane."""
    from tiling.coarse import read_coarse
    from tiling.open import open_source
    from tiling.source import SourceSpec

    source = open_source(SourceSpec(uris=(str(path),)))
    height, width = source.info.shape_px
    coarse = read_coarse(source, 512).data.min(axis=0)
    source.close()
    rows, cols = height // TILE_PX, width // TILE_PX
    cell = coarse.shape[0] // rows
    tissue = (coarse[: rows * cell, : cols * cell] < 225).reshape(rows, cell, cols, cell).mean((1, 3))
    side = min(side, rows)
    starts = [(row, col) for row in range(rows - side + 1) for col in range(cols - side + 1)]
    best = max(starts, key=lambda at: float(tissue[at[0] : at[0] + side, at[1] : at[1] + side].sum()))
    return [((best[0] + r) * TILE_PX, (best[1] + c) * TILE_PX) for r in range(side) for c in range(side)]


def preloaded(path: Path, corners: list[Corner]) -> list[bytes]:
    """The JPEG segments under these tiles."""
    from tifffile import TiffFile

    with TiffFile(path) as tiff:
        page = tiff.pages.first
        side = page.tilewidth
        across = -(-page.imagewidth // side)
        inside = range(0, TILE_PX, side)
        numbers = [(y + dy) // side * across + (x + dx) // side for y, x in corners for dy in inside for dx in inside]
        return [part_of(path, page, i) for i in numbers]


def decode_jpeg(segment: bytes) -> Any:
    """By the fastest decoder that is installed."""
    try:
        from simplejpeg import decode_jpeg as decode
    except ImportError:
        from imagecodecs import jpeg8_decode as decode
    return decode(segment)


def own_reads(path: Path, corners: list[Corner]) -> dict[str, Case]:
    """tilegate's own source: tile by tile, and as one window."""
    from tiling.info import native_plane
    from tiling.open import open_source
    from tiling.source import SourceSpec
    from tiling.window import Window

    ys, xs = [y for y, _ in corners], [x for _, x in corners]
    whole = Window(y=min(ys), x=min(xs), height=max(ys) - min(ys) + TILE_PX, width=max(xs) - min(xs) + TILE_PX)
    tiles = [Window(y=y, x=x, height=TILE_PX, width=TILE_PX) for y, x in corners]

    def reads(windows: list[Window]) -> Case:
        def read(source: Any) -> None:
            for window in windows:
                source.read(window, native_plane(source.info))
            source.close()

        return lambda: open_source(SourceSpec(uris=(str(path),))), read

    return {"tilegate": reads(tiles), "tilegate, one window": reads([whole])}
