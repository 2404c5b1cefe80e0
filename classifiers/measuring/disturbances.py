"""The steps by which a model is bent: each disturbance mild and strong, with its parameters; or why it does not apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from classifiers.measuring.disturb import (
    Change,
    blur,
    brightness,
    coarser,
    contrast,
    jpeg,
    rotation,
    sensor,
    stain,
)

RGB = ("red", "green", "blue")
Step = Literal["mild", "strong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """One way in which tiles can differ from those a model was trained on."""

    name: str
    """For people, such as "blur"."""
    step: Step
    """How much."""
    parameters: str
    """For people, such as "Gaussian, sigma 1.5 px"."""
    change: Change
    """What it does."""
    moves: bool = False
    """Whether pixels change their places, so that a drawn mask no longer fits."""
    skipped: str = ""
    """Why it does not apply to these tiles; empty = it does."""


def disturbances(bands: Sequence[str], dtype: str, unit: str, std: Sequence[float]) -> tuple[Disturbance, ...]:
    """All of them, for tiles of these bands and numpy dtype. unit: of the pixel size, "um" = slides.

    std: (band,) of the tiles, in the units of the pixels; offsets of a sensor are shares of it.
    """
    no_jpeg = (
        "" if dtype == "uint8" and len(bands) == 3 else f"needs three bands of uint8, these are {_are(bands, dtype)}"
    )
    no_stain = "" if unit == "um" else "for slides stained with H&E; the pixel size of these tiles is in metres"
    if not no_stain and (dtype != "uint8" or tuple(bands) != RGB):
        no_stain = f"needs red, green, blue in uint8, these are {_are(bands, dtype)}"
    return (
        *_light(),
        *_sharpness(),
        *(replace(step, skipped=no_jpeg) for step in _files()),
        *(replace(step, skipped=no_stain) for step in _stains()),
        *_sensors(std),
        *(replace(_step("rotation", partial(rotation, degrees=d), f"{d} degrees, mirrored corners", d > 5), moves=True)
          for d in (3, 8)),
    )  # fmt: skip


def for_masks(steps: Sequence[Disturbance]) -> tuple[Disturbance, ...]:
    """The steps as far as drawn masks still fit the tiles after them; the others say why they are left out."""
    why = "it moves pixels, and the drawn masks do not move with them"
    return tuple(replace(step, skipped=step.skipped or why) if step.moves else step for step in steps)


def _are(bands: Sequence[str], dtype: str) -> str:
    return f"{', '.join(bands)} in {dtype}"


def _step(name: str, change: Change, parameters: str, strong: bool) -> Disturbance:
    return Disturbance(name=name, step="strong" if strong else "mild", parameters=parameters, change=change)


def _light() -> list[Disturbance]:
    bright = {"brighter": (1.15, 1.4), "darker": (0.85, 0.6)}
    flat = {"less contrast": (0.8, 0.5), "more contrast": (1.25, 1.6)}
    return [
        *(
            _step(name, partial(brightness, factor=factor), f"values x {factor}", factor in (1.4, 0.6))
            for name, factors in bright.items()
            for factor in factors
        ),
        *(
            _step(name, partial(contrast, factor=factor), f"about the tile's mean x {factor}", factor in (0.5, 1.6))
            for name, factors in flat.items()
            for factor in factors
        ),
    ]


def _sharpness() -> list[Disturbance]:
    return [
        *(_step("blur", partial(blur, sigma_px=px), f"Gaussian, sigma {px} px", px > 1) for px in (0.7, 1.5)),
        *(
            _step("coarser", partial(coarser, factor=f), f"pixels {f} times as large, and up again", f > 1.5)
            for f in (1.25, 2)
        ),
    ]


def _files() -> list[Disturbance]:
    return [_step("JPEG", partial(jpeg, quality=q), f"quality {q}, 4:2:0", q < 50) for q in (75, 30)]


def _stains() -> list[Disturbance]:
    """Laboratories and scanners differ by about as much (Tellez et al. 2019 vary each stain by up to 20 %)."""
    return [
        _step(
            name,
            partial(stain, haematoxylin=h, eosin=e),
            f"haematoxylin x {h}, eosin x {e}",
            max(h, e) > 1.2,
        )
        for name, pairs in {
            "bluer stain": ((1.2, 0.85), (1.5, 0.65)),
            "pinker stain": ((0.85, 1.2), (0.65, 1.5)),
        }.items()
        for h, e in pairs
    ]


def _sensors(std: Sequence[float]) -> list[Disturbance]:
    """Neighbouring bands go opposite ways: that is what changes colours and indices."""
    signs = [(-1) ** band for band in range(len(std))]
    return [
        _step(
            "sensor shift",
            partial(
                sensor,
                gains=[1 + sign * gain for sign in signs],
                offsets=[-sign * offset * spread for sign, spread in zip(signs, std, strict=True)],
            ),
            f"bands in turn x {1 + gain:g} and x {1 - gain:g}, then -/+ {100 * offset:g} % of their spread",
            gain > 0.1,
        )
        for gain, offset in ((0.05, 0.05), (0.15, 0.15))
    ]
