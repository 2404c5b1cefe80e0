"""Images with masks: tiles, shares and masks against numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from classifiers.labels.load import load_tiles
from classifiers.labels.sample import UNLABELLED
from classifiers.labels.values import from_words
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput

SETTINGS = DataSettings(pixel_size=0.5, unit="um", tile_px=32, classes={"wood": ("1",), "water": ("2", "7-9")})
RNG = np.random.default_rng(3)


def put(path: Path, pixels: NDArray[Any], **profile: Any) -> Path:
    """PNG by Pillow, TIFF by rasterio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
        return path
    bands = pixels if pixels.ndim == 3 else pixels[None]
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    place = {"transform": Affine(10, 0, 5e5, 0, -10, 5e6), "crs": "EPSG:32633"}
    with rasterio.open(path, "w", driver="GTiff", **place, **shape, **profile) as file:
        file.write(bands)
    return path


def pair(root: Path, name: str, mask: NDArray[Any], ending: str = ".png", **profile: Any) -> NDArray[np.uint8]:
    """Writes an image of noise and its mask; (h, w, 3) of the image."""
    rgb = RNG.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    put(root / "images" / f"{name}.png", rgb)
    put(root / "masks" / f"{name}{ending}", mask, **profile)
    return rgb


def random_mask(shape: tuple[int, int], values: list[int], dtype: str = "uint8") -> NDArray[Any]:
    return RNG.choice(np.array(values, dtype), shape)


def test_a_gate_is_told_the_shares_of_a_tile(tmp_path: Path) -> None:
    mask = random_mask((70, 64), [0, 1, 3])
    mask[:32, :32] = 3
    mask[40:44, 40:44] = 8
    rgb = pair(tmp_path, "scene", mask)
    tiles = load_tiles(str(tmp_path), SETTINGS, "gate")
    assert [s.name for s in tiles.samples] == [f"images/scene.png r{r:04d}c{c:04d}" for r in range(3) for c in range(2)]
    assert (tiles.classes, tiles.exclusive, tiles.masks) == (("wood", "water"), False, None)
    for i, (y, x) in enumerate((y, x) for y in (0, 32, 64) for x in (0, 32)):
        core = mask[y : y + 32, x : x + 32]
        wood, water = (core == 1).mean(), ((core == 2) | ((core >= 7) & (core <= 9))).mean()
        np.testing.assert_allclose(tiles.fractions[i], [wood, water], rtol=1e-6)
        assert tiles.labels[i].tolist() == [wood >= 0.01, water >= 0.01]
        np.testing.assert_array_equal(tiles.pixels[i][:, : len(core)], rgb[y : y + 32, x : x + 32].transpose(2, 0, 1))
    assert not tiles.valid[4:, 6:].any()
    assert tiles.valid[:4].all()
    assert any("Values 3 of the masks are of no class" in note for note in tiles.notes)


def test_a_share_counts_from_holds_on(tmp_path: Path) -> None:
    mask = np.zeros((32, 64), np.uint8)
    mask[:2, :32] = 1
    mask[:3, 32:] = 1
    pair(tmp_path, "a", mask)
    settings = replace(SETTINGS, classes={"wood": ("1",)}, holds=3 / 32)
    assert load_tiles(str(tmp_path), settings, "gate").labels.tolist() == [[0], [1]]


def test_a_segmenter_gets_masks_with_their_halo(tmp_path: Path) -> None:
    mask = random_mask((64, 64), [0, 1, 2])
    rgb = pair(tmp_path, "scene", mask)
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, halo_px=8), "segmenter")
    assert tiles.masks is not None
    assert tiles.masks.shape == (4, 48, 48)
    around = np.pad(mask, 8, constant_values=UNLABELLED)
    for i, (y, x) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)]):
        np.testing.assert_array_equal(tiles.masks[i], around[y : y + 48, x : x + 48])
        inside = tiles.pixels[i][:, tiles.valid[i]]
        theirs = np.pad(rgb, ((8, 8), (8, 8), (0, 0)))[y : y + 48, x : x + 48][
            around[y : y + 48, x : x + 48] != UNLABELLED
        ]
        np.testing.assert_array_equal(inside, theirs.T)


@pytest.mark.parametrize("downsample", [2.0, 4.0, 2.5, 1.6])
def test_a_coarser_mask_is_what_most_of_a_pixel_is(tmp_path: Path, downsample: float) -> None:
    mask = np.kron(random_mask((8, 8), [0, 1, 2]), np.ones((10, 10), np.uint8))
    pair(tmp_path, "scene", mask)
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, tile_px=16, downsample=downsample), "segmenter")
    assert tiles.masks is not None
    side = int(80 / downsample)
    plane = np.full((side, side), 99, np.uint8)
    for sample, drawn, share in zip(tiles.samples, tiles.masks, tiles.fractions, strict=True):
        y, x = int(sample.name[-9:-5]) * 16, int(sample.name[-4:]) * 16
        plane[y : y + 16, x : x + 16] = drawn[: side - y, : side - x]
        rows, cols = (
            slice(int(np.ceil(a * downsample - 0.5)), int(np.ceil((a + 16) * downsample - 0.5))) for a in (y, x)
        )
        np.testing.assert_allclose(share, [(mask[rows, cols] == code).mean() for code in (1, 2)], rtol=1e-6)
    assert (plane == 99).sum() <= 0.05 * 16**2  # a corner of a tile, left out
    per_block = 10 / downsample
    for row in range(side):
        for col in range(side):
            y, x = ((row + 0.5) / per_block, (col + 0.5) / per_block)
            whole = all(int(a / per_block) == int((a + 1) / per_block - 1e-9) for a in (row, col))
            if whole and plane[row, col] != 99:
                assert plane[row, col] == mask[int(y) * 10, int(x) * 10]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32"])
