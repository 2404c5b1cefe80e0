"""Features against numpy, scikit-image and scikit-learn, and against themselves on a turned tile."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import fisher_vector, graycomatrix, graycoprops
from skimage.feature import hog as skimage_hog
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from classifiers.classical import gradient, texture
from classifiers.classical.colour import band_pairs, colour
from classifiers.classical.describe import describe, widths
from classifiers.classical.fit_codebook import AXES, fit_codebook
from classifiers.classical.gradient import cell_histograms, hog
from classifiers.classical.patches import PATCH_PX, STRIDE_PX, fisher, gradients, patches, whitened, words
from classifiers.classical.texture import glcm, lbp
from tiling.errors import BadInput


def noise(bands: int = 3, height: int = 24, width: int = 24, seed: int = 0) -> np.ndarray:
    """Smooth and rough at once."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(bands, height // 4 + 1, width // 4 + 1)).repeat(4, axis=1).repeat(4, axis=2)
    return (coarse[:, :height, :width] + 0.5 * random.normal(size=(bands, height, width))).astype(np.float32)


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_colour_is_numpys(bands: int) -> None:
    tile, pairs = noise(bands), {1: [], 2: [(0, 1)], 3: [(0, 1), (1, 2), (2, 0)]}
    flat = tile.reshape(bands, -1).astype(float)
    found = colour(tile)
    assert len(found) == 23 * bands + 8 * len(band_pairs(bands))
    moments, histogram = found[: 7 * bands].reshape(bands, 7), found[7 * bands : 23 * bands].reshape(bands, 16)
    for i, values in enumerate(flat):
        told = [values.mean(), values.std(), *np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95), method="nearest")]
        np.testing.assert_allclose(moments[i], told, atol=1e-5)
        counts = np.histogram(np.clip(values, -2.999, 2.999), bins=16, range=(-3, 3))[0]
        np.testing.assert_allclose(histogram[i], counts / values.size, atol=1e-9)
    assert band_pairs(bands) == pairs.get(bands, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)])
    between = found[23 * bands :]
    for i, (a, b) in enumerate(band_pairs(bands)):
        apart = flat[a] - flat[b]
        np.testing.assert_allclose(between[7 * i : 7 * i + 2], [apart.mean(), apart.std()], atol=1e-5)
        related = np.corrcoef(flat[a], flat[b])[0, 1]
        np.testing.assert_allclose(between[7 * len(band_pairs(bands)) + i], related, atol=1e-5)


def test_a_flat_band_is_correlated_with_nothing() -> None:
    tile = noise(2)
    tile[1] = 0
    assert colour(tile)[-1] == 0


def test_local_binary_patterns_by_their_definition() -> None:
    """Ojala et al. 2002: at most two changes around the ring -> how many are not darker; else the tenth kind."""
    grey = np.random.default_rng(1).integers(0, 4, (16, 17)).astype(np.float32)  # with ties
    expected = []
    for radius in texture.RADII:
        counts = np.zeros(10)
        for y in range(radius, 16 - radius):
            for x in range(radius, 17 - radius):
                around = [
                    grey[y + round(radius * np.sin(a)), x + round(radius * np.cos(a))] >= grey[y, x]
                    for a in np.arange(8) * np.pi / 4
                ]
                turns = sum(one != other for one, other in pairwise([*around, around[0]]))
                counts[sum(around) if turns <= 2 else 9] += 1
        expected.append(counts / counts.sum())
    np.testing.assert_allclose(lbp(grey[None]), np.concatenate(expected), atol=1e-12)


def test_what_a_flat_tile_and_a_bright_dot_are() -> None:
    tile = np.zeros((1, 16, 16), np.float32)
    assert (lbp(tile).reshape(3, 10)[:, 8] == 1).all()
    tile[0, 8, 8] = 1
    assert lbp(tile).reshape(3, 10)[0, 0] == 1 / 14**2, "the dot is brighter than its ring"


def test_cooccurrence_is_scikit_images() -> None:
    levels = np.random.default_rng(2).integers(0, 16, (20, 23), dtype=np.uint8)
    distances, angles = list(texture.DISTANCES), list(texture.ANGLES)
    expected = graycomatrix(levels, distances, angles, levels=16, symmetric=True, normed=True)
    for i, distance in enumerate(distances):
        for j, angle in enumerate(angles):
            found = texture.cooccurrence(levels, distance, angle)
            np.testing.assert_allclose(found, expected[:, :, i, j], atol=1e-12)
            told = [graycoprops(expected, name)[i, j] for name in ("contrast", "homogeneity", "energy", "correlation")]
            np.testing.assert_allclose(texture.properties(found[None])[0], told, atol=1e-9)


def test_one_grey_is_correlated_with_itself() -> None:
    found = glcm(np.zeros((3, 16, 16), np.float32)).reshape(3, 8)
    np.testing.assert_array_equal(found[:, :4], [[0, 1, 1, 1]] * 3)
    np.testing.assert_array_equal(found[:, 4:], 0)


def test_gradients_are_scikit_images() -> None:
    """Its cells are normalised; scaled up, our added epsilon and its vanish."""
    grey = 1e4 * noise(1, 37, 45)[0]
    expected = skimage_hog(
        grey,
        orientations=gradient.BINS,
        pixels_per_cell=(gradient.CELL_PX, gradient.CELL_PX),
        cells_per_block=(1, 1),
        block_norm="L2",
        feature_vector=False,
    ).reshape(-1, gradient.BINS)
    found = cell_histograms(grey)
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), expected, atol=1e-4)


