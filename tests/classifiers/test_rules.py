"""Rules against the papers' figures, scikit-image and a pencil."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import hdx_from_rgb, separate_stains
from skimage.filters import threshold_otsu

from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES, find_rule, normalised_difference
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.source import Pixels
from tiling.stack import TileStack


def one_pixel(*bands: float, dtype: str = "uint16") -> NDArray[np.generic]:
    """(band, 1, 1)."""
    return np.array(bands, dtype)[:, None, None]


@pytest.mark.parametrize(
    ("rule", "first", "second", "index", "positive"),
    [
        ("ndwi", 300, 100, 0.5, True),  # McFeeters 1996: green above near infrared is open water
        ("ndwi", 100, 300, -0.5, False),
        ("ndwi", 100, 100, 0.0, False),  # zero itself is not above zero
        ("ndvi", 5000, 1000, 2 / 3, True),
        ("ndvi", 1300, 1000, 3 / 23, False),
        ("ndsi", 7500, 2500, 0.5, True),
        ("ndsi", 6999, 3001, 0.3998, False),  # Hall 1995: snow above 0.4
        ("ndsi", 7001, 2999, 0.4002, True),
    ],
)
def test_an_index_by_hand(rule: str, first: int, second: int, index: float, positive: bool) -> None:
    pixels = one_pixel(first, second)
    assert RULES[rule].amount(pixels).item() == pytest.approx(index)
    assert RULES[rule].positive(pixels).item() is positive


def test_an_index_knows_no_unsigned_underflow_and_no_0_by_0() -> None:
    assert normalised_difference(one_pixel(10, 250, dtype="uint8")).item() == pytest.approx(-240 / 260)
    assert np.isnan(normalised_difference(one_pixel(0, 0)).item())
    assert not RULES["ndwi"].positive(one_pixel(0, 0)).item()


def test_a_rule_takes_a_stack_like_its_tiles() -> None:
    stack = np.random.default_rng(1).integers(0, 256, (5, 3, 8, 9), dtype=np.uint8)
    for name in ("tissue", "dab"):
        alone = np.stack([RULES[name].amount(tile) for tile in stack])
        np.testing.assert_array_equal(RULES[name].amount(stack), alone)


def test_saturation_is_that_of_hsv() -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (3, 20, 20), dtype=np.uint8)
    rgb[:, 0, 0] = 0
    by_python = [[colorsys.rgb_to_hsv(*(rgb[:, y, x] / 255))[1] for x in range(20)] for y in range(20)]
    np.testing.assert_allclose(RULES["tissue"].amount(rgb), by_python, atol=1e-12)


@pytest.mark.parametrize(("haematoxylin", "dab"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.4)])
def test_a_mixture_of_stains_is_unmixed(haematoxylin: float, dab: float) -> None:
    """Beer-Lambert: optical densities add, in the proportions of Ruifrok & Johnston 2001."""
    h, d = np.array([0.650, 0.704, 0.286]), np.array([0.268, 0.570, 0.776])
    density = haematoxylin * h / np.linalg.norm(h) + dab * d / np.linalg.norm(d)
    rgb = np.round(255 * 10**-density)
    assert RULES["dab"].amount(one_pixel(*rgb, dtype="uint8")).item() == pytest.approx(dab, abs=0.01)


def test_dab_is_that_of_scikit_image() -> None:
    rgb = np.random.default_rng(3).integers(1, 256, (3, 30, 30), dtype=np.uint8)
    theirs = separate_stains(rgb.transpose(1, 2, 0), hdx_from_rgb)[..., 1] * 6  # it divides by log10(1e-6)
    ours = RULES["dab"].amount(rgb)
    np.testing.assert_allclose(np.maximum(ours, 0), theirs, atol=0.005)  # it clips, and leaves the third stain shorter


def test_a_cut_is_fitted_by_otsu_on_valid_pixels_only() -> None:
    rng = np.random.default_rng(4)
    glass, tissue = rng.integers(225, 245, (3, 40, 60)), rng.integers(0, 40, (3, 40, 30))
    tissue += np.array([170, 60, 120])[:, None, None]  # purple
    data = np.concatenate([glass, tissue], axis=2).astype(np.uint8)
    valid = np.ones((40, 90), bool)
    data[:, :, :10], valid[:, :10] = np.array([255, 0, 0])[:, None, None], False  # full saturation, but no data
    rule = RULES["tissue"].fitted(Pixels(data, valid))
    assert rule.cut == threshold_otsu(RULES["tissue"].amount(data)[:, 10:])
    found = rule.positive(data) & valid
    assert found[:, 60:].all()
    assert not found[:, :60].any()


def test_one_tone_has_nothing_above_it() -> None:
    data, valid = np.full((3, 9, 9), 200, np.uint8), np.ones((9, 9), bool)
    assert not RULES["tissue"].fitted(Pixels(data, valid)).positive(data).any()
    assert RULES["tissue"].fitted(Pixels(data, ~valid)).cut == 0.0


def test_a_cut_that_is_given_stays_and_none_is_an_error() -> None:
    rule = find_rule("tissue", 0.2)
    assert rule is not None
    assert rule.fitted(Pixels(np.zeros((3, 2, 2), np.uint8), np.ones((2, 2), bool))) is rule
    assert find_rule("no such rule", 0.2) is None
    with pytest.raises(BadInput, match="no cut yet"):
        RULES["tissue"].positive(np.zeros((3, 2, 2), np.uint8))


def test_the_cut_is_part_of_a_rules_identity() -> None:
    hashes = {rule.model.sha256 for cut in (None, 0.1, 0.2) if (rule := find_rule("ndwi", cut)) is not None}
    hashes |= {rule.model.sha256 for rule in RULES.values()}
    assert len(hashes) == 2 + len(RULES)


def test_the_gates_score_is_the_share_of_valid_pixels() -> None:
    grid = TileGrid(shape_px=(4, 12), tile_px=4)
    green, nir = np.full((3, 4, 4), 1), np.full((3, 4, 4), 2)
    valid = np.ones((3, 4, 4), bool)
    green[0, :2] = 3  # half of the first tile is water
    green[1, :2, :2], valid[1, :, 2:] = 3, False  # 4 of 8 valid pixels of the second; more outside does not count
    green[1, :, 2:] = 3
    green[2], valid[2] = 3, False  # nothing is valid in the third
    stack = TileStack(tiles=tuple(grid.tile(0, i) for i in range(3)), pixels=np.stack([green, nir], 1), valid=valid)
    scores = RuleGate(RULES["ndwi"]).score(stack)
    assert scores.dtype == np.float32
    assert scores.tolist() == [[0.5], [0.5], [0.0]]
