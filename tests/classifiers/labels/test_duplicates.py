"""Copies are found, whatever was done to them; tiles that are only plain are not taken for copies."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from classifiers.labels.duplicates import blank, contents, near_duplicates, same_pixels
from classifiers.labels.sample import LabelledTiles, Sample
from tiling.info import PixelSize


def tiles_of(pixels, valid=None) -> LabelledTiles:
    n, bands, side, _ = pixels.shape
    return LabelledTiles(
        samples=tuple(Sample(name=f"{i}", group=f"{i}") for i in range(n)),
        classes=("c",),
        exclusive=False,
        bands=tuple("rgbn")[:bands],
        pixel_size=PixelSize(y=1, x=1, unit="m"),
        tile_px=side,
        halo_px=0,
        pixels=pixels,
        valid=np.ones((n, side, side), bool) if valid is None else valid,
        labels=np.ones((n, 1), np.float32),
        fractions=np.ones((n, 1), np.float32),
    )


def fields(count: int, side: int = 64, seed: int = 0, contrast: float = 40):
    """Smooth coloured patches, different in each tile: (count, 3, side, side) uint8."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(count, 3, side, side)), (0, 0, side / 16, side / 16))
    smooth *= contrast / smooth.std(axis=(2, 3), keepdims=True)
    return (120 + smooth).clip(0, 255).astype(np.uint8)


def jpeg(pixels):
    packed = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(packed, "JPEG", quality=70)
    return np.moveaxis(np.array(Image.open(packed)), -1, 0)


CHANGES = {
    "the same": lambda p: p,
    "stored as JPEG": jpeg,
    "brighter": lambda p: (p * 1.15 + 10).clip(0, 255).astype(np.uint8),
    "noisy": lambda p: (p + np.random.default_rng(9).normal(0, 6, p.shape)).clip(0, 255).astype(np.uint8),
    "mirrored": lambda p: p[:, :, ::-1],
    "turned": lambda p: np.rot90(p, axes=(1, 2)),
    "turned and mirrored": lambda p: np.rot90(p, 3, axes=(1, 2))[:, ::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_among_others(change: str) -> None:
    pixels = fields(30)
    pixels[21] = CHANGES[change](pixels[4])
    assert near_duplicates(tiles_of(pixels)) == ((4, 21),)


def test_different_tiles_are_not_linked() -> None:
    assert near_duplicates(tiles_of(fields(600, side=32))) == ()


def test_plain_tiles_are_not_linked_but_true_copies_of_them_are() -> None:
    random = np.random.default_rng(0)
    slope = np.linspace(0, 3, 32)[None, None, None, :]
    water = (20 + slope + random.normal(0, 0.7, (300, 3, 32, 32))).astype(np.uint8)
    water[200] = water[100]
    assert near_duplicates(tiles_of(water)) == ((100, 200),)


def test_blank_tiles_are_not_linked_however_many() -> None:
    pixels = np.full((50, 3, 16, 16), 255, np.uint8)
    pixels[25:] = 0
    valid = np.ones((50, 16, 16), bool)
    valid[40:] = False
    tiles = tiles_of(pixels, valid)
    assert near_duplicates(tiles) == ()
    assert same_pixels(tiles) == []
    assert blank(tiles).all()


def test_glass_with_a_speck_of_compression_is_not_linked() -> None:
    # what JPEG leaves of empty glass: one block of 8 x 8 px a step brighter, at one of few places
    random = np.random.default_rng(0)
    pixels = np.concatenate([fields(20), np.full((80, 3, 64, 64), 243, np.uint8)])
    for tile in pixels[20:]:
        y, x = 8 * random.integers(0, 4, 2)
        tile[:, y : y + 8, x : x + 8] += 1
    assert near_duplicates(tiles_of(pixels)) == ()
    assert same_pixels(tiles_of(pixels)) != []


def test_a_bright_speck_on_black_is_worth_linking() -> None:
    pixels = np.zeros((10, 1, 64, 64), np.uint8)
    for i in range(10):
        pixels[i, 0, 5 * i : 5 * i + 8, 8:16] = 200
    pixels[9] = pixels[2]
    assert (2, 9) in near_duplicates(tiles_of(pixels))


def test_many_copies_are_joined_by_as_few_pairs_as_it_takes() -> None:
    pixels = np.concatenate([fields(5), np.stack([jpeg(fields(1, seed=7)[0])] * 10), fields(1, seed=7)])
    linked = near_duplicates(tiles_of(pixels))
    assert len(linked) == 10
    assert {i for pair in linked for i in pair} == set(range(5, 16))


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint16, 200), (np.float32, 1e-4)])
def test_other_types_and_sides_are_compared_alike(dtype, scale) -> None:
    pixels = (fields(20, side=50)[:, :1] * scale).astype(dtype)
    pixels[13] = pixels[2] * dtype(1.5)
    assert near_duplicates(tiles_of(pixels)) == ((2, 13),)


def test_pixels_that_are_not_valid_do_not_count() -> None:
    pixels = fields(10).astype(np.float32)
    valid = np.ones((10, 64, 64), bool)
    valid[:, :10] = False
    pixels[:, :, :10] = np.nan
    pixels[7] = pixels[3]
    pixels[7, :, :10] = -9999
    tiles = tiles_of(pixels, valid)
    assert near_duplicates(tiles) == ((3, 7),)
    assert same_pixels(tiles) == [[3, 7]]


def test_one_pixel_more_is_another_content() -> None:
    pixels = fields(3)
    pixels[1:] = pixels[0]
    pixels[2, 0, 5, 5] ^= 1
    digests = contents(tiles_of(pixels), range(3))
    assert digests[0] == digests[1] != digests[2]


def test_copies_on_the_two_sides_of_a_chunk_are_found() -> None:
    pixels = fields(1100, side=16)
    for i, j in pairwise((3, 700, 1099)):
        pixels[j] = pixels[i] ^ 1
    assert near_duplicates(tiles_of(pixels)) == ((3, 700), (3, 1099))


def test_no_tiles_have_no_duplicates() -> None:
    assert near_duplicates(tiles_of(fields(3)).pick([])) == ()
