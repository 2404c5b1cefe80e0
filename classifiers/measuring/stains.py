"""Haematoxylin and eosin apart, stronger or paler, and together again (Ruifrok and Johnston 2001)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STAINS_H_E = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
"""Optical density of haematoxylin and eosin in R, G, B (Ruifrok & Johnston 2001, table 1)."""


def restained(pixels: NDArray[np.uint8], haematoxylin: float, eosin: float) -> NDArray[np.float64]:
    """Slides as if they had been stained otherwise: factors on the amount of each stain.

    pixels: (…, 3, h, w) uint8 R, G, B -> the same shape, float64, 0 to 255, not rounded. The third stain, the cross
    product of both, stays as it is; so does white. 0 has no optical density and counts as 1.
    """
    density = -np.log10(np.maximum(np.arange(256), 1) / 255.0)[pixels]
    mixed = np.einsum("...bhw,bc->...chw", density, _transfer(haematoxylin, eosin))
    return np.asarray(255.0 * 10.0**-mixed)


def _transfer(haematoxylin: float, eosin: float) -> NDArray[np.float64]:
    """(3, 3) that takes the optical densities of R, G, B (a row) to those after the factors."""
    stains = STAINS_H_E / np.linalg.norm(STAINS_H_E, axis=1, keepdims=True)
    third = np.cross(stains[0], stains[1])
    basis = np.vstack([stains, third / np.linalg.norm(third)])
    return np.asarray(np.linalg.inv(basis) @ np.diag([haematoxylin, eosin, 1.0]) @ basis)
