"""Heat as colour, and the picture it ends up in."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from classifiers.measuring.heat import MARGIN_PX, PANEL_PX, coloured, heat_picture, heated, relative
from classifiers.measuring.natural import NODATA, display_bands, display_range, natural


def test_more_is_brighter() -> None:
    """Relative luminance of sRGB (IEC 61966-2-1) rises all the way, so the map can be read without colours."""
    share = coloured(np.linspace(0, 1, 200)) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_no_heat_is_the_picture_in_grey_and_heat_lets_it_through() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    cold = heated(picture, np.zeros((8, 9)))
    assert (cold[..., 0] == cold[..., 1]).all()
    np.testing.assert_allclose(cold[..., 0], picture.mean(axis=2) * 0.7, atol=0.51)
    hot = 0.7 * np.array([252, 255, 164]) + 0.3 * 0.7 * picture.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(heated(picture, np.ones((8, 9))), hot, atol=0.51)


@pytest.mark.parametrize(
    ("shape", "panel"), [((50, 50), (300, 300)), ((64, 32), (320, 160)), ((1000, 500), (320, 160))]
)
def test_two_panels_of_the_same_tile(shape: tuple[int, int], panel: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), (200, 100, 60), np.uint8)
    title = "a tile with a very long name " * 20
    image = Image.open(BytesIO(heat_picture(picture, np.zeros(shape), title, "legend")))
    assert image.format == "PNG"
    assert max(panel) <= PANEL_PX
    pixels = np.asarray(image)
    left, middle = MARGIN_PX, MARGIN_PX + panel[1] // 2
    row = MARGIN_PX + panel[0] // 2
    assert pixels[row, middle].tolist() == [200, 100, 60]
    assert pixels[row, left + panel[1] + 2].tolist() == [255, 255, 255]
    assert pixels[row, left + panel[1] + MARGIN_PX + 2].tolist() == [84, 84, 84]  # 0.7 of the mean
    assert (pixels[:, -8:] == 255).all(), "text stays on the page"
    assert (pixels[panel[0] + MARGIN_PX + 1 :] < 120).any(), "there is text"


def test_drops_are_seen_against_the_largest_of_their_tile() -> None:
    drop = np.array([[[0.2, -0.3], [0.1, 0.0]], [[-0.1, -0.2], [0.0, -0.5]]], np.float32)
    np.testing.assert_allclose(relative(drop), [[[1, 0], [0.5, 0]], [[0, 0], [0, 0]]], atol=1e-6)


def test_8_bit_colours_are_shown_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 7), dtype=np.uint8)
    valid = np.ones((1, 6, 7), bool)
    valid[0, 0, 0] = False
    bands = ("nir", "blue", "green", "red")
    found = natural(pixels[0], valid[0], bands, display_range(pixels, valid))
    np.testing.assert_array_equal(found[1:], pixels[0, [3, 2, 1], 1:].transpose(1, 2, 0))
    assert tuple(found[0, 0]) == NODATA


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_values_are_stretched_to_percentiles_of_all_tiles(dtype: str) -> None:
    pixels = np.random.default_rng(0).uniform(0, 3000, (3, 3, 40, 40)).astype(dtype)
    valid = np.ones((3, 40, 40), bool)
    valid[0, :5] = False
    if dtype == "float32":
        pixels[0, :, :5] = np.nan
    limits = display_range(pixels, valid)
    seen = np.concatenate([pixels[0, 1, 5:].ravel(), pixels[1:, 1].ravel()])
    np.testing.assert_allclose(limits[1], np.percentile(seen.astype(float), (2, 98)))
    found = natural(pixels[0], valid[0], ("red", "green", "blue"), limits)
    assert tuple(found[2, 2]) == NODATA
    assert (found[5:] == 0).mean() == pytest.approx(0.02, abs=0.01)
    assert (found[5:] == 255).mean() == pytest.approx(0.02, abs=0.01)


def test_bands_are_shown_as_the_field_does() -> None:
    assert display_bands(("blue", "green", "red", "nir")) == [2, 1, 0]
    assert display_bands(("green", "nir")) == [1, 0, 0]
    assert display_bands(("grey",)) == [0, 0, 0]