def test_straight_edges_are_of_one_orientation() -> None:
    stripes = np.tile(np.sin(np.arange(32) / 2).astype(np.float32), (1, 32, 1))
    pooled = hog(stripes)
    assert pooled[0] > 0.99, "the tile's strongest"
    assert pooled[1:8].max() < 1e-3, "and no other"
    np.testing.assert_allclose(hog(np.ascontiguousarray(stripes.transpose(0, 2, 1))), pooled, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 3))
def test_a_quarter_turn_changes_nothing(seed: int, cells: int, bands: int) -> None:
    tile = noise(bands, 8 * cells, 8 * cells, seed)
    turned = np.ascontiguousarray(np.rot90(tile, axes=(1, 2)))
    for feature in (colour, lbp, glcm, hog):
        np.testing.assert_allclose(feature(turned), feature(tile), atol=2e-4)


@pytest.fixture(name="codes", scope="module")
def codes_() -> dict[str, np.ndarray]:
    tiles = np.stack([noise(3, 32, 32, seed) for seed in range(12)])
    return dict(fit_codebook(tiles, ("words", "fisher"), seed=3))


def test_patches_are_cut_whole() -> None:
    tile = noise(2, 20, 17)
    starts = [(y, x) for y in range(0, 20 - PATCH_PX + 1, STRIDE_PX) for x in range(0, 17 - PATCH_PX + 1, STRIDE_PX)]
    expected = [tile[:, y : y + PATCH_PX, x : x + PATCH_PX].ravel() for y, x in starts]
    np.testing.assert_array_equal(patches(tile), expected)


def test_axes_are_decorrelated(codes: dict[str, np.ndarray]) -> None:
    tiles = [noise(3, 32, 32, seed) for seed in range(12)]
    found = whitened(np.concatenate([patches(tile) for tile in tiles]), codes)
    np.testing.assert_allclose(np.cov(found.T), np.eye(AXES), atol=0.05)


def test_words_are_scikit_learns(codes: dict[str, np.ndarray]) -> None:
    tile = noise(3, 40, 40, 99)
    model = KMeans(len(codes["words.centres"]), n_init=1, max_iter=1).fit(codes["words.centres"].astype(np.float64))
    model.cluster_centers_ = codes["words.centres"].astype(np.float64)
    told = model.predict(whitened(patches(tile), codes).astype(np.float64))
    expected = np.bincount(told, minlength=len(codes["words.centres"])) / len(told)
    np.testing.assert_allclose(words(tile, codes) ** 2, expected, atol=1e-9)


def test_fisher_vectors_are_scikit_images(codes: dict[str, np.ndarray]) -> None:
    weights, means, deviations = (codes[f"fisher.{name}"].astype(float) for name in ("weights", "means", "deviations"))
    count, width = means.shape
    model = GaussianMixture(count, covariance_type="diag")
    model.weights_, model.means_, model.covariances_ = weights / weights.sum(), means, deviations**2
    model.precisions_cholesky_ = 1 / deviations
    tile = noise(3, 40, 40, 98)
    found = whitened(patches(tile), codes)
    told = fisher_vector(found.astype(float), model)[count:]
    by_mean, by_deviation = told[: count * width], -told[count * width :]  # its covariances have the other sign
    np.testing.assert_allclose(gradients(found, codes), np.concatenate([by_mean, by_deviation]), atol=1e-4)
    whole = fisher(tile, codes)
    assert np.linalg.norm(whole) == pytest.approx(1)
    rooted = np.sign(told) * np.sqrt(np.abs(told))
    expected = np.abs(rooted) / np.linalg.norm(rooted)
    np.testing.assert_allclose(np.abs(whole), expected, atol=1e-3)


NAMES = ("colour", "lbp", "glcm", "hog", "words", "fisher")


def test_no_feature_depends_on_the_side(codes: dict[str, np.ndarray]) -> None:
    lengths = {len(describe(noise(3, h, w), NAMES, codes)) for h, w in [(16, 16), (17, 40), (50, 50), (64, 31)]}
    assert lengths == {sum(widths(3, NAMES, codes))}
    assert widths(3, ("lbp", "colour"), {}) == [30, 93]


def test_the_order_is_the_recipes(codes: dict[str, np.ndarray]) -> None:
    tile = noise()
    np.testing.assert_array_equal(describe(tile, ("hog", "lbp"), {}), [*hog(tile), *lbp(tile)])
    assert np.isfinite(describe(np.zeros_like(tile), NAMES, codes)).all(), "a tile without data is of the mean colour"
    assert np.isfinite(describe(np.full_like(tile, 1e6), NAMES, codes)).all()


def test_tiles_that_are_too_small_are_refused() -> None:
    with pytest.raises(BadInput, match=r"needs tiles of 16 x 16 px at least, these are 15 x 64 px"):
        describe(noise(3, 15, 64), ("colour",), {})


def test_tiles_of_one_colour_still_give_a_codebook() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = fit_codebook(np.zeros((3, 3, 16, 16), np.float32), ("words", "fisher"), seed=1)
    assert len(codes["words.centres"]) == 1
    assert np.isfinite(describe(noise(), ("words", "fisher"), codes)).all()
