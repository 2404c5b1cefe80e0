"""Synthetic images with known nuclei: a slide (tiled JPEG pyramid) and a COG of the same pixels. Seeded, made once.

Content: tissue with a band-limited texture and dark nuclei beside bare, unevenly lit glass, with sensor noise, so that
codecs and models have real work. It is painted block by block; memory does not grow with the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 2048
TISSUE_SHARE = 0.6
MPP_UM, GROUND_M = 0.25, 0.5
GLASS, PINK, PURPLE = (np.array(c, np.float32) for c in ((242, 240, 243), (222, 160, 196), (105, 70, 150)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """All that the pixels of an image follow from."""

    size_px: int
    """Side of the image."""
    field: NDArray[np.float32]
    """(257, 257) over the whole image; tissue where it is above 0."""
    texture: NDArray[np.float32]
    """(BLOCK_PX, BLOCK_PX), about unit variance."""
    noise: NDArray[np.float32]
    """(BLOCK_PX, BLOCK_PX), unit variance, white."""
    seed: int
    """Of the blocks."""


def make_scene(size_px: int, seed: int = 7) -> Scene:
    """The scene of one seed."""
    rng = np.random.default_rng(seed)
    field = octave(rng, 257, 6) + 0.5 * octave(rng, 257, 14)
    texture = 0.5 * octave(rng, BLOCK_PX, 12) + 0.35 * octave(rng, BLOCK_PX, 60) + 0.25 * octave(rng, BLOCK_PX, 240)
    noise = rng.standard_normal((BLOCK_PX, BLOCK_PX), dtype=np.float32)
    cut = np.float32(np.quantile(field, 1 - TISSUE_SHARE))
    return Scene(size_px=size_px, field=field - cut, texture=texture, noise=noise, seed=seed)


def octave(rng: np.random.Generator, side: int, cells: int) -> NDArray[np.float32]:
    """(side, side) smooth noise with about `cells` bumps along a side."""
    from scipy.ndimage import zoom

    coarse = rng.standard_normal((cells + 3, cells + 3))
    fine = zoom(coarse, side / (cells + 1), order=3)
    return np.asarray(fine[:side, :side], np.float32)


def paint(scene: Scene, y: int, x: int, side: int = BLOCK_PX) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """((h, w, 3) colours, (h, w) True = nucleus) of the block at (y, x), a multiple of BLOCK_PX; clipped to the image."""
    height, width = min(side, scene.size_px - y), min(side, scene.size_px - x)
    rng = np.random.default_rng((scene.seed, y, x))
    level = bilinear(scene, y, x, height, width)
    tissue = level > 0
    shift = tuple(rng.integers(0, BLOCK_PX, 2))
    texture = np.roll(scene.texture, shift, (0, 1))[:height, :width]
    noise = np.roll(scene.noise, shift[::-1], (0, 1))[:height, :width]
    strength = stamp_nuclei(rng, height, width)
    strength[~tissue] = 0
    colour = np.where(tissue[..., None], PINK + 22 * texture[..., None], GLASS + 6 * np.clip(level, -2, 0)[..., None])
    colour += (PURPLE - colour) * (0.9 * strength[..., None]) + (noise * np.where(tissue, 5.0, 1.2))[..., None]
    return np.clip(colour, 0, 255).astype(np.uint8), strength > 0


def stamp_nuclei(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """(h, w) 0 outside nuclei, 0.7 to 1 inside; one per 1,600 px, discs of 7 px radius."""
    radius = 7
    count = height * width // 1600
    strength = np.zeros((height, width), np.float32)
    if min(height, width) <= 2 * radius:
        return strength
    centre_y = rng.integers(radius, height - radius, count)
    centre_x = rng.integers(radius, width - radius, count)
    dy, dx = np.nonzero(np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius)
    rows, cols = centre_y[:, None] + dy - radius, centre_x[:, None] + dx - radius
    strength[rows, cols] = rng.uniform(0.7, 1.0, count).astype(np.float32)[:, None]
    return strength


def bilinear(scene: Scene, y: int, x: int, height: int, width: int) -> NDArray[np.float32]:
    """(h, w) of the scene's field."""
    cells = scene.field.shape[0] - 1
    at_y = np.minimum((np.arange(y, y + height) + 0.5) * (cells / scene.size_px), cells - 1e-3)
    at_x = np.minimum((np.arange(x, x + width) + 0.5) * (cells / scene.size_px), cells - 1e-3)
    row, col = at_y.astype(int), at_x.astype(int)
    part_y, part_x = (at_y - row)[:, None].astype(np.float32), (at_x - col)[None].astype(np.float32)
    top = scene.field[row][:, col] * (1 - part_x) + scene.field[row][:, col + 1] * part_x
    bottom = scene.field[row + 1][:, col] * (1 - part_x) + scene.field[row + 1][:, col + 1] * part_x
    return np.asarray(top * (1 - part_y) + bottom * part_y, np.float32)


