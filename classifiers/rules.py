"""Rules without weights: spectral indices and stains. The same rule gates coarse tiles and labels fine pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from classifiers.protocol import ModelId, Sees
from tiling.errors import BadInput
from tiling.source import Pixels

Amount = Callable[[NDArray[np.generic]], NDArray[np.float64]]

STAINS_H_DAB = np.array([[0.650, 0.704, 0.286], [0.268, 0.570, 0.776]])
"""Optical density of haematoxylin and DAB in R, G, B (Ruifrok & Johnston 2001, table 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Positive where `amount` exceeds `cut`."""

    name: str
    """As recipes call it."""
    label: str
    """The class it finds."""
    bands: tuple[str, ...]
    """Bands it needs, in order."""
    amount: Amount
    """(…, band, h, w) -> (…, h, w) float64; NaN where it is not defined, which is never positive."""
    cut: float | None
    """Positive above this; None = fitted to the image by Otsu's method before a run."""

    @property
    def model(self) -> ModelId:
        """Identity: the rule and its cut."""
        text = json.dumps({"rule": self.name, "bands": self.bands, "cut": self.cut})
        sees: Sees = "reflectance" if self.amount is normalised_difference else "numbers"
        return ModelId(name=self.name, sha256=hashlib.sha256(text.encode()).hexdigest(), sees=sees)

    def positive(self, pixels: NDArray[np.generic]) -> NDArray[np.bool_]:
        """(…, band, h, w) as `model.sees` says -> (…, h, w)."""
        if self.cut is None:
            raise BadInput(f"rule {self.name} has no cut yet; it is fitted to an image first")
        return np.asarray(self.amount(pixels) > self.cut)

    def fitted(self, coarse: Pixels) -> Rule:
        """The rule with its cut by Otsu (1979) over the valid pixels of a coarse plane of the whole image."""
        if self.cut is not None:
            return self
        amounts = self.amount(coarse.data)
        amounts = amounts[coarse.valid & np.isfinite(amounts)]
        if amounts.size == 0 or amounts.min() == amounts.max():
            return replace(self, cut=float(amounts.max()) if amounts.size else 0.0)  # one tone: nothing is above it
        return replace(self, cut=otsu(amounts))


def otsu(amounts: NDArray[np.float64]) -> float:
    """The cut between two kinds of pixels, whose means lie furthest apart, weighed (Otsu 1979, eq. 18): of 256 bins.

    amounts: any shape, finite, of at least two values. scikit-image has the same, and 0.3 s of imports before it.
    """
    counts, edges = np.histogram(amounts, bins=256)
    middles, below = (edges[:-1] + edges[1:]) / 2, np.cumsum(counts)
    sums, above = np.cumsum(counts * middles), counts.sum() - below
    apart = sums[:-1] / below[:-1] - (sums[-1] - sums[:-1]) / above[:-1]
    return float(middles[np.argmax(below[:-1] * above[:-1] * apart**2)])


def normalised_difference(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """(a - b) / (a + b) of two bands."""
    a, b = pixels[..., 0, :, :], pixels[..., 1, :, :]
    difference = np.subtract(a, b, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(difference, np.add(a, b, dtype=np.float64), out=difference))


def saturation(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Saturation of the HSV hexcone (Smith 1978) of R, G, B: (max - min) / max, 0 for black."""
    high = pixels.max(axis=-3)
    spread = np.subtract(high, pixels.min(axis=-3), dtype=np.float64)
    return np.asarray(np.divide(spread, high, out=spread, where=high > 0))


def dab_density(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Optical density of DAB by colour deconvolution (Ruifrok & Johnston 2001): uint8 R, G, B -> OD, log10.

    The third stain is the cross product of haematoxylin and DAB, as the paper advises for two stains.
    """
    weights = _unmixing()[:, 1]
    planes = (_OPTICAL_DENSITY[pixels[..., band, :, :]] * weights[band] for band in range(3))
    return np.asarray(sum(planes))


def _unmixing() -> NDArray[np.float64]:
    stains = STAINS_H_DAB / np.linalg.norm(STAINS_H_DAB, axis=1, keepdims=True)
    third = np.cross(stains[0], stains[1])
    return np.asarray(np.linalg.inv(np.vstack([stains, third / np.linalg.norm(third)])))


_OPTICAL_DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255.0)

_RGB = ("red", "green", "blue")
RULES = {
    rule.name: rule
    for rule in (
        Rule(name="ndwi", label="water", bands=("green", "nir"), amount=normalised_difference, cut=0.0),
        # ^ McFeeters 1996: open water above 0
        Rule(name="ndvi", label="vegetation", bands=("nir", "red"), amount=normalised_difference, cut=0.3),
        # ^ Rouse et al. 1974; 0.3 is a common lower bound of green vegetation, not a law: set it for your site
        Rule(name="ndsi", label="snow", bands=("green", "swir"), amount=normalised_difference, cut=0.4),
        # ^ Hall et al. 1995: snow above 0.4
        Rule(name="tissue", label="tissue", bands=_RGB, amount=saturation, cut=None),
        Rule(name="dab", label="dab", bands=_RGB, amount=dab_density, cut=0.25),
    )
}


def find_rule(name: str, cut: float | None = None) -> Rule | None:
    """The rule of that name, with another cut if one is given; None when no rule is called so."""
    rule = RULES.get(name)
    return rule if rule is None or cut is None else replace(rule, cut=cut)
