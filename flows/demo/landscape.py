"""A landscape to practise on: fractal woods, heath, fields, villages, lakes and a river. Pure numpy and scipy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.graph import route_through_array

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

BLOCK_PX, COARSE_PX = 512, 4  # px of a block; px of the image per px of the smooth maps it is painted from
# surface reflectance in percent (blue, green, red, nir), of the order that Sentinel-2 sees in July
_CONIFER, _BROADLEAF, _HEATH, _TOWN, _TRACK = range(5)
_KINDS = [(2.2, 3.8, 2.4, 20), (2.4, 5.2, 2.7, 34), (5.4, 7.8, 8.6, 20), (9.5, 11, 12, 19), (8, 10.5, 12, 22)]
_CROPS = [(3.4, 7.4, 3.8, 40), (3.8, 8.2, 5.2, 35), (5.8, 10.8, 11.5, 30), (6.4, 12, 14.5, 30), (4.8, 7.4, 9.8, 17)]
_DEEP, _SHALLOW = (3.4, 2.7, 1.2, 0.6), (4.6, 5.2, 2.8, 1.2)


class Land:
    """Smooth maps of a landscape at a quarter of its resolution, painted block by block with finer detail."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        """side: px of the square scene."""
        self.rng, self.side = rng, side
        self._maps = _landscape(rng, -(-side // BLOCK_PX) * (BLOCK_PX // COARSE_PX))
        self._noise = rng.normal(0, 0.9, 2**22).astype(np.float32)
        self._grain = fractal(rng, 3 * BLOCK_PX, 0.7, lowest=3 * BLOCK_PX / 24)
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
        rows, cols = np.arange(y, min(y + BLOCK_PX, self.side)), np.arange(x, min(x + BLOCK_PX, self.side))
        cut = self._maps[:, y // COARSE_PX :, x // COARSE_PX :][
            :, : BLOCK_PX // COARSE_PX + 4, : BLOCK_PX // COARSE_PX + 4
        ]
        depth, wood, tint, relief, heath = enlarge(cut)[:, : len(rows), : len(cols)]
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
    height, tint = fractal(rng, side, 1.8, max(2, side / 500)), fractal(rng, side, 1.2)
    sites = np.repeat(rng.uniform(0.2, 0.8, (districts, 2)), 5, axis=0) + rng.normal(0, 0.09, (5 * districts, 2))
    depth = blobs(rng, side, sites, rng.uniform(0.02, 0.06, len(sites)) / districts**0.5, 0.055, ragged=0.6)
    river = _river(height + tint, divmod(int(depth.argmax()), side))
    slope = -np.sum(np.gradient(height), axis=0)
    relief = 0.4 * np.tanh(slope / slope.std() / 2) * np.clip(height / 2 + 0.5, 0.1, 1)
    wood = 0.8 * height + fractal(rng, side, 1.1, max(2, side / 250)) + 1.5 * np.exp(-river / 12) - 0.35
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


def blobs(
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
    inside += ragged * float(radii.mean()) * fractal(rng, side, 1.7, lowest=6)
    return np.asarray((inside - np.quantile(inside, 1 - share)) * side, np.float32)


def fractal(rng: np.random.Generator, side: int, slope: float, lowest: float = 2.0) -> Floats:
    """Noise (side, side), mean 0, deviation 1: amplitude ~ frequency ** -slope from `lowest` cycles per side up."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32))
    across, along = np.fft.fftfreq(side, 1 / side), np.fft.rfftfreq(side, 1 / side)
    cycles = np.hypot(across[:, None].astype(np.float32), along.astype(np.float32))
    spectrum *= np.where(cycles < lowest, 0, np.maximum(cycles, 1) ** -slope)
    field = np.fft.irfft2(spectrum, (side, side))
    return np.asarray(field / field.std(), np.float32)


def enlarge(maps: Floats) -> Floats:
    """(n, h + 4, w + 4), padded by 2 -> (n, 4 h, 4 w) by cubic B-spline; no BLAS, whose threads cost more here."""
    far = np.abs((np.arange(COARSE_PX)[:, None] + 0.5) / COARSE_PX + 1.5 - np.arange(5))
    weights = np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(2 - far, 0) ** 3 / 6).astype(np.float32)
    for _ in range(2):
        maps = np.swapaxes(maps, 1, 2)
        size = maps.shape[2] - 4
        phases = [sum(w * maps[..., k : k + size] for k, w in enumerate(row) if w) for row in weights]
        maps = np.stack(phases, axis=-1).reshape(*maps.shape[:2], -1)
    return maps