def test_numbered_instances_are_one_class(tmp_path: Path, dtype: str) -> None:
    high = min(65535, np.iinfo(dtype).max)
    mask = random_mask((32, 32), [0, 1, 2, 100, high], dtype)
    pair(tmp_path, "cells", mask, ".tif")
    settings = replace(SETTINGS, classes={"nucleus": ("1-65535",)}, tile_px=None)
    tiles = load_tiles(str(tmp_path), settings, "segmenter")
    assert tiles.masks is not None
    np.testing.assert_array_equal(tiles.masks[0], mask > 0)


@given(
    low=st.integers(-5, 300),
    size=st.integers(0, 300),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]),
    seed=st.integers(0, 99),
)
def test_ranges_are_what_comparisons_say(low: int, size: int, dtype: str, seed: int) -> None:
    found = from_words({"a": (f"{low}-{low + size}",), "unlabelled": ("700",), "background": ("701",)})
    values = np.random.default_rng(seed).integers(0, 800, 500).astype(dtype)
    expected = np.where((values >= low) & (values <= low + size), 1, np.where(values == 700, UNLABELLED, 0))
    np.testing.assert_array_equal(found.meaning(values), expected)


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        ({"a": ("1-9",), "b": ("4",)}, "overlap"),
        ({"a": ("9-1",)}, "ends before it starts"),
        ({"a": ("forest",)}, "no value of a mask"),
        ({"forest": ()}, "no value of a mask"),
    ],
)
def test_values_that_mean_nothing_are_refused(classes: dict[str, tuple[str, ...]], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        from_words(classes)


def test_without_classes_every_value_is_one(tmp_path: Path) -> None:
    pair(tmp_path, "a", random_mask((32, 32), [0, 2, 10]))
    pair(tmp_path, "b", random_mask((32, 32), [0, 10, 255]))
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, classes={}), "segmenter")
    assert tiles.classes == ("2", "10", "255")
    assert set(np.unique(tiles.masks)) == {0, 1, 2, 3}
    pair(tmp_path, "c", np.arange(32 * 32, dtype=np.uint16).reshape(32, 32))
    with pytest.raises(BadInput, match=r"1,0\d\d values besides 0"):
        load_tiles(str(tmp_path), replace(SETTINGS, classes={}), "segmenter")


def test_nodata_is_unlabelled_unless_it_is_0_or_claimed(tmp_path: Path) -> None:
    mask = random_mask((32, 32), [0, 1, 9, 255])
    for nodata, classes, unlabelled in [
        (255, {"wood": ("1",)}, mask == 255),
        (0, {"wood": ("1",)}, mask < 0),
        (None, {"wood": ("1",)}, mask < 0),
        (255, {"wood": ("1", "255")}, mask < 0),
        (None, {"wood": ("1",), "unlabelled": ("255",)}, mask == 255),
        (None, {"wood": ("1",), "Ignore": ("*",)}, mask > 1),
    ]:
        pair(tmp_path, "a", mask, ".tif", nodata=nodata)
        tiles = load_tiles(str(tmp_path), replace(SETTINGS, classes=classes), "segmenter")
        assert tiles.classes == ("wood",)
        assert tiles.masks is not None
        np.testing.assert_array_equal(tiles.masks[0] == UNLABELLED, unlabelled)
        share = (tiles.masks[0] == 1).sum() / (~unlabelled).sum()
        np.testing.assert_allclose(tiles.fractions[0, 0], share, rtol=1e-6)


