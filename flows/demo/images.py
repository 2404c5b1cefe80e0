"""The pictures `tilegate demo` works on, made on the spot: a satellite scene and a stained slide, with their truth."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import tifffile
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window
from scipy.ndimage import map_coordinates
from skimage.color import hdx_from_rgb, rgb_from_hdx, separate_stains
from skimage.data import immunohistochemistry

from flows.demo.landscape import BLOCK_PX, COARSE_PX, Bytes, Land, blobs, enlarge, fractal

SCENE_BANDS = ("blue", "green", "red", "nir")
SCENE_PIXEL_M = 10.0
SLIDE_MPP = 0.5
DAB_CUT_OD = 0.25  # fills the brown glands of the picture and leaves the blue nuclei between them out


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTruth:
    """What there is to find in a scene."""

    water_px: int
    """Pixels of water: valid, and NDWI = (green - nir) / (green + nir) > 0."""
    valid_px: int
    """Pixels that hold data."""
    pixel_area_m2: float
    """Planar area of one pixel, m2."""
    water_area_m2: float
    """water_px * pixel_area_m2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideTruth:
    """What there is to find on a slide."""

    path: Path
    """The slide."""
    mpp: float
    """Side of a full size pixel, um."""
    dab_px: int
    """Full size pixels whose DAB amount is above DAB_CUT_OD, counted by scikit-image in the stored file."""


def make_scene(path: Path, truth_path: Path, side_px: int = 8192, seed: int = 7) -> SceneTruth:
    """Paint a landscape in July: a COG of lakes, a river, woods, fields and villages, and the mask of its water.

    COG: uint8 SCENE_BANDS, EPSG:3035 (it keeps areas, so the truth is a product), nodata 0 outside the swath, averaged
    overviews; DN is 255 * sqrt(reflectance / 0.5), the root so that it can be looked at as it is. Mask: uint8, 1 =
    water: NDWI > 0 in a valid pixel.
    """
    profile = {"driver": "GTiff", "width": side_px, "height": side_px, "dtype": "uint8", "crs": "EPSG:3035"}
    profile |= {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "photometric": "MINISBLACK"}
    profile["transform"] = Affine(SCENE_PIXEL_M, 0, 4_400_000, 0, -SCENE_PIXEL_M, 3_300_000)
    with rasterio.Env(GDAL_CACHEMAX=256 * 2**20), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        plain = Path(scratch) / "scene.tif"
        with (
            rasterio.open(plain, "w", count=4, nodata=0, alpha="NO", **profile) as scene,
            rasterio.open(truth_path, "w", count=1, compress="deflate", **profile) as mask,
        ):
            scene.descriptions, mask.descriptions = SCENE_BANDS, ("water",)
            scene.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
            water_px, valid_px = _paint(Land(np.random.default_rng(seed), side_px), scene, mask)
            factors = [2**k for k in range(1, 16) if side_px >> k >= min(512, side_px // 2)]
            scene.build_overviews(factors, Resampling.average)  # here: 6 times quicker than inside the COG driver
        copy_raster(plain, path, driver="COG", blocksize=BLOCK_PX, compress="DEFLATE", level=1, predictor="YES")
    area = SCENE_PIXEL_M**2
    return SceneTruth(water_px=water_px, valid_px=valid_px, pixel_area_m2=area, water_area_m2=water_px * area)


def _paint(land: Land, scene: rasterio.io.DatasetWriter, mask: rasterio.io.DatasetWriter) -> tuple[int, int]:
    """Write both, block by block; returns (pixels of water, valid pixels)."""
    water_px = valid_px = 0
    for y, x in np.ndindex(-(-land.side // BLOCK_PX), -(-land.side // BLOCK_PX)):
        dn, water, valid = land.block(y * BLOCK_PX, x * BLOCK_PX)
        where = Window(x * BLOCK_PX, y * BLOCK_PX, water.shape[1], water.shape[0])
        scene.write(dn, window=where)
        mask.write(water.astype(np.uint8), 1, window=where)
        water_px, valid_px = water_px + int(water.sum()), valid_px + int(valid.sum())
    return water_px, valid_px


def make_slide(path: Path, side_px: int = 4096) -> SlideTruth:
    """Lay tissue on glass: a pyramidal TIFF that OpenSlide opens as generic-tiff (JPEG tiles of 256 px, levels halve).

    The tissue is the picture of colonic glands (FHL2 in brown DAB, nuclei in blue haematoxylin) that ships with
    scikit-image, warped and mirrored. Its true pixel size is stated nowhere: SLIDE_MPP is the demo's declaration.
    """
    level, mpp = _lay_tissue(side_px), SLIDE_MPP
    with tifffile.TiffWriter(path) as slide:
        while len(level) >= min(512, side_px):
            slide.write(
                level, tile=(256, 256), photometric="rgb", compression="jpeg", compressionargs={"level": 90},
                subfiletype=int(mpp > SLIDE_MPP), resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
                metadata=None, software="tilegate demo")  # fmt: skip
            half = len(level) // 2
            quads = level[: 2 * half, : 2 * half].reshape(half, 2, half, 2, 3)
            level, mpp = quads.mean((1, 3), np.float32).round().astype(np.uint8), mpp * 2
    return SlideTruth(path=path, mpp=SLIDE_MPP, dab_px=_count_dab(path))


def _lay_tissue(side: int) -> Bytes:
    """(side, side, 3) RGB: three ragged pieces with soft edges on white glass, 28 % of it (lumens included)."""
    rng = np.random.default_rng(5)
    picture = immunohistochemistry().astype(np.float32)  # type: ignore[no-untyped-call]
    coarse = -(-side // BLOCK_PX) * (BLOCK_PX // COARSE_PX)
    sites, radii = np.array([(0.3, 0.3), (0.6, 0.68), (0.8, 0.27)]), np.array([0.22, 0.24, 0.1])
    warp = (side / 50 * fractal(rng, coarse, 3.0) for _ in range(2))
    maps = np.stack([blobs(rng, coarse, sites, radii, 0.28, ragged=0.15), *warp])
    maps = np.pad(maps, ((0, 0), (2, 2), (2, 2)), mode="edge")
    slide = 243 + 0.7 * rng.standard_normal((side, side, 3), np.float32)
    for y in range(0, side, BLOCK_PX):
        inside, down, right = enlarge(maps[:, y // COARSE_PX :][:, : BLOCK_PX // COARSE_PX + 4])[:, : side - y, :side]
        rows, cols = np.nonzero(inside > 0)
        cover = np.minimum(inside[rows, cols] / 3, 1)[:, None]
        at = 0.9 * (y + rows) + 0.4 * cols + down[rows, cols], 0.9 * cols - 0.4 * (y + rows) + right[rows, cols]
        tissue = np.stack([map_coordinates(picture[..., c], at, order=1, mode="mirror") for c in range(3)], axis=-1)
        slide[y + rows, cols] += cover * (tissue - slide[y + rows, cols])
    return slide.round().astype(np.uint8)


def _count_dab(path: Path) -> int:
    """Pixels above DAB_CUT_OD, unmixed by scikit-image in the full size level as it reads back.

    scikit-image unmixes log(I) / log(1e-6), a sixth of the OD, and by rows of stain colours not quite of unit length.
    """
    pixels, od = np.maximum(tifffile.imread(path, level=0), 1), 6 * np.linalg.norm(rgb_from_hdx[1])
    strips = (separate_stains(pixels[y : y + BLOCK_PX], hdx_from_rgb) for y in range(0, len(pixels), BLOCK_PX))
    return sum(int((strip[..., 1] * od > DAB_CUT_OD).sum()) for strip in strips)