def blocks(size_px: int) -> list[tuple[int, int]]:
    """(y, x) of every block of an image."""
    return [(y, x) for y in range(0, size_px, BLOCK_PX) for x in range(0, size_px, BLOCK_PX)]


def make_images(folder: Path, size_px: int) -> dict[str, Path]:
    """{"slide": …, "cog": …}; painted when they are not there yet."""
    slide, cog = folder / f"slide-{size_px}.tif", folder / f"cog-{size_px}.tif"
    if not (slide.exists() and cog.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        with painted(folder, size_px) as pixels:
            write_slide(pixels, slide)
            write_cog(pixels, cog)
    return {"slide": slide, "cog": cog}


@contextmanager
def painted(folder: Path, size_px: int) -> Iterator[NDArray[np.uint8]]:
    """(y, x, 3) of the whole scene in a temporary file."""
    scene, path = make_scene(size_px), folder / f"painted-{size_px}.npy"
    try:
        pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(size_px, size_px, 3))
        for y, x in blocks(size_px):
            colours, _ = paint(scene, y, x)
            pixels[y : y + colours.shape[0], x : x + colours.shape[1]] = colours
        yield pixels
    finally:
        path.unlink(missing_ok=True)


def write_slide(pixels: NDArray[np.uint8], path: Path) -> None:
    """A pyramid by 2 of 256 px JPEG tiles, quality 85, 4:2:0, that states its mpp."""
    import tifffile

    half_made = path.with_suffix(".part")
    shared = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    scratch: list[Path] = []
    with tifffile.TiffWriter(half_made, bigtiff=True) as file:
        level = pixels
        while True:
            per_cm = 1e4 / (MPP_UM * pixels.shape[1] / level.shape[1])
            file.write(
                level,
                **shared,
                compressionargs={"level": 85},
                subsampling=(2, 2),
                subfiletype=1 if scratch else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
            )
            if min(level.shape[:2]) <= 512:
                break
            scratch.append(path.with_suffix(f".level{len(scratch) + 1}.npy"))
            level = halved(level, scratch[-1])
    for left in scratch:
        left.unlink()
    half_made.rename(path)


def halved(level: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """(y, x, 3) by area average, in a file."""
    height, width = level.shape[0] // 2, level.shape[1] // 2
    half = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(height, width, 3))
    for y in range(0, height, 512):
        rows = level[2 * y : 2 * min(y + 512, height), : 2 * width].astype(np.uint16)
        half[y : y + 512] = (rows[0::2, 0::2] + rows[1::2, 0::2] + rows[0::2, 1::2] + rows[1::2, 1::2] + 2) >> 2
    return half


def write_cog(pixels: NDArray[np.uint8], path: Path) -> None:
    """RGB orthophoto: DEFLATE with predictor, blocks of 512 px, averaged overviews, EPSG:32633, 0.5 m."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    size, plain = pixels.shape[0], path.with_suffix(".plain.tif")
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_400_000, GROUND_M, GROUND_M)}
    blocked = {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel", "BIGTIFF": "YES"}
    with rasterio.open(plain, "w", **profile, **place, **blocked) as file:
        for y, x in blocks(size):
            part = pixels[y : y + BLOCK_PX, x : x + BLOCK_PX]
            file.write(part.transpose(2, 0, 1), window=Window(x, y, part.shape[1], part.shape[0]))
        file.descriptions = ("red", "green", "blue")
    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": 512, "OVERVIEW_RESAMPLING": "AVERAGE"}
    half_made = path.with_suffix(".part")
    copy(plain, half_made, driver="COG", NUM_THREADS="ALL_CPUS", BIGTIFF="IF_SAFER", **options)
    plain.unlink()
    half_made.rename(path)