def test_what_is_wrong_with_a_pair_is_told(tmp_path: Path) -> None:
    for i in range(40):
        pair(tmp_path, f"good{i}", random_mask((32, 32), [0, 1, 2]))
    pair(tmp_path, "size", random_mask((32, 32), [0, 1]))
    put(tmp_path / "masks/size.png", np.zeros((32, 31), np.uint8))
    pair(tmp_path, "colour", random_mask((32, 32), [0, 1]))
    put(tmp_path / "masks/colour.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    put(tmp_path / "images/alone.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    tiles = load_tiles(str(tmp_path), SETTINGS, "gate")
    assert len(tiles) == 40
    reasons = {each.name.split()[0]: each.why for each in tiles.skipped}
    assert "32 x 31 px, its image 32 x 32 px" in reasons["images/size.png"]
    assert "a picture of 3 bands" in reasons["images/colour.png"]
    assert "holds no file called alone" in reasons["images/alone.png"]


def test_a_jpeg_is_no_mask(tmp_path: Path) -> None:
    pair(tmp_path, "a", random_mask((32, 32), [0, 1]))
    Image.fromarray(random_mask((32, 32), [0, 255])).save(tmp_path / "masks/a.jpg")
    (tmp_path / "masks/a.png").unlink()
    for classes in (SETTINGS.classes, {}):
        with pytest.raises(BadInput, match=r"a\.jpg is a JPEG, which changes the values"):
            load_tiles(str(tmp_path), replace(SETTINGS, classes=classes), "gate")


def test_grey_masks_saved_as_colours_are_masks(tmp_path: Path) -> None:
    mask = random_mask((32, 32), [0, 1])
    pair(tmp_path, "a", mask)
    put(tmp_path / "masks/a.png", np.dstack([mask] * 3))
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, classes={"wood": ("1",)}), "segmenter")
    assert tiles.masks is not None
    np.testing.assert_array_equal(tiles.masks[0], mask)


def test_masks_may_be_called_label_and_lie_in_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(tmp_path / part / "images/a.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        put(tmp_path / part / "labels/a_mask.png", random_mask((32, 32), [0, 1, 2]))
    tiles = load_tiles(str(tmp_path), SETTINGS, "segmenter")
    assert [(s.name, s.part) for s in tiles.samples] == [
        ("test/images/a.png r0000c0000", "test"),
        ("train/images/a.png r0000c0000", "train"),
    ]


@pytest.mark.parametrize("scenes", [2, 5])
def test_few_scenes_are_held_out_in_blocks(tmp_path: Path, scenes: int) -> None:
    for i in range(scenes):
        pair(tmp_path, f"s{i}", random_mask((64, 96), [0, 1, 2]))
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, block_tiles=2), "gate")
    groups = sorted(set(tiles.groups))
    if scenes == 5:
        assert groups == [f"images/s{i}.png" for i in range(5)]
    else:
        assert groups == [f"images/s{i}.png block r000c00{c}" for i in range(2) for c in range(2)]


def test_small_images_are_one_tile_wide_and_large_ones_are_cut(tmp_path: Path) -> None:
    pair(tmp_path / "small", "a", random_mask((40, 60), [0, 1, 2]))
    pair(tmp_path / "large", "a", random_mask((600, 513), [0, 1, 2]))
    unsaid = replace(SETTINGS, tile_px=None)
    assert load_tiles(str(tmp_path / "small"), unsaid, "gate").tile_px == 40
    assert load_tiles(str(tmp_path / "large"), unsaid, "gate").tile_px == 256


def test_exclusive_tiles_are_of_their_largest_class(tmp_path: Path) -> None:
    mask = np.zeros((32, 96), np.uint8)
    mask[:20, :32], mask[20:, :32], mask[:9, 32:64] = 1, 2, 2
    pair(tmp_path, "a", mask)
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, exclusive=True), "gate")
    assert tiles.labels.tolist() == [[1, 0], [0, 1]]
    assert any("1 tiles of no class were left out" in note for note in tiles.notes)


def test_tiles_of_next_to_no_data_are_left_out(tmp_path: Path) -> None:
    mask = random_mask((33, 32), [0, 1, 2])
    pair(tmp_path, "a", mask)
    assert len(load_tiles(str(tmp_path), SETTINGS, "gate")) == 1


def test_a_nodata_value_that_no_file_declares_can_be_given(tmp_path: Path) -> None:
    rgb = pair(tmp_path, "scene", random_mask((32, 32), [0, 1, 2]), ending=".tif")
    value = int(np.bincount(rgb.ravel()).argmax())
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, nodata=float(value)), "segmenter")
    np.testing.assert_array_equal(tiles.valid[0], (rgb != value).all(axis=2))
    assert load_tiles(str(tmp_path), SETTINGS, "segmenter").valid.all()


def test_masks_of_nothing_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair(tmp_path, name, np.zeros((16, 16), np.uint8))
    with pytest.raises(BadInput, match="the masks are 0 everywhere"):
        load_tiles(str(tmp_path), replace(SETTINGS, classes={}), "gate")


def test_values_that_were_meant_otherwise_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair(tmp_path, name, np.repeat(np.uint8([[0, 255]]), 8, axis=1).repeat(16, axis=0))
    with pytest.raises(BadInput, match=r"no tile is of wood(?s:.)*Values 255 of the masks are of no class"):
        load_tiles(str(tmp_path), replace(SETTINGS, classes={"wood": ("1",)}), "gate")


def test_a_mask_of_a_turned_photograph_is_told(tmp_path: Path) -> None:
    pair(tmp_path, "a", random_mask((16, 32), [0, 1]))
    mask = next((tmp_path / "masks").iterdir())
    Image.fromarray(np.rot90(np.asarray(Image.open(mask)))).save(mask)
    with pytest.raises(BadInput, match="EXIF says of a photograph's orientation is not followed"):
        load_tiles(str(tmp_path), replace(SETTINGS, classes={"wood": ("1",)}), "gate")
