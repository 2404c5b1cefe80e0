"""The pictures `tilegate demo` works on, made on the spot: a satellite scene and a stained slide, each with its truth."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import tifffile
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window
from scipy.ndimage import distance_transform_edt, map_coordinates
from skimage.color import hdx_from_rgb, rgb_from_hdx, separate_stains
from skimage.data import immunohistochemistry
from skimage.graph import route_through_array

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SCENE_BANDS = ("blue", "green", "red", "nir")
SCENE_PIXEL_M = 10.0
SLIDE_MPP = 0.5
DAB_CUT_OD = 0.25
_BLOCK, _COARSE = 512, 4  # px of a block; px of the image per px of the smooth maps it is painted from
# surface reflectance in percent (blue, green, red, nir), of the order that Sentinel-2 sees in July
_CONIFER, _BROADLEAF, _HEATH, _TOWN, _TRACK = range(5)
_SPECTRA = [(2.2, 3.8, 2.4, 20), (2.4, 5.2, 2.7, 34), (5.4, 7.8, 8.6, 20), (9.5, 11, 12, 19), (8, 10.5, 12, 22)]
_CROPS = [(3.4, 7.4, 3.8, 40), (3.8, 8.2, 5.2, 35), (5.8, 10.8, 11.5, 30), (6.4, 12, 14.5, 30), (4.8, 7.4, 9.8, 17)]
_DEEP, _SHALLOW = (3.4, 2.7, 1.2, 0.6), (4.6, 5.2, 2.8, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTruth:
    """What there is to find in a scene, counted while it was painted."""

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
    """What there is to find on a slide, counted by scikit-image in the stored pixels."""

    path: Path
    """The slide."""
    mpp: float
    """Side of a pixel, um."""
    dab_px: int
    """Pixels of the full size level whose DAB amount is above DAB_CUT_OD."""


def make_scene(path: Path, truth_path: Path, side_px: int = 8192, seed: int = 7) -> SceneTruth:
    """Paint a July scene of lakes, a river, forest, fields and villages: a COG, and its water mask beside it.

    The COG: uint8 (blue, green, red, nir), 10 m, EPSG:32633, nodata 0 outside the swath, averaged overviews;
    DN = 255 * sqrt(reflectance / 0.5), the square root so that it can be looked at as it is. The mask: uint8, 1 = water,
    equal to NDWI > 0 in every valid pixel.
    """
    world = _World(np.random.default_rng(seed), side_px)
    profile = {"driver": "GTiff", "width": side_px, "height": side_px, "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "photometric": "MINISBLACK"}
    profile |= {"transform": Affine(SCENE_PIXEL_M, 0, 360_000, 0, -SCENE_PIXEL_M, 5_900_000)}
    with rasterio.Env(GDAL_CACHEMAX=256), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        plain = Path(scratch) / "scene.tif"
        with (
            rasterio.open(plain, "w", count=4, nodata=0, alpha="NO", **profile) as scene,
            rasterio.open(truth_path, "w", count=1, compress="deflate", **profile) as mask,
        ):
            scene.descriptions, mask.descriptions = SCENE_BANDS, ("water",)
            scene.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
            water_px, valid_px = _paint(world, scene, mask)
            scene.build_overviews([2**k for k in range(1, 16) if side_px >> k >= min(512, side_px // 2)], Resampling.average)
        copy_raster(plain, path, driver="COG", blocksize=_BLOCK, compress="DEFLATE", level=1, predictor="YES")
    area = SCENE_PIXEL_M**2
    return SceneTruth(water_px=water_px, valid_px=valid_px, pixel_area_m2=area, water_area_m2=water_px * area)


def _paint(world: _World, scene: rasterio.io.DatasetWriter, mask: rasterio.io.DatasetWriter) -> tuple[int, int]:
    """Block by block; returns (pixels of water, valid pixels)."""
    water_px = valid_px = 0
    for y in range(0, world.side, _BLOCK):
        for x in range(0, world.side, _BLOCK):
            bands, water, valid = world.block(y, x)
            where = Window(x, y, water.shape[1], water.shape[0])
            scene.write(bands, window=where)
            mask.write(water.astype(np.uint8), 1, window=where)
            water_px, valid_px = water_px + int(water.sum()), valid_px + int(valid.sum())
    return water_px, valid_px


class _World:
    """Smooth maps of a landscape at a quarter of its resolution, painted block by block with finer detail."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        """side: px of the square scene."""
        self.rng, self.side = rng, side
        coarse = -(-side // _BLOCK) * (_BLOCK // _COARSE)
        self._maps = np.pad(_landscape(rng, coarse), ((0, 0), (2, 2), (2, 2)), mode="edge")
        self._noise = rng.normal(0, 0.9, 2**22).astype(np.float32)
        self._grain = _fractal(rng, 3 * _BLOCK, 0.7, lowest=3 * _BLOCK / 24)
        cells = max(2, side // 640)
        corner = np.stack(np.mgrid[:cells, :cells], axis=-1).reshape(-1, 2)
        self._villages = ((corner + rng.uniform(0.15, 0.85, corner.shape)) * side / cells).astype(np.float32)
        angle = rng.uniform(0, np.pi / 2, len(corner))
        self._parish = np.stack(
            [np.cos(angle), np.sin(angle), rng.uniform(14, 34, len(angle)), rng.uniform(30, 80, len(angle)),
             rng.gamma(2.0, 11.0, len(angle))]).astype(np.float32)  # fmt: skip
        self._crop = rng.choice(len(_CROPS), 4096, p=[0.24, 0.26, 0.18, 0.2, 0.12]).astype(np.uint8) + np.uint8(5)
        self._light = rng.normal(1, 0.09, 4096).astype(np.float32)

    def block(self, y: int, x: int) -> tuple[Bytes, NDArray[np.bool_], NDArray[np.bool_]]:
        """The block whose corner is (y, x): DN (4, h, w), water (h, w), valid (h, w)."""
        rows, cols = np.arange(y, min(y + _BLOCK, self.side)), np.arange(x, min(x + _BLOCK, self.side))
        cut = self._maps[:, y // _COARSE :, x // _COARSE :][:, : _BLOCK // _COARSE + 4, : _BLOCK // _COARSE + 4]
        depth, wood, tint, relief, heath = _enlarge(cut)[:, : len(rows), : len(cols)]
        grain = self._grain[np.ix_(rows % len(self._grain), cols % len(self._grain))]
        kind, light = self._fields(rows, cols, grain)
        wooded = (wood + 0.1 * grain > 0) & (kind != _TOWN)
        kind[wooded] = np.where((tint + 0.4 * grain)[wooded] > 0, _BROADLEAF, _CONIFER)
        kind[heath + 0.15 * grain > 0] = _HEATH
        light = np.where(wooded, 1 + 0.1 * grain, light) * (1 + relief) * (1 + 0.04 * tint)
        water = depth + 0.5 * grain > 0
        valid = cols[None, :] > 0.13 * self.side - 0.2 * rows[:, None]
        return self._sense(kind, light, np.maximum(depth, 0), water, valid), water & valid, valid

    def _fields(self, rows: NDArray[np.intp], cols: NDArray[np.intp], grain: Floats) -> tuple[Bytes, Floats]:
        """Parcels, tracks and villages: kind (h, w), brightness (h, w). Each parish has its own direction."""
        y, x = rows[:, None].astype(np.float32), cols[None, :].astype(np.float32)
        own = np.zeros((len(rows), len(cols)), np.intp)
        first, second = (np.full(own.shape, 1e12, np.float32) for _ in range(2))
        near = np.hypot(*(self._villages - (rows.mean(), cols.mean())).T).argsort()[:9]
        for k in near:
            far = (y - self._villages[k, 0]) ** 2 + (x - self._villages[k, 1]) ** 2
            np.copyto(own, k, where=far < first)
            second = np.minimum(second, np.maximum(first, far))
            first = np.minimum(first, far)
        cos, sin, width, length, radius = (row[own] for row in self._parish)
        u, v = (x * cos + y * sin) / width, (y * cos - x * sin) / length
        strip = np.floor(u).astype(np.int32)
        v = v * self._light[strip * 31 & 4095] ** 4 + self._light[strip & 4095] * 9
        lot = (strip * 7919 + np.floor(v).astype(np.int32) * 104729 + own.astype(np.int32) * 613) & 4095
        kind, light = self._crop[lot], self._light[lot] * (1 + 0.03 * grain)
        kind[((u - strip) * width < 1.3) | ((v - np.floor(v)) * length < 1.1)] = _BROADLEAF
        kind[second - first < 1500] = _TRACK
        kind[(first < (radius * (1 + 0.3 * grain)) ** 2) & (np.abs(grain) > 0.35)] = _TOWN
        return kind, light

    def _sense(
        self, kind: Bytes, light: Floats, depth: Floats, water: NDArray[np.bool_], valid: NDArray[np.bool_]
    ) -> Bytes:
        """DN (4, h, w) with noise, held to the sign of NDWI that `water` claims; 0 where not valid."""
        clear = np.exp(-depth / 12)
        dn = np.zeros((4, *kind.shape), np.uint8)
        noise = self._noise[self.rng.integers(2**22 - dn.size) :][: dn.size].reshape(dn.shape)
        for band, spectrum in enumerate(np.array(_SPECTRA + _CROPS, np.float32).T):
            wet = _DEEP[band] + (_SHALLOW[band] - _DEEP[band]) * clear
            percent = np.where(water, wet, spectrum[kind] * light)
            dn[band] = np.clip(np.rint(255 * np.sqrt(percent / 50) + noise[band]), 2, 254)
        _, green, _, nir = dn
        nir[:] = np.where(water, np.minimum(nir, green - 1), np.maximum(nir, green + 1))
        return dn * valid


def _landscape(rng: np.random.Generator, side: int) -> Floats:
    """Maps (5, side, side): depth of water and woodiness (> 0 where there is), tint, relief, heath (> 0 where)."""
    districts = max(1, side // 700)
    height, tint = _fractal(rng, side, 1.8, max(2, side / 500)), _fractal(rng, side, 1.2)
    sites = np.repeat(rng.uniform(0.2, 0.8, (districts, 2)), 5, axis=0) + rng.normal(0, 0.09, (5 * districts, 2))
    depth = _blobs(rng, side, sites, rng.uniform(0.02, 0.06, len(sites)) / districts**0.5, 0.055, 0.6)
    river = _river(height + tint, np.unravel_index(depth.argmax(), depth.shape))
    slope = -sum(np.gradient(height))
    relief = 0.4 * np.tanh(slope / slope.std() / 2) * np.clip(height / 2 + 0.5, 0.1, 1)
    wood = 0.8 * height + _fractal(rng, side, 1.1, max(2, side / 250)) + 1.5 * np.exp(-river / 12) - 0.35
    heath = height + 0.3 * tint - 2.2
    return np.stack([np.maximum(depth, 2 - river), wood, tint, relief, heath]).astype(np.float32)


def _river(cost: Floats, start: tuple[np.intp, ...]) -> Floats:
    """(side, side): px to a river that runs from `start` through low `cost` to the lower border."""
    hard = np.exp(1.2 * cost[::8, ::8])
    path = route_through_array(hard, [int(i) // 8 for i in start], (len(hard) - 1, int(hard[-1].argmin())))[0]
    box = np.full(9, (len(cost) - 1) / (len(hard) - 1) / 9)
    padded = (np.pad(axis, 4, mode="reflect", reflect_type="odd") for axis in np.array(path).T)
    smooth = [np.convolve(axis, box, "valid").clip(0, len(cost) - 1) for axis in padded]
    steps = np.arange(0, len(path) - 1, 1 / 16)
    dry = np.ones(cost.shape, bool)
    dry[tuple(np.interp(steps, np.arange(len(path)), axis).astype(np.intp) for axis in smooth)] = False
    return np.asarray(distance_transform_edt(dry), np.float32)


def _blobs(rng: np.random.Generator, side: int, sites: Floats, radii: Floats, share: float, ragged: float) -> Floats:
    """(side, side): about the distance to the shore in px, positive inside ragged blobs that cover `share`.

    sites: (n, 2) centres, and radii (n), as fractions of the side.
    """
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    inside = np.max([r - np.hypot(y - a, x - b) for (a, b), r in zip(sites, radii, strict=True)], axis=0)
    inside += ragged * float(np.mean(radii)) * _fractal(rng, side, 1.7, lowest=6)
    return np.asarray((inside - np.quantile(inside, 1 - share)) * side, np.float32)


def _fractal(rng: np.random.Generator, side: int, slope: float, lowest: float = 2.0) -> Floats:
    """Noise (side, side) of mean 0 and deviation 1 that wraps around; amplitude ~ frequency ** -slope.

    lowest: cycles per side under which there is nothing.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32))
    cycles = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * side
    spectrum *= np.where(cycles < lowest, 0, np.maximum(cycles, 1) ** -slope)
    field = np.fft.irfft2(spectrum, (side, side))
    return np.asarray(field / field.std(), np.float32)


