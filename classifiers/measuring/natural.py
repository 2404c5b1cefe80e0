"""Tiles as people see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NODATA = (236, 238, 240)
DISPLAY = (
    ("red", "green", "blue"),
    ("nir", "red", "green"),
    ("nir", "green", "green"),
    ("nir", "red", "red"),
    ("swir", "green", "green"),
)


def display_bands(bands: Sequence[str]) -> list[int]:
    """Three positions: true colour where there is one, else near infrared in red as the field does, else the first."""
    for wanted in DISPLAY:
        if all(name in bands for name in wanted):
            return [list(bands).index(name) for name in wanted]
    return [0, 0, 0]


def display_range(pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(band, 2): what is drawn black and white. pixels: (n, band, h, w); valid: (n, h, w).

    uint8 is drawn as it is; anything else from the 2nd to the 98th percentile of all valid pixels of these tiles, so
    that tiles in one range can be compared.
    """
    count = pixels.shape[1]
    if pixels.dtype == np.uint8 or not valid.any():
        return np.tile(np.array([0.0, 255.0]), (count, 1))
    bands = (band[valid] for band in pixels.swapaxes(0, 1))
    return np.array([np.nanpercentile(band.astype(np.float64), (2, 98)) for band in bands])


def natural(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], bands: Sequence[str], limits: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """(h, w, 3) of one tile; grey where there is no data.

    pixels: (band, h, w); valid: (h, w); limits: see display_range.
    """
    chosen = display_bands(bands)
    low, high = limits[chosen].T[:, :, None, None]
    values = np.where(valid, pixels[chosen], 0).astype(np.float64)
    shown = np.nan_to_num((values - low) / np.maximum(high - low, 1e-9) * 255)
    picture = np.where(valid, np.clip(np.rint(shown), 0, 255), np.array(NODATA)[:, None, None])
    return np.asarray(picture.transpose(1, 2, 0), np.uint8)
