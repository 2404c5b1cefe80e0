"""The pictures `tilegate demo` works on, made on the spot: a satellite scene and a stained slide, with their truth."""

from __future__ import annotations

import tempfile
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
Bools = NDArray[np.bool_]

SCENE_BANDS = ("blue", "green", "red", "nir")
SCENE_PIXEL_M = 10.0
SLIDE_MPP = 0.5
DAB_CUT_OD = 0.25  # fills the brown glands of the picture and leaves the blue nuclei between them out
_BLOCK, _COARSE = 512, 4  # px of a block; px of the image per px of the smooth maps it is painted from
# surface reflectance in percent (blue, green, red, nir), of the order that Sentinel-2 sees in July
_CONIFER, _BROADLEAF, _HEATH, _TOWN, _TRACK = range(5)
_KINDS = [(2.2, 3.8, 2.4, 20), (2.4, 5.2, 2.7, 34), (5.4, 7.8, 8.6, 20), (9.5, 11, 12, 19), (8, 10.5, 12, 22)]
_CROPS = [(3.4, 7.4, 3.8, 40), (3.8, 8.2, 5.2, 35), (5.8, 10.8, 11.5, 30), (6.4, 12, 14.5, 30), (4.8, 7.4, 9.8, 17)]
_DEEP, _SHALLOW = (3.4, 2.7, 1.2, 0.6), (4.6, 5.2, 2.8, 1.2)


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

    COG: uint8 SCENE_BANDS, EPSG:32633, nodata 0 outside the swath, averaged overviews; DN is 255 * sqrt(reflectance
    / 0.5), the root so that it can be looked at as it is. Mask: uint8, 1 = water: NDWI > 0 in a valid pixel.
    """
    profile = {"driver": "GTiff", "width": side_px, "height": side_px, "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "photometric": "MINISBLACK"}
    profile["transform"] = Affine(SCENE_PIXEL_M, 0, 360_000, 0, -SCENE_PIXEL_M, 5_900_000)
    with rasterio.Env(GDAL_CACHEMAX=256), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        plain = Path(scratch) / "scene.tif"
        with (
            rasterio.open(plain, "w", count=4, nodata=0, alpha="NO", **profile) as scene,
            rasterio.open(truth_path, "w", count=1, compress="deflate", **profile) as mask,
        ):
            scene.descriptions, mask.descriptions = SCENE_BANDS, ("water",)
            scene.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
            water_px, valid_px = _paint(_Land(np.random.default_rng(seed), side_px), scene, mask)
            factors = [2**k for k in range(1, 16) if side_px >> k >= min(512, side_px // 2)]
            scene.build_overviews(factors, Resampling.average)  # here: 6 times quicker than inside the COG driver
        copy_raster(plain, path, driver="COG", blocksize=_BLOCK, compress="DEFLATE", level=1, predictor="YES")
    area = SCENE_PIXEL_M**2
    return SceneTruth(water_px=water_px, valid_px=valid_px, pixel_area_m2=area, water_area_m2=water_px * area)


def _paint(land: _Land, scene: rasterio.io.DatasetWriter, mask: rasterio.io.DatasetWriter) -> tuple[int, int]:
    """Write both, block by block; returns (pixels of water, valid pixels)."""
    water_px = valid_px = 0
    for y, x in np.ndindex(-(-land.side // _BLOCK), -(-land.side // _BLOCK)):
        dn, water, valid = land.block(y * _BLOCK, x * _BLOCK)
        where = Window(x * _BLOCK, y * _BLOCK, water.shape[1], water.shape[0])
        scene.write(dn, window=where)
        mask.write(water.astype(np.uint8), 1, window=where)
        water_px, valid_px = water_px + int(water.sum()), valid_px + int(valid.sum())
    return water_px, valid_px


class _Land:
    """Smooth maps of a landscape at a quarter of its resolution, painted block by block with finer detail."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        """side: px of the square scene."""
        self.rng, self.side = rng, side
        self._maps = _landscape(rng, -(-side // _BLOCK) * (_BLOCK // _COARSE))
        self._noise = rng.normal(0, 0.9, 2**22).astype(np.float32)
        self._grain = _fractal(rng, 3 * _BLOCK, 0.7, lowest=3 * _BLOCK / 24)
        cells = max(2, side // 640)
        corner = np.array(list(np.ndindex(cells, cells)))
        self._villages = ((corner + rng.uniform(0.15, 0.85, corner.shape)) * side / cells).astype(np.float32)
        n, angle = len(corner), rng.uniform(0, np.pi / 2, len(corner))
        parcel = rng.uniform(14, 34, n), rng.uniform(30, 80, n)
        self._parish = np.stack([np.cos(angle), np.sin(angle), *parcel, rng.gamma(2.0, 11.0, n)]).astype(np.float32)
        self._crop = rng.choice(len(_CROPS), 4096, p=[0.24, 0.26, 0.18, 0.2, 0.12]).astype(np.uint8) + np.uint8(5)
        self._light = rng.normal(1, 0.09, 4096).astype(np.float32)

    def block(self, y: int, x: int) -> tuple[Bytes, Bools, Bools]:
        """The block whose corner is (y, x): DN (4, h, w), 0 = no data; water (h, w); valid (h, w)."""
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
        return self._sense(kind, light, np.maximum(depth, 0), water) * valid, water & valid, valid

    def _fields(self, rows: NDArray[np.intp], cols: NDArray[np.intp], grain: Floats) -> tuple[Bytes, Floats]:
        """Parcels, tracks and villages: kind (h, w), brightness (h, w). Each parish lies in a direction of its own."""
        y, x = rows[:, None].astype(np.float32), cols[None, :].astype(np.float32)
        own = np.zeros(grain.shape, np.intp)
        first, second = np.full(grain.shape, 1e12, np.float32), np.full(grain.shape, 1e12, np.float32)
        for k in np.hypot(*(self._villages - (rows.mean(), cols.mean())).T).argsort()[:9]:
            far = (y - self._villages[k, 0]) ** 2 + (x - self._villages[k, 1]) ** 2
            np.copyto(own, k, where=far < first)
            second, first = np.minimum(second, np.maximum(first, far)), np.minimum(first, far)
        cos, sin, width, length, radius = (row.take(own) for row in self._parish)
        u, v = (x * cos + y * sin) / width, (y * cos - x * sin) / length
        strip = np.floor(u).astype(np.int32)
        v = v * self._light.take(strip * 31 & 4095) ** 4 + self._light.take(strip & 4095) * 9
        lot = (strip * 7919 + np.floor(v).astype(np.int32) * 104729 + own.astype(np.int32) * 613) & 4095
        kind, light = self._crop.take(lot), self._light.take(lot) * (1 + 0.03 * grain)
        kind[((u - strip) * width < 1.3) | ((v - np.floor(v)) * length < 1.1)] = _BROADLEAF
        kind[second - first < 1500] = _TRACK
        kind[(first < (radius * (1 + 0.3 * grain)) ** 2) & (np.abs(grain) > 0.35)] = _TOWN
        return kind, light

    def _sense(self, kind: Bytes, light: Floats, depth: Floats, water: Bools) -> Bytes:
        """DN (4, h, w) with noise, held to the sign of NDWI that `water` claims."""
        dn, clear = np.empty((4, *kind.shape), np.uint8), np.exp(-depth / 12)
        noise = self._noise[self.rng.integers(len(self._noise) - dn.size) :][: dn.size].reshape(dn.shape)
        for band, spectrum in enumerate(np.array(_KINDS + _CROPS, np.float32).T):
            wet = _DEEP[band] + (_SHALLOW[band] - _DEEP[band]) * clear
            percent = np.where(water, wet, spectrum.take(kind) * light)
            dn[band] = np.clip(np.rint(255 * np.sqrt(percent / 50) + noise[band]), 2, 254)
        dn[3] = np.where(water, np.minimum(dn[3], dn[1] - 1), np.maximum(dn[3], dn[1] + 1))
        return dn


def _landscape(rng: np.random.Generator, side: int) -> Floats:
    """Maps (5, side + 4, side + 4): depth of water and woodiness (> 0 = there is), tint, relief, heath (> 0 = is)."""
    districts = max(1, side // 700)
    height, tint = _fractal(rng, side, 1.8, max(2, side / 500)), _fractal(rng, side, 1.2)
    sites = np.repeat(rng.uniform(0.2, 0.8, (districts, 2)), 5, axis=0) + rng.normal(0, 0.09, (5 * districts, 2))
    depth = _blobs(rng, side, sites, rng.uniform(0.02, 0.06, len(sites)) / districts**0.5, 0.055, ragged=0.6)
    river = _river(height + tint, divmod(int(depth.argmax()), side))
    slope = -np.sum(np.gradient(height), axis=0)
    relief = 0.4 * np.tanh(slope / slope.std() / 2) * np.clip(height / 2 + 0.5, 0.1, 1)
    wood = 0.8 * height + _fractal(rng, side, 1.1, max(2, side / 250)) + 1.5 * np.exp(-river / 12) - 0.35
    maps = np.stack([np.maximum(depth, 2 - river), wood, tint, relief, height + 0.3 * tint - 2.2])
    return np.pad(maps.astype(np.float32), ((0, 0), (2, 2), (2, 2)), mode="edge")


def _river(cost: Floats, start: tuple[int, int]) -> Floats:
    """(side, side): px to a river that runs from `start` where `cost` is low to the lower border."""
    hard = np.exp(1.2 * cost[::8, ::8])
    mouth = len(hard) - 1, int(hard[-1].argmin())
    path, _ = route_through_array(hard, (start[0] // 8, start[1] // 8), mouth)  # type: ignore[no-untyped-call]
    box = np.full(9, (len(cost) - 1) / (len(hard) - 1) / 9)
    padded = np.pad(np.array(path), ((4, 4), (0, 0)), mode="reflect", reflect_type="odd")
    steps, dry = np.arange(0, len(path) - 1, 1 / 16), np.full(cost.shape, True)
    bed = (np.interp(steps, np.arange(len(path)), np.convolve(axis, box, "valid")) for axis in padded.T)
    dry[tuple(axis.clip(0, len(cost) - 1).astype(np.intp) for axis in bed)] = False
    return np.asarray(distance_transform_edt(dry), np.float32)


def _blobs(
    rng: np.random.Generator,
    side: int,
    sites: NDArray[np.float64],
    radii: NDArray[np.float64],
    share: float,
    ragged: float,
) -> Floats:
    """(side, side): about the px to the shore, positive inside ragged blobs that together cover `share`.

    sites: (n, 2) centres, and radii (n), as fractions of the side.
    """
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    inside = np.full((side, side), -2, np.float32)
    for a, b, radius in np.column_stack([sites, radii]).astype(np.float32):
        np.maximum(inside, radius - np.hypot(y - a, x - b), out=inside)
    inside += ragged * float(radii.mean()) * _fractal(rng, side, 1.7, lowest=6)
    return np.asarray((inside - np.quantile(inside, 1 - share)) * side, np.float32)


def _fractal(rng: np.random.Generator, side: int, slope: float, lowest: float = 2.0) -> Floats:
    """Noise (side, side), mean 0, deviation 1: amplitude ~ frequency ** -slope from `lowest` cycles per side up."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32))
    across, along = np.fft.fftfreq(side, 1 / side), np.fft.rfftfreq(side, 1 / side)
    cycles = np.hypot(across[:, None].astype(np.float32), along.astype(np.float32))
    spectrum *= np.where(cycles < lowest, 0, np.maximum(cycles, 1) ** -slope)
    field = np.fft.irfft2(spectrum, (side, side))
    return np.asarray(field / field.std(), np.float32)


