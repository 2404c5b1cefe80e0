"""A gate as a segmenter, against windows laid over the whole image at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from classifiers.protocol import FakeClassifier, ModelId
from downstream.dense_classifier import DenseClassifier, window_starts
from tiling.grid import TileGrid
from tiling.info import ImageInfo, PixelSize, native_plane
from tiling.source import ArraySource
from tiling.stack import TileStack, crop_to_core, read_stack


class Brightness:
    """The mean of a window's valid pixels, as a share of white; of the second class what is left."""

    bands = ("grey",)
    model = ModelId(name="brightness", sha256="", threshold=0.1)

    def __init__(self, classes: tuple[str, ...] = ("bright",)) -> None:
        self.classes = classes
        self.windows = 0

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        self.windows += len(stack)
        sums = np.where(stack.valid, stack.pixels[:, 0], 0).sum((1, 2), dtype=np.float64)
        share = sums / stack.valid.sum((1, 2)) / 255
        return np.stack([share, 1 - share], axis=1)[:, : len(self.classes)].astype(np.float32)


def tiles_of(image: NDArray[np.uint8], tile_px: int, halo_px: int) -> TileStack:
    info = ImageInfo(
        uri="image",
        kind="raster",
        shape_px=(image.shape[0], image.shape[1]),
        bands=("grey",),
        dtype="uint8",
        nodata=None,
        pixel_size=PixelSize(y=4, x=4, unit="um"),
        transform=None,
        crs=None,
    )
    grid = TileGrid(shape_px=info.shape_px, tile_px=tile_px, halo_px=halo_px)
    tiles = [tile for batch in grid.batches() for tile in batch.tiles]
    return read_stack(ArraySource(info, image[None]), tiles, native_plane(info))


def mapped(segmenter: DenseClassifier, image: NDArray[np.uint8], tile_px: int, halo_px: int) -> NDArray[np.uint8]:
    """The whole image, put together of cores."""
    stack, whole = tiles_of(image, tile_px, halo_px), np.full(image.shape, 99, np.uint8)
    for tile, labels in zip(stack.tiles, segmenter.segment(stack).labels, strict=True):
        whole[tile.core.slices] = crop_to_core(labels, tile)
    return whole


def mean_of_windows(image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """The truth: every window of the lattice that touches the image, each weighted by its share inside."""
    height, width = image.shape
    total, weight = np.zeros(image.shape), np.zeros(image.shape)
    step = side // 2
    for y in range(-3 * step, height, step):
        for x in range(-3 * step, width, step):
            rows, cols = slice(max(y, 0), max(y + side, 0)), slice(max(x, 0), max(x + side, 0))
            inside = image[rows, cols]
            if inside.size:
                total[rows, cols] += inside.size / side**2 * inside.mean() / 255
                weight[rows, cols] += inside.size / side**2
    return total / weight


@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    side=st.integers(2, 9),
    tile_px=st.integers(3, 20),
)
def test_with_enough_halo_tiles_leave_no_seam(seed: int, shape: tuple[int, int], side: int, tile_px: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    expected = mean_of_windows(image, side)
    found = mapped(DenseClassifier(Brightness(), side), image, tile_px, halo_px=side)
    clear = np.abs(expected - 0.5) > 1e-5
    np.testing.assert_array_equal(found[clear], (expected > 0.5)[clear])


def test_patches_on_the_lattice_come_back_as_they_are() -> None:
    """The window of the patch itself weighs 9 of 16 in each quarter of it, whatever lies around."""
    patches = np.random.default_rng(3).integers(0, 2, (6, 9))
    image = np.kron(patches, np.full((50, 50), 255)).astype(np.uint8)
    found = mapped(DenseClassifier(Brightness(), 50), image, tile_px=128, halo_px=50)
    np.testing.assert_array_equal(found, image == 255)


@given(
    read=st.integers(-60, 60),
    halo=st.integers(0, 20),
    core=st.integers(1, 40),
    cut=st.integers(0, 20),
    side=st.integers(2, 20),
)
def test_windows_cover_the_core_and_stay_in_the_read(read: int, halo: int, core: int, cut: int, side: int) -> None:
    size = max(side, core + cut + 2 * halo)
    starts = window_starts(read, size, (halo, halo + core), side)
    assert starts == sorted(set(starts))
    assert min(starts) >= 0
    assert max(starts) + side <= size
    assert {p for s in starts for p in range(s, s + side)} >= set(range(halo, halo + core))
    if halo >= side:
        assert all((read + s) % (side // 2) == 0 for s in starts), "all of them on the lattice"


def test_no_window_is_scored_that_holds_no_data() -> None:
    image = np.full((40, 40), 255, np.uint8)
    stack = tiles_of(image, 40, 0)
    valid = stack.valid.copy()
    valid[:, :, 10:] = False
    brightness = Brightness()
    found = DenseClassifier(brightness, 10).segment(TileStack(tiles=stack.tiles, pixels=stack.pixels, valid=valid))
    np.testing.assert_array_equal(found.labels == 1, valid)
    assert brightness.windows == 7 * 2  # starts 0, 5, … 30 down; 0 and 5 across: from 10 on nothing is valid


def test_the_likeliest_class_above_one_half_wins() -> None:
    image = np.array([[255] * 8 + [0] * 8 + [127] * 8] * 8, np.uint8)
    segmenter = DenseClassifier(Brightness(("bright", "dark")), 8)
    found = segmenter.segment(tiles_of(image, 8, 0)).labels
    assert [np.unique(labels).tolist() for labels in found] == [[1], [2], [2]]  # 127 / 255 is just below one half
    assert segmenter.classes == ("bright", "dark")
    assert segmenter.model.threshold is None, "a gate's threshold is no cut for area"


@pytest.mark.parametrize(("probability", "label"), [(0.5, 0), (0.51, 1)])
def test_one_half_itself_is_background(probability: float, label: int) -> None:
    segmenter = DenseClassifier(FakeClassifier(probability), 4)
    found = segmenter.segment(tiles_of(np.zeros((3, 9), np.uint8), 9, 0)).labels
    np.testing.assert_array_equal(found[0, :3], np.full((3, 9), label))
