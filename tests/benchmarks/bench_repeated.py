"""Slides of any size whose tiles all point to the few JPEG segments of one patch: huge to read, small on disk."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from bench_images import BLOCK_PX, MPP_UM, make_scene, paint
from numpy.typing import NDArray

PATCH_PX, SEGMENT_PX, SMALLEST_PX = 4096, 256, 512
SHORT, LONG, RATIONAL, LONG8 = 3, 4, 5, 16
PACKED = {SHORT: "<u2", LONG: "<u4", RATIONAL: "<u4", LONG8: "<u8"}
Pool = NDArray[np.uint64]
"""(k, k, 2): offset and length of the segments of one level."""


def repeated_slide(folder: Path, size_px: int) -> Path:
    """A pyramid by 2 of PATCH_PX repeated to size_px a side; written when it is not there yet."""
    path = folder / f"repeated-{size_px}.tif"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        half_made = path.with_suffix(".part")
        with half_made.open("wb") as file:
            write(file, patch(), size_px)
        half_made.rename(path)
    return path


def patch() -> NDArray[np.uint8]:
    """(PATCH_PX, PATCH_PX, 3) of a scene."""
    scene = make_scene(PATCH_PX, seed=3)
    painted = np.empty((PATCH_PX, PATCH_PX, 3), np.uint8)
    for y in range(0, PATCH_PX, BLOCK_PX):
        for x in range(0, PATCH_PX, BLOCK_PX):
            painted[y : y + BLOCK_PX, x : x + BLOCK_PX] = paint(scene, y, x)[0]
    return painted


def write(file: BinaryIO, level: NDArray[np.uint8], size_px: int) -> None:
    """A BigTIFF: header, segments of all levels, then one directory per level."""
    file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
    sides = [size_px]
    while sides[-1] > SMALLEST_PX:
        sides.append(sides[-1] // 2)
    pools = []
    for _ in sides:
        pools.append(write_segments(file, level))
        level = halved(level)
    link = 8  # where the offset of the next directory belongs
    for number, (side, pool) in enumerate(zip(sides, pools, strict=True)):
        link = write_directory(file, link, directory(side, pool, size_px / side, first=number == 0))


def halved(level: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """By area average; at least 2 px stay."""
    if level.shape[0] <= 2:
        return level
    wide = level.astype(np.uint16)
    return ((wide[0::2, 0::2] + wide[1::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 1::2] + 2) >> 2).astype(np.uint8)


def write_segments(file: BinaryIO, level: NDArray[np.uint8]) -> Pool:
    """JPEG quality 85, 4:2:0, of one period of the level, or of one segment that holds several."""
    from imagecodecs import jpeg8_encode

    repeats = max(1, SEGMENT_PX // level.shape[0])
    period = np.tile(level, (repeats, repeats, 1))
    k = period.shape[0] // SEGMENT_PX
    pool = np.zeros((k, k, 2), np.uint64)
    for row in range(k):
        for col in range(k):
            y, x = row * SEGMENT_PX, col * SEGMENT_PX
            colours = np.ascontiguousarray(period[y : y + SEGMENT_PX, x : x + SEGMENT_PX])
            segment = jpeg8_encode(colours, level=85, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")
            pool[row, col] = file.tell(), len(segment)
            file.write(segment)
    return pool


def directory(side: int, pool: Pool, downsample: float, *, first: bool) -> dict[int, tuple[int, NDArray[np.generic]]]:
    """{tag: (type, values)} of one level, in the order of the tags."""
    around = np.arange(-(-side // SEGMENT_PX)) % pool.shape[0]
    places = pool[around][:, around].reshape(-1, 2)
    per_cm = round(1e4 / (MPP_UM * downsample) * 1000)
    plain: dict[int, tuple[int, object]] = {
        254: (LONG, 0 if first else 1),  # NewSubfileType
        256: (LONG, side),
        257: (LONG, side),
        258: (SHORT, (8, 8, 8)),
        259: (SHORT, 7),  # JPEG
        262: (SHORT, 6),  # YCbCr
        277: (SHORT, 3),
        282: (RATIONAL, (per_cm, 1000)),
        283: (RATIONAL, (per_cm, 1000)),
        284: (SHORT, 1),
        296: (SHORT, 3),  # centimetres
        322: (LONG, SEGMENT_PX),
        323: (LONG, SEGMENT_PX),
        324: (LONG8, places[:, 0]),
        325: (LONG, places[:, 1]),
        530: (SHORT, (2, 2)),  # chroma subsampling
    }
    return {
        tag: (kind, np.atleast_1d(np.asarray(values)).astype(PACKED[kind])) for tag, (kind, values) in plain.items()
    }


def write_directory(file: BinaryIO, link: int, tags: dict[int, tuple[int, NDArray[np.generic]]]) -> int:
    """Long values first, then the entries; returns where the offset of the next directory belongs."""
    entries = b""
    for tag, (kind, values) in tags.items():
        data = values.tobytes()
        if len(data) > 8:
            place = file.seek(0, 2)
            file.write(data)
            data = struct.pack("<Q", place)
        entries += struct.pack("<HHQ8s", tag, kind, len(values) // (2 if kind == RATIONAL else 1), data)
    start = file.seek(0, 2)
    file.write(struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0))
    file.seek(link)
    file.write(struct.pack("<Q", start))
    return start + 8 + len(entries)
