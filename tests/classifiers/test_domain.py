"""What tiles look like in numbers, how far apart two looks are, and how a bundle learns of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis

from classifiers.bundle import Bundle, load_bundle, read_weights
from classifiers.bundle_contract import Calibration, Domain
from classifiers.domain import describe, distance, domain_of, shrunk_covariance
from classifiers.domain_bundle import add_domain, describe_tiles
from classifiers.labels.sample import LabelledTiles, Sample, Split
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack


def stack_of(pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> TileStack:
    count, _, height, width = pixels.shape
    side = max(height, width)
    grid = TileGrid(shape_px=(side, side * max(count, 1)), tile_px=side)
    mask = np.ones((count, height, width), bool) if valid is None else valid
    return TileStack(tiles=tuple(grid.tile(0, i) for i in range(count)), pixels=pixels, valid=mask)


def texture(count: int, seed: int, dtype: str = "uint8", side: int = 32) -> NDArray[Any]:
    """Noise of three bands, smooth and rough, each tile of its own brightness."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(0, 8, (count, 3, side, side))
    smooth = np.kron(rng.normal(0, 12, (count, 3, side // 8, side // 8)), np.ones((8, 8)))
    return np.clip(rough + smooth + rng.uniform(70, 150, (count, 1, 1, 1)), 1, 250).astype(dtype)


def test_a_flat_tile_is_its_colour_and_nothing_else() -> None:
    pixels = np.broadcast_to(np.array([10, 20, 30], np.uint8)[None, :, None, None], (1, 3, 16, 16))
    (row,) = describe(stack_of(pixels))
    assert np.square(row) == pytest.approx([10, 20, 30] * 3 + [0] * 7, abs=1e-5)
    assert describe(stack_of(-pixels.astype(np.int16))).tolist() == [[*-row[:9], *row[9:]]]


def test_a_chessboard_is_rough_close_by_and_flat_from_afar() -> None:
    board = np.where(np.indices((16, 16)).sum(axis=0) % 2, 200, 0)
    pixels = np.stack([board, board, 200 - board])[None].astype(np.uint16)
    row = np.square(describe(stack_of(pixels))[0])
    by_name = {"mean": row[:3], "low": row[3:6], "high": row[6:9], "spread": row[9:12], "colour": row[12:14]}
    assert by_name["mean"] == pytest.approx([100, 100, 100])
    assert by_name["low"] == pytest.approx([0, 0, 0])
    assert by_name["high"] == pytest.approx([200, 200, 200])
    assert by_name["spread"] == pytest.approx([100, 100, 100])
    assert by_name["colour"] == pytest.approx([0, 200])  # the first two are one, the last is against both
    assert row[14] == pytest.approx(200 / 3)  # of the three, the mean steps by a third of 200
    assert row[15] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_numpy_says_the_same(dtype: str, bands: int) -> None:
    pixels = np.concatenate([texture(2, seed) for seed in range(2)], axis=1)[:, :bands].astype(dtype)
    found = np.square(describe(stack_of(pixels)))
    plain = pixels.astype(float)
    assert found.shape == (2, 5 * bands + 1)
    assert found[:, :bands] == pytest.approx(plain.mean((2, 3)), rel=1e-5)
    low, high = np.quantile(plain, [0.05, 0.95], axis=(2, 3))
    assert found[:, bands : 2 * bands] == pytest.approx(low, abs=3)
    assert found[:, 2 * bands : 3 * bands] == pytest.approx(high, abs=3)
    assert found[:, 3 * bands : 4 * bands] == pytest.approx(plain.std((2, 3)), rel=1e-4)
    differences = np.diff(plain, axis=1).std((2, 3))
    assert found[:, 4 * bands : -2] == pytest.approx(differences, rel=1e-4)
    grey = plain.mean(1)
    steps = (np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))) / 2
    assert found[:, -2] == pytest.approx(steps, rel=1e-4)
    blocks = grey.reshape(2, 8, 4, 8, 4).mean((2, 4))
    coarse = (np.abs(np.diff(blocks, axis=1)).mean((1, 2)) + np.abs(np.diff(blocks, axis=2)).mean((1, 2))) / 2
    assert found[:, -1] == pytest.approx(coarse, rel=1e-4)


@given(cut=st.integers(16, 32), garbage=st.sampled_from([0.0, 1e30, math.nan, -math.inf]))
def test_pixels_that_are_not_valid_change_no_bit(cut: int, garbage: float) -> None:
    pixels = texture(1, 3, "float32")
    valid = np.ones((1, 32, 32), bool)
    valid[0, :, cut:] = False
    filled = np.where(valid[:, None], pixels, np.float32(garbage))
    whole, dirty = describe(stack_of(pixels, valid)), describe(stack_of(filled, valid))
    assert np.array_equal(whole, dirty)
    assert np.isfinite(whole).all()
    kept = pixels[0, :, :, :cut].astype(float)
    found = np.square(whole[0])
    assert found[:3] == pytest.approx(kept.mean((1, 2)), rel=1e-5)
    assert found[9:12] == pytest.approx(kept.std((1, 2)), rel=1e-4)
    steps = (np.abs(np.diff(kept.mean(0), axis=0)).mean() + np.abs(np.diff(kept.mean(0), axis=1)).mean()) / 2
    assert found[-2] == pytest.approx(steps, rel=1e-4)


def test_tiles_that_hold_too_little_are_not_described() -> None:
    pixels, valid = texture(5, 4, "float32"), np.ones((5, 32, 32), bool)
    valid[0, 16:] = False  # a half is left
    valid[1, 15:] = False  # less
    valid[2] = np.indices((32, 32)).sum(axis=0) % 2 == 0  # a half, and no two neighbours
    valid[3] = False
    pixels[4, 0, 5, 5] = np.inf
    judged = np.isfinite(describe(stack_of(pixels, valid)))
    assert judged.all(axis=1).tolist() == [True, False, False, False, False]
    assert judged.any(axis=1).tolist() == [True, False, False, False, False]  # a row is judged as a whole
    assert np.isnan(describe(stack_of(pixels[:1, :, :7, :7]))).all()
    assert describe(stack_of(pixels[:0])).shape == (0, 16)


@given(st.permutations(range(6)), st.integers(1, 6))
def test_the_bits_of_a_tile_do_not_depend_on_its_neighbours(order: list[int], count: int) -> None:
    pixels, valid = texture(6, 5), np.ones((6, 32, 32), bool)
    valid[2, :, 20:] = False
    chosen = order[:count]
    alone = describe(stack_of(pixels, valid))
    domain = domain_of(describe(stack_of(texture(40, 6))), alone)
    together = describe(stack_of(pixels[chosen], valid[chosen]))
    assert np.array_equal(together, alone[chosen])
    assert np.array_equal(distance(together, domain), distance(alone, domain)[chosen])


@pytest.fixture(scope="module")
def domain() -> Domain:
    return domain_of(describe(stack_of(texture(300, 1))), describe(stack_of(texture(200, 2))))


def test_distances_are_those_of_scipy(domain: Domain) -> None:
    found = describe(stack_of(texture(5, 3)))
    truth = [mahalanobis(row, np.array(domain.mean), np.array(domain.precision)) for row in found]
    assert distance(found, domain) == pytest.approx(truth, rel=1e-9)
    found[1, 4] = np.nan
    assert np.isnan(distance(found, domain)).tolist() == [False, True, False, False, False]
    with pytest.raises(BadInput, match="tiles of 15 numbers under a domain of 16"):
        distance(found[:, :15], domain)


def test_the_mean_and_the_covariance_are_those_of_scikit_learn() -> None:
    """Of the numbers, each divided by its standard deviation."""
    covariance = pytest.importorskip("sklearn.covariance")
    for count in (10, 300):
        seen = describe(stack_of(texture(count, 7)))
        fitted = covariance.LedoitWolf().fit(seen / seen.std(axis=0))
        made = domain_of(seen, seen)
        assert made.tiles == count
        assert np.array(made.mean) == pytest.approx(seen.mean(axis=0))
        apart = (seen - seen.mean(axis=0)) / seen.std(axis=0)
        truth = np.sqrt(np.einsum("ni,ij,nj->n", apart, fitted.precision_, apart))
        assert distance(seen, made) == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("count", [1, 30, 99, 100, 101, 1000])
def test_99_of_100_held_out_tiles_lie_within_the_limit(count: int) -> None:
    rng = np.random.default_rng(count)
    train, held = rng.normal(size=(200, 4)), rng.standard_t(3, (count, 4))
    made = domain_of(train, held)
    far = np.sort(distance(held, made))
    assert made.limit in far
    assert (far > made.limit).sum() <= count / 100
    assert count < 2 or (far >= made.limit).sum() >= count / 100  # and no larger than it must be


@given(st.lists(st.floats(1e-6, 1e6), min_size=4, max_size=4))
def test_units_do_not_matter(units: list[float]) -> None:
    rng = np.random.default_rng(8)
    train, held = rng.normal(size=(50, 4)), rng.normal(size=(20, 4))
    plain, scaled = domain_of(train, held), domain_of(train * units, held * units)
    assert scaled.limit == pytest.approx(plain.limit, rel=1e-6)
    assert distance(held * units, scaled) == pytest.approx(distance(held, plain), rel=1e-6)


def test_rows_of_nan_are_left_out_and_too_few_tiles_are_refused() -> None:
    rng = np.random.default_rng(9)
    train, held = rng.normal(size=(20, 3)), rng.normal(size=(10, 3))
    holes = np.full((2, 3), np.nan)
    assert domain_of(np.concatenate([train, holes]), np.concatenate([holes, held])) == domain_of(train, held)
    with pytest.raises(BadInput, match="1 training tiles and 10 held-out tiles can be described"):
        domain_of(np.concatenate([train[:1], holes]), held)
    with pytest.raises(BadInput, match="20 training tiles and 0 held-out"):
        domain_of(train, holes)


@pytest.mark.parametrize("odd", ["grey", "constant", "one number constant"])
def test_data_without_colour_or_without_anything_make_a_domain_too(odd: str) -> None:
    pixels = texture(60, 10)
    if odd == "grey":
        pixels[:, 1:] = pixels[:, :1]
    if odd == "constant":
        pixels[:] = 7
    seen = describe(stack_of(pixels))
    if odd == "one number constant":
        seen[:, 4] = 0
    made = domain_of(seen[:40], seen[40:])
    assert np.isfinite(made.precision).all()
    assert 0 < made.limit < 100
    assert (distance(describe(stack_of(texture(20, 11) // 2)), made) > made.limit).mean() > 0.5


def test_a_sphere_shrinks_to_itself() -> None:
    assert shrunk_covariance(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])) == pytest.approx(np.eye(2) / 2)


def test_what_looks_otherwise_is_far(domain: Domain) -> None:
    """A change of brightness, contrast, colour, sharpness or noise, each alone."""
    plain = texture(100, 12).astype(float)
    rng = np.random.default_rng(13)
    kernel = np.stack([np.roll(plain, (y, x), (2, 3)) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    strange = {
        "darker": plain * 0.5,
        "flatter": plain.mean((2, 3), keepdims=True) + 0.4 * (plain - plain.mean((2, 3), keepdims=True)),
        "redder": plain * np.array([1.3, 1, 0.8])[None, :, None, None],
        "blurred": kernel.mean(0),
        "noisy": plain + rng.normal(0, 16, plain.shape),
    }
    beyond = {
        name: (distance(describe(stack_of(np.clip(pixels, 0, 255).astype(np.uint8))), domain) > domain.limit).mean()
        for name, pixels in strange.items()
    }
    assert min(beyond.values()) > 0.5, beyond
    assert (distance(describe(stack_of(plain.astype(np.uint8))), domain) > domain.limit).mean() < 0.05


def labelled(pixels: NDArray[Any], bands: tuple[str, ...] = ("red", "green", "blue")) -> LabelledTiles:
    count, side = len(pixels), pixels.shape[-1]
    return LabelledTiles(
        samples=tuple(Sample(name=f"{i}.png", group=str(i)) for i in range(count)),
        classes=("forest",),
        exclusive=False,
        bands=bands,
        pixel_size=PixelSize(y=40, x=40, unit="m"),
        tile_px=side,
        halo_px=0,
        pixels=pixels,
        valid=np.ones((count, side, side), bool),
        labels=np.ones((count, 1), np.float32),
        fractions=np.ones((count, 1), np.float32),
    )


SPLIT = Split(train=np.arange(300), validation=np.arange(300, 310), test=np.arange(310, 360))


def test_a_bundle_gets_its_domain_and_nothing_else(tiny_gate: Callable[..., Bundle]) -> None:
    evidence = Calibration(tiles=("a",), scores=((0.5,),), labels=((1,),), fractions=((1.0,),))
    before = tiny_gate(threshold=0.5, calibration=evidence)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in before.path.iterdir()}
    told = json.loads((before.path / "bundle.json").read_text())
    tiles = labelled(texture(360, 15))
    after = add_domain(before.path, tiles, SPLIT)
    assert load_bundle(after.path, Path("elsewhere")) == after
    assert replace(after, domain=None, contract_sha256="") == replace(before, contract_sha256="")
    assert after.contract_sha256 != before.contract_sha256
    assert read_weights(after) == read_weights(before)
    assert after.domain == domain_of(describe(tiles.stack(SPLIT.train)), describe(tiles.stack(SPLIT.test)))
    changed = {path.name for path in after.path.iterdir() if files.get(path.name) != _digest(path)}
    assert changed == {"bundle.json"}
    now = json.loads((after.path / "bundle.json").read_text())
    assert now.pop("tilegate:domain")["tiles"] == 300
    assert now == told
    assert add_domain(before.path, tiles, SPLIT) == after  # twice is once


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_tiles_of_another_kind_are_not_described(tiny_gate: Callable[..., Bundle]) -> None:
    folder = tiny_gate().path
    before = _digest(folder / "bundle.json")
    for tiles in (labelled(texture(360, 16, "uint16")), labelled(texture(360, 16), ("nir", "red", "green"))):
        with pytest.raises(BadInput, match="tiny takes red, green, blue of uint8; these tiles hold"):
            add_domain(folder, tiles, SPLIT)
    assert _digest(folder / "bundle.json") == before


def test_many_tiles_are_described_as_few() -> None:
    tiles = labelled(texture(600, 17, side=16))
    chosen = np.arange(0, 600)[::-1]
    assert np.array_equal(describe_tiles(tiles, chosen), describe(tiles.stack(chosen)))
    assert describe_tiles(tiles, chosen[:0]).shape == (0, 16)