def _enlarge(maps: Floats) -> Floats:
    """(n, h + 4, w + 4), padded by 2 -> (n, 4 h, 4 w) by cubic B-spline; no BLAS, whose threads cost more here."""
    for _ in range(2):
        maps = np.swapaxes(maps, 1, 2)
        far = np.abs((np.arange(_COARSE)[:, None] + 0.5) / _COARSE + 1.5 - np.arange(5))
        weights = np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(2 - far, 0) ** 3 / 6).astype(np.float32)
        size = maps.shape[2] - 4
        phases = [sum(w[k] * maps[..., k : k + size] for k in range(5)) for w in weights]
        maps = np.stack(phases, axis=-1).reshape(*maps.shape[:2], -1)
    return maps


def make_slide(path: Path, side_px: int = 4096) -> SlideTruth:
    """Lay tissue on glass: a pyramidal TIFF that OpenSlide opens as generic-tiff (JPEG tiles of 256 px, levels halving).

    The tissue is the picture of colonic glands (FHL2 in brown DAB, nuclei in blue haematoxylin) that scikit-image
    carries, warped and mirrored into three pieces. Its true pixel size is stated nowhere: SLIDE_MPP is a declaration.
    """
    level, mpp = _lay_tissue(side_px), SLIDE_MPP
    with tifffile.TiffWriter(path) as slide:
        while level.shape[0] >= min(512, side_px):
            slide.write(
                level, tile=(256, 256), photometric="rgb", compression="jpeg", compressionargs={"level": 90},
                subfiletype=int(mpp > SLIDE_MPP), resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
                metadata=None, software="tilegate demo")  # fmt: skip
            half = level.shape[0] // 2
            level, mpp = level.reshape(half, 2, half, 2, 3).mean((1, 3), np.float32).round().astype(np.uint8), mpp * 2
    return SlideTruth(path=path, mpp=SLIDE_MPP, dab_px=_count_dab(path))