def _enlarge(maps: Floats) -> Floats:
    """(n, h + 4, w + 4), padded by 2 -> (n, 4 h, 4 w) by cubic B-spline; no BLAS, whose threads cost more here."""
    far = np.abs((np.arange(_COARSE)[:, None] + 0.5) / _COARSE + 1.5 - np.arange(5))
    weights = np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(2 - far, 0) ** 3 / 6).astype(np.float32)
    for _ in range(2):
        maps = np.swapaxes(maps, 1, 2)
        size = maps.shape[2] - 4
        phases = [sum(w * maps[..., k : k + size] for k, w in enumerate(row) if w) for row in weights]
        maps = np.stack(phases, axis=-1).reshape(*maps.shape[:2], -1)
    return maps


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
    coarse = -(-side // _BLOCK) * (_BLOCK // _COARSE)
    sites, radii = np.array([(0.3, 0.3), (0.6, 0.68), (0.8, 0.27)]), np.array([0.22, 0.24, 0.1])
    warp = (side / 50 * _fractal(rng, coarse, 3.0) for _ in range(2))
    maps = np.stack([_blobs(rng, coarse, sites, radii, 0.28, ragged=0.15), *warp])
    maps = np.pad(maps, ((0, 0), (2, 2), (2, 2)), mode="edge")
    slide = 243 + 0.7 * rng.standard_normal((side, side, 3), np.float32)
    for y in range(0, side, _BLOCK):
        inside, down, right = _enlarge(maps[:, y // _COARSE :][:, : _BLOCK // _COARSE + 4])[:, : side - y, :side]
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
    strips = (separate_stains(pixels[y : y + _BLOCK], hdx_from_rgb) for y in range(0, len(pixels), _BLOCK))
    return sum(int((strip[..., 1] * od > DAB_CUT_OD).sum()) for strip in strips)
