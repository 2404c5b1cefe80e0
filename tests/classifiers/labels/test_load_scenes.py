"""Tiles of drawn scenes: nothing is counted twice or lost, whatever the plane; and what a bundle brings to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from classifiers.bundle_contract import Bundle
from classifiers.labels.groups import grouping
from classifiers.labels.items import Scene
from classifiers.labels.load import load_tiles
from classifiers.labels.looks import Commonest, Look, Opening
from classifiers.labels.sample import UNLABELLED
from classifiers.labels.scenes import ArrayTruth, Cutting, Plot, count_labels, of_file, pieces, plot
from classifiers.labels.shelf import Piece
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import ImageInfo, PixelSize

MakeRaster = Callable[..., Path]
RNG = np.random.default_rng(17)
SIDES = st.integers(1, 90)


def random_mask(shape: tuple[int, int]) -> NDArray[np.uint8]:
    return RNG.choice(np.array([0, 1, 2, UNLABELLED], np.uint8), shape)


@given(SIDES, SIDES, st.sampled_from([1.0, 2.0, 3.0, 2.5, 1.3]), st.integers(1, 40), st.integers(0, 9))
def test_every_labelled_pixel_is_counted_in_one_tile(h: int, w: int, downsample: float, tile: int, halo: int) -> None:
    mask = random_mask((h, w))
    info = ImageInfo(
        uri="", kind="raster", shape_px=(h, w), bands=("a",), dtype="uint8", nodata=None,
        pixel_size=PixelSize(y=1, x=1, unit="m"), transform=None, crs=None,
    )  # fmt: skip
    plane = Opening(downsample=downsample).plane(info)
    grid = TileGrid(shape_px=plane.shape_px, tile_px=tile, halo_px=halo)
    total = np.zeros(3, np.int64)
    for batch in grid.batches():
        for each in batch.tiles:
            for window in (of_file(each.core, plane, (h, w)), of_file(each.read, plane, (h, w))):
                valid = np.ones(each.read.shape_px, bool)
                counts = count_labels(mask[window.slices], window, valid, each, plane, 2)
            total += counts
    assert total.tolist() == [(mask == code).sum() for code in range(3)]


def test_tiles_without_labels_or_data_are_left_out(tiny_raster: MakeRaster) -> None:
    mask = random_mask((64, 97))
    mask[:32, 32:64] = UNLABELLED
    data = RNG.integers(1, 256, (2, 64, 97), dtype=np.uint8)
    data[:, 32:, :32] = 0
    uri = str(tiny_raster(data, nodata=0))
    look = Look(("band1", "band2"), "uint8", (64, 97), PixelSize(y=10, x=10, unit="m"))
    cutting = Cutting(
        found=Commonest(opening=Opening(), look=look), truth=ArrayTruth(("a", "b"), mask),
        tile_px=32, halo_px=0, groups=grouping(DataSettings(), 9), masks=True,
    )  # fmt: skip
    where = plot(Scene(name="s", uris=(uri,), truth=""), cutting)
    assert isinstance(where, Plot)
    assert len(where.tiles) == 8
    cut = [piece for piece in pieces([where], cutting) if isinstance(piece, Piece)]
    assert [piece.sample.name for piece in cut] == [f"s {tile}" for tile in ("r0000c0000", "r0000c0002", "r0001c0001", "r0001c0002")]  # fmt: skip
    np.testing.assert_array_equal(cut[1].pixels, data[:, :32, 64:96])
    np.testing.assert_array_equal(cut[1].mask, mask[:32, 64:96])


def segmenter(**changes: object) -> Bundle:
    """A U-Net of one class that was trained on 10 m pixels of red, green and blue."""
    return Bundle(
        **{
            "name": "lakes", "path": Path("lakes"), "architecture": "Unet", "hyperparameters": {},
            "task": "segmentation", "activation": "sigmoid", "bands": ("red", "green", "blue"), "classes": ("lake",),
            "pixel_size": PixelSize(y=10, x=10, unit="m"), "pixel_size_range": (0.8, 1.25), "input_px": 32,
            "dtype": "uint8", "mean": (0.0,) * 3, "std": (1.0,) * 3, "threshold": None, "calibration": None,
            "licence": "MIT", "training_data": "", "pretrained_source": None, "metrics": {}, "sha256": "0" * 64,
            "contract_sha256": "0" * 64,
        }
        | changes
    )  # type: ignore[arg-type]  # fmt: skip


def scenes(root: Path, values: list[int], count: int = 2) -> list[NDArray[np.uint8]]:
    """Images and masks of 64 px."""
    masks = [RNG.choice(np.array(values, np.uint8), (64, 64)) for _ in range(count)]
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i, mask in enumerate(masks):
        Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(root / f"images/{i}.png")
        Image.fromarray(mask).save(root / f"masks/{i}.png")
    return masks


@pytest.mark.parametrize("values", [[0, 1], [0, 255]])
def test_a_bundle_of_one_class_takes_the_only_value(tmp_path: Path, values: list[int]) -> None:
    masks = scenes(tmp_path, values)
    tiles = load_tiles(str(tmp_path), DataSettings(), "segmenter", default=segmenter())
    assert (tiles.classes, tiles.tile_px, len(tiles)) == (("lake",), 32, 8)
    assert tiles.masks is not None
    np.testing.assert_array_equal(tiles.masks[0], masks[0][:32, :32] > 0)
    scenes(tmp_path / "more", [0, 1, 2])
    with pytest.raises(BadInput, match=r"2 values besides 0 \(1, 2\)"):
        load_tiles(str(tmp_path / "more"), DataSettings(), "segmenter", default=segmenter())


def test_a_bundles_values_are_those_it_was_trained_on(tmp_path: Path) -> None:
    masks = scenes(tmp_path, [0, 3, 4, 9])
    trained = segmenter(labels={"lake": ("3-4",), "unlabelled": ("9",)}, pixel_size=PixelSize(y=20, x=20, unit="m"))
    tiles = load_tiles(str(tmp_path), DataSettings(pixel_size=10, tile_px=16), "segmenter", default=trained)
    assert (tiles.pixel_size.y, tiles.tile_px, len(tiles)) == (20, 16, 8)
    core = masks[0][:32, :32]
    share = ((core == 3) | (core == 4)).sum() / (core != 9).sum()
    np.testing.assert_allclose(tiles.fractions[0, 0], share, rtol=1e-6)
    native = load_tiles(
        str(tmp_path), DataSettings(pixel_size=10), "segmenter", default=replace(trained, pixel_size=PixelSize(y=9, x=9, unit="m"))
    )  # fmt: skip
    assert native.pixel_size.y == 10


def test_a_gate_that_chooses_is_given_one_class(tmp_path: Path) -> None:
    scenes(tmp_path, [1, 1, 1, 2])
    gate = segmenter(task="classification", activation="softmax", classes=("a", "b"), labels={"a": ("1",), "b": ("2",)})
    tiles = load_tiles(str(tmp_path), DataSettings(), "gate", default=gate)
    assert tiles.exclusive
    assert tiles.labels.tolist() == [[1, 0]] * 8