def _lay_tissue(side: int) -> Bytes:
    """(side, side, 3) RGB: three ragged pieces with soft edges on about 28 % of white glass."""
    rng, picture = np.random.default_rng(5), immunohistochemistry().astype(np.float32)
    coarse = -(-side // _BLOCK) * (_BLOCK // _COARSE)
    pieces = _blobs(rng, coarse, np.array([(0.3, 0.3), (0.6, 0.68), (0.8, 0.27)]), np.array([0.22, 0.24, 0.1]), 0.28, 0.15)
    maps = np.stack([pieces, *(side / 50 * _fractal(rng, coarse, 3.0) for _ in range(2))])
    maps = np.pad(maps, ((0, 0), (2, 2), (2, 2)), mode="edge")
    slide = rng.normal(243, 0.7, (side, side, 3)).astype(np.float32)
    for y in range(0, side, _BLOCK):
        inside, down, right = _enlarge(maps[:, y // _COARSE :][:, : _BLOCK // _COARSE + 4])[:, : side - y, :side]
        rows, cols = np.nonzero(inside > 0)
        at = (rows + y) * 0.9 + cols * 0.4 + down[rows, cols], cols * 0.9 - (rows + y) * 0.4 + right[rows, cols]
        tissue = np.stack([map_coordinates(band, at, order=1, mode="mirror") for band in picture.transpose(2, 0, 1)], -1)
        cover = np.minimum(inside[rows, cols] / 3, 1)[:, None]
        slide[rows + y, cols] += cover * (tissue - slide[rows + y, cols])
    return slide.round().astype(np.uint8)


def _count_dab(path: Path) -> int:
    """Pixels over DAB_CUT_OD in the stored full size level.

    scikit-image unmixes log(I) / log(1e-6), six times less than OD, and by DAB's row of the matrix before it is made
    of unit length.
    """
    pixels = np.maximum(tifffile.imread(path, level=0), 1)
    unit = -np.log10(1e-6) * np.linalg.norm(rgb_from_hdx[1])
    strips = (pixels[y : y + _BLOCK] for y in range(0, len(pixels), _BLOCK))
    return sum(int((separate_stains(strip, hdx_from_rgb)[..., 1] * unit > DAB_CUT_OD).sum()) for strip in strips)
