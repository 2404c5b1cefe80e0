"""The table of disturbances: mild is less than strong, and what does not apply says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from classifiers.measuring.disturbances import disturbances, for_masks
from tiling.stack import TileStack

RGB = ("red", "green", "blue")


def test_every_disturbance_is_mild_once_and_strong_once() -> None:
    steps = disturbances(RGB, "uint8", "um", (30, 30, 30))
    assert set(Counter((step.name, step.step) for step in steps).values()) == {1}
    assert {name for name, count in Counter(step.name for step in steps).items() if count != 2} == set()
    assert {"blur", "JPEG", "rotation", "sensor shift", "bluer stain"} <= {step.name for step in steps}
    assert all(step.parameters and not step.skipped for step in steps)


def test_strong_changes_more_than_mild(stack_of: Callable[..., TileStack]) -> None:
    rng = np.random.default_rng(1)
    rough = np.kron(rng.integers(60, 200, (2, 3, 12, 12)), np.ones((4, 4))).astype(np.uint8)
    stack = stack_of(rough)
    moved = {
        (step.name, step.step): float(np.abs(step.change(stack).pixels.astype(int) - rough).mean())
        for step in disturbances(RGB, "uint8", "um", (40, 40, 40))
    }
    for name in {name for name, _ in moved}:
        assert 0 < moved[name, "mild"] < moved[name, "strong"], name


@pytest.mark.parametrize(
    ("bands", "dtype", "unit", "skipped"),
    [
        (RGB, "uint8", "m", {"bluer stain", "pinker stain"}),
        (RGB, "uint16", "um", {"bluer stain", "pinker stain", "JPEG"}),
        (("green", "nir"), "uint8", "m", {"bluer stain", "pinker stain", "JPEG"}),
        (("blue", "green", "red"), "uint8", "um", {"bluer stain", "pinker stain"}),
    ],
)
def test_what_does_not_apply_says_why(bands: tuple[str, ...], dtype: str, unit: str, skipped: set[str]) -> None:
    steps = disturbances(bands, dtype, unit, [1.0] * len(bands))
    assert {step.name for step in steps if step.skipped} == skipped
    stains = next(step.skipped for step in steps if step.name == "bluer stain")
    assert ("metres" if unit == "m" else f"{', '.join(bands)} in {dtype}") in stains


def test_sensor_offsets_are_shares_of_each_bands_spread(stack_of: Callable[..., TileStack]) -> None:
    flat = np.full((1, 2, 4, 4), 1000, np.uint16)
    strong = next(
        s
        for s in disturbances(("red", "nir"), "uint16", "m", (100, 400))
        if s.name == "sensor shift" and s.step == "strong"
    )
    assert strong.change(stack_of(flat)).pixels[0, :, 0, 0].tolist() == [1150 - 15, 850 + 60]


def test_masks_do_not_turn() -> None:
    steps = for_masks(disturbances(RGB, "uint8", "um", (1, 1, 1)))
    assert {step.name for step in steps if step.skipped} == {"rotation"}
    assert "masks do not move" in next(step.skipped for step in steps if step.skipped)
