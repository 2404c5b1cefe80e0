"""Tiles varied while learning: raw pixels in, raw pixels out, before they are normalised as in a run.

What is laid another way takes its valid pixels and masks along. Where a part is cut off it is no longer valid, so it
becomes the mean colour when it is normalised, and its mask says nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import UNLABELLED
from classifiers.training.settings import AugmentSettings
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.stack import TileStack

Masks = NDArray[np.uint8]
Floats = NDArray[np.float32]
Random = np.random.Generator
Varied = tuple[TileStack, Masks | None]

_EOSIN = (0.05, 0.6, 0.2), (0.3, 1.0, 0.7)
"""Least and most optical density of R, G, B that counterstains add, relative: red passes, which nuclei hold back."""
_MOST_EOSIN, _EVEN_EOSIN = 0.8, 0.2
"""Most optical density of what is laid over a tile, and of what lies over all of it evenly."""


def augment(stack: TileStack, masks: Masks | None, settings: AugmentSettings, random: Random) -> Varied:
    """Tiles of the same shape and dtype, each varied on its own. masks: (n, h, w) as LabelledTiles.masks.

    mixup and cutmix are not done here: they mix labels. Raises BadInput where stains are to be varied in pixels that
    are not RGB of 8 bits.
    """
    if settings.stain or settings.counterstain:
        _require_slide(stack.pixels)
    stack, masks = _laid(stack, masks, settings, random)
    stack, masks = _cut(stack, masks, settings, random)
    changes = (_stained, _counterstained, _blurred, _recoloured, _noisy)
    pixels = stack.pixels
    for change in changes:
        pixels = change(pixels, stack.valid, settings, random)
    return replace(stack, pixels=_as_before(pixels, stack.pixels.dtype)), masks


def random_crop(stack: TileStack, masks: Masks | None, side_px: int, random: Random) -> Varied:
    """Squares of side_px anywhere in the tiles, halo included; the tiles as they are where they have that side."""
    height, width = stack.valid.shape[1:]
    if side_px == height == width:
        return stack, masks
    if side_px > min(height, width):
        raise BadInput(f"tiles of {height} x {width} px can not be cropped to {side_px} px: set data.tile_px lower")
    starts = random.integers(0, (height - side_px + 1, width - side_px + 1), (len(stack), 2))

    def cropped(array: NDArray[Any]) -> NDArray[Any]:
        return np.stack(
            [tile[..., y : y + side_px, x : x + side_px] for tile, (y, x) in zip(array, starts, strict=True)]
        )

    tile = TileGrid(shape_px=(side_px, side_px), tile_px=side_px).tile(0, 0)
    crop = TileStack(tiles=(tile,) * len(stack), pixels=cropped(stack.pixels), valid=cropped(stack.valid))
    return crop, None if masks is None else cropped(masks)


def _laid(stack: TileStack, masks: Masks | None, settings: AugmentSettings, random: Random) -> Varied:
    """Each tile in one of the ways a square can be laid: mirrored or not, turned by right angles."""
    mirrored = random.integers(0, 2, len(stack)) * settings.flips
    upside = random.integers(0, 2, len(stack)) * (settings.flips and not settings.rotations)
    turns = random.integers(0, 4, len(stack)) * settings.rotations
    way = mirrored + 2 * upside + 4 * turns

    def laid(array: NDArray[Any]) -> NDArray[Any]:
        result = np.empty_like(array)
        for one in np.unique(way):
            part = array[way == one]
            part = part[..., ::-1] if one & 1 else part
            part = part[..., ::-1, :] if one & 2 else part
            result[way == one] = np.rot90(part, int(one) // 4, axes=(-2, -1))
        return result

    varied = replace(stack, pixels=laid(stack.pixels), valid=laid(stack.valid))
    return varied, None if masks is None else laid(masks)


def _cut(stack: TileStack, masks: Masks | None, settings: AugmentSettings, random: Random) -> Varied:
    """Edges of images and blanked squares: no longer valid."""
    count, (height, width) = len(stack), stack.valid.shape[1:]
    kept = np.ones_like(stack.valid)
    for tile in np.flatnonzero(random.random(count) < settings.edge):
        rows, cols = random.integers(0, (height // 2, width // 2))
        below, right = random.integers(0, 2, 2)
        kept[tile, slice(height - rows, None) if below else slice(0, rows)] = False
        kept[tile, :, slice(width - cols, None) if right else slice(0, cols)] = False
    for tile in np.flatnonzero(random.random(count) < settings.cutout):
        y, x = random.integers(0, (height - height // 2 + 1, width - width // 2 + 1))
        kept[tile, y : y + height // 2, x : x + width // 2] = False
    if kept.all():
        return stack, masks
    marked = None if masks is None else np.where(kept, masks, np.uint8(UNLABELLED))
    return replace(stack, valid=stack.valid & kept), marked


def _stained(
    pixels: NDArray[np.generic], _: NDArray[np.bool_], settings: AugmentSettings, random: Random
) -> NDArray[np.generic]:
    """More or less haematoxylin, more or less eosin."""
    if not settings.stain:
        return pixels
    from classifiers.measuring.stains import restained

    factors = np.maximum(random.normal(1, settings.stain, (len(pixels), 2)), 0)
    return np.stack(
        [restained(tile, *map(float, two)) for tile, two in zip(pixels, factors, strict=True)], dtype=np.float32
    )


def _counterstained(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], settings: AugmentSettings, random: Random
) -> NDArray[np.generic]:
    """The structure of other tiles of the batch laid over tiles, in the colour of eosin: pink things that are nothing."""
    chosen = np.flatnonzero(random.random(len(pixels)) < settings.counterstain)
    if not len(chosen):
        return pixels
    changed = pixels.astype(np.float32)
    for i, other in zip(chosen, random.integers(0, len(pixels), len(chosen)), strict=True):
        light = np.where(valid[other], pixels[other], np.float32(255)).astype(np.float32).mean(axis=0)
        density = -np.log10(np.maximum(light, 1) / 255)[::-1, ::-1]  # where it lay, it would darken its own nuclei
        amount = random.uniform(0, _MOST_EOSIN) * density / max(float(np.percentile(density, 99)), 0.1)
        amount += random.uniform(0, _EVEN_EOSIN)
        changed[i] *= 10 ** -(random.uniform(*_EOSIN).astype(np.float32)[:, None, None] * amount)
    return changed


def _require_slide(pixels: NDArray[np.generic]) -> None:
    if pixels.shape[1] != 3 or pixels.dtype != np.uint8:
        raise BadInput(
            f"augment.stain and augment.counterstain are for H&E slides in RGB of 8 bits; these tiles have "
            f"{pixels.shape[1]} bands of {pixels.dtype}. Set them to 0."
        )


def _blurred(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], settings: AugmentSettings, random: Random
) -> NDArray[np.generic]:
    chosen = np.flatnonzero(random.random(len(pixels)) < settings.blur)
    if not len(chosen):
        return pixels
    from scipy.ndimage import gaussian_filter

    blurred = pixels.astype(np.float32)
    for i, sigma in zip(chosen, random.uniform(0.3, 1, len(chosen)), strict=True):
        seen = np.where(valid[i], blurred[i], np.float32(0))  # what is not valid may be NaN
        weight = gaussian_filter(valid[i].astype(np.float32), sigma, mode="nearest")
        blurred[i] = gaussian_filter(seen, (0, sigma, sigma), mode="nearest") / np.maximum(weight, 1e-6)
    return blurred


def _recoloured(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], settings: AugmentSettings, random: Random
) -> NDArray[np.generic]:
    """Brighter or darker as a whole, and each band a little by itself, as between dates and sensors."""
    if not (settings.brightness or settings.colour):
        return pixels
    count, bands = pixels.shape[:2]
    gain = random.normal(1, settings.brightness, (count, 1)) * random.normal(1, settings.colour, (count, bands))
    offset = random.normal(0, settings.brightness, (count, 1)) * _spread(pixels, valid)
    changed = pixels.astype(np.float32)
    changed *= gain[:, :, None, None].astype(np.float32)
    changed += offset[:, :, None, None].astype(np.float32)
    return changed


def _noisy(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], settings: AugmentSettings, random: Random
) -> NDArray[np.generic]:
    if not settings.noise:
        return pixels
    spread = (settings.noise * _spread(pixels, valid)).astype(np.float32)
    noise: Floats = random.standard_normal(pixels.shape, np.float32) * spread[:, None, None]
    return pixels.astype(np.float32) + noise


def _spread(pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(band,) standard deviation of the batch's valid pixels."""
    if not valid.any():
        return np.zeros(pixels.shape[1])
    return np.array([pixels[:, band][valid].std(dtype=np.float64) for band in range(pixels.shape[1])])


def _as_before(pixels: NDArray[np.generic], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    """In the dtype they had; whole numbers are rounded and kept within its range."""
    if pixels.dtype == dtype or dtype.kind == "f":
        return pixels.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    exact = pixels.astype(np.float64 if dtype.itemsize > 2 else np.float32)  # float32 can not hold 2 ** 32 - 1
    kept: NDArray[np.generic] = np.clip(np.rint(exact), limits.min, limits.max).astype(dtype)
    return kept
