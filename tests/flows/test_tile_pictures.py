"""Which mistakes are worst, and what their pictures show."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifiers.labels.sample import UNLABELLED, LabelledTiles, Sample
from flows.pages.tile_pictures import GAP_PX, gallery, gate_pictures, mask_pictures, worst_masks, worst_tiles
from tiling.info import PixelSize


def tiles_of(pixels: NDArray[Any], labels: NDArray[Any], classes: tuple[str, ...], **changes: Any) -> LabelledTiles:
    count, _, side, _ = pixels.shape
    plain: dict[str, Any] = {
        "samples": tuple(Sample(name=f"scene/<{i}>.png", group="one") for i in range(count)),
        "classes": classes,
        "exclusive": False,
        "bands": ("red", "green", "blue"),
        "pixel_size": PixelSize(y=1, x=1, unit="m"),
        "tile_px": side,
        "halo_px": 0,
        "pixels": pixels,
        "valid": np.ones((count, side, side), bool),
        "labels": labels.astype(np.float32),
        "fractions": labels.astype(np.float32),
    }
    return LabelledTiles(**(plain | changes))


def decoded(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(png)))


def test_the_surest_mistakes_come_first() -> None:
    labels = np.array([[1], [0], [1], [0], [1]], np.float32)
    scores = np.array([[0.9], [0.8], [0.05], [0.2], [0.4]], np.float32)
    assert worst_tiles(labels, scores, exclusive=False).tolist() == [2, 1, 4]
    assert worst_tiles(labels, scores, exclusive=False, most=1).tolist() == [2]
    three = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.3, 0.3, 0.4]], np.float32)
    assert worst_tiles(np.eye(3, dtype=np.float32)[[1, 0, 2]], three, exclusive=True).tolist() == [1, 0]


def test_masks_are_as_bad_as_their_wrong_pixels() -> None:
    counts = np.array([[[9, 10, 9]], [[0, 0, 5]], [[7, 7, 7]], [[0, 4, 0]]], np.int64)  # both, mapped, true
    assert worst_masks(counts).tolist() == [1, 3, 0]


def test_a_picture_is_the_tile_and_says_what_it_was_taken_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    tiles = tiles_of(pixels, np.array([[1, 0], [0, 1]]), ("forest", "river"), exclusive=True)
    scores = np.array([[0.2, 0.8], [0.4, 0.6]], np.float32)
    (found,) = gate_pictures(tiles, scores, [0])
    np.testing.assert_array_equal(decoded(found.png), pixels[0].transpose(1, 2, 0))
    assert (found.name, found.lines) == ("scene/<0>.png", ("true: forest (0.200)", "answer: river (0.800)"))


def test_words_for_one_class_and_for_many() -> None:
    pixels = np.zeros((2, 3, 16, 16), np.uint8)
    one = gate_pictures(tiles_of(pixels, np.array([[0], [1]]), ("idc",)), np.array([[0.9], [0.1]], np.float32), [0, 1])
    assert [p.lines for p in one] == [("true: not idc", "idc: 0.900"), ("true: idc", "idc: 0.100")]
    tiles = tiles_of(pixels, np.array([[0, 0], [1, 1]]), ("a", "b"))
    many = gate_pictures(tiles, np.array([[0.9, 0.7], [0.1, 0.2]], np.float32), [0, 1])
    assert [p.lines for p in many] == [
        ("true: none", "answer: a (0.900), b (0.700)"),
        ("true: a, b", "answer: none"),
    ]


def test_masks_are_shown_beside_image_and_truth_cores_only() -> None:
    pixels = np.full((1, 3, 24, 24), 100, np.uint8)
    masks = np.ones((1, 24, 24), np.uint8)
    masks[0, 4:12, 4:20] = 0
    masks[0, 4:6, 4:6] = UNLABELLED
    tiles = tiles_of(pixels, np.ones((1, 1)), ("water",), tile_px=16, halo_px=4, masks=masks)
    (found,) = mask_pictures(tiles, np.zeros((1, 16, 16), np.uint8), [0])
    image = decoded(found.png)
    assert image.shape == (16, 3 * 16 + 2 * GAP_PX, 3)
    assert (image[:, :16] == 100).all()
    truth, mapped = image[:, 16 + GAP_PX : 32 + GAP_PX].astype(int), image[:, -16:].astype(int)
    assert (truth[:2, :2] == 128).all()
    blue = truth[..., 2] - truth[..., 0]
    assert (blue[8:] > 50).all()
    assert (blue[:8] == 0).all()
    assert (mapped[..., 2] == mapped[..., 0]).all()
    assert found.lines == (f"{100 * 128 / 252:.1f} % of its pixels are wrong",)


def test_large_tiles_are_drawn_smaller() -> None:
    tiles = tiles_of(np.zeros((1, 3, 600, 600), np.uint8), np.ones((1, 1)), ("a",))
    (found,) = gate_pictures(tiles, np.zeros((1, 1), np.float32), [0])
    assert decoded(found.png).shape == (256, 256, 3)


def test_names_can_not_write_html() -> None:
    tiles = tiles_of(np.zeros((1, 3, 8, 8), np.uint8), np.ones((1, 1)), ("<i>",))
    html = gallery(gate_pictures(tiles, np.zeros((1, 1), np.float32), [0]))
    assert "scene/&lt;0&gt;.png" in html
    assert "<0>" not in html
    assert "<i>" not in html
    assert gallery(()) == ""
