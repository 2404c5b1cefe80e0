"""From pixels to network input: the one function that training and inference share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import CARD, Bundle
from tiling.errors import BadInput
from tiling.stack import TileStack

MULTIPLE_PX = 32
"""A U-Net halves its input up to five times."""


def normalise(stack: TileStack, bundle: Bundle) -> NDArray[np.float32]:
    """(n, band, h, w): z-score per band; pixels that are not valid become 0, the mean colour.

    Raises BadInput when the stack's bands or dtype are not the bundle's.
    """
    if stack.pixels.shape[1] != len(bundle.bands):
        raise BadInput(
            f"{bundle.name} needs {len(bundle.bands)} bands ({', '.join(bundle.bands)}), "
            f"these tiles have {stack.pixels.shape[1]}. Choose the image's bands in the recipe."
        )
    if stack.pixels.dtype.name != bundle.dtype:
        raise BadInput(
            f"{bundle.name} was trained on {bundle.dtype} values, these are {stack.pixels.dtype}: the same number means "
            f"another brightness. Convert the image to {bundle.dtype} as the training data was; see {bundle.path / CARD}."
        )
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (bundle.mean, bundle.std))
    scaled = stack.pixels.astype(np.float32, order="C")
    scaled -= mean
    scaled /= std
    if not stack.valid.all():
        np.copyto(scaled, np.float32(0), where=~stack.valid[:, None])
    return scaled


def padded(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, band, h, w) -> the same with edge pixels repeated, below and to the right, to sides a U-Net takes."""
    height, width = pixels.shape[2:]
    down, right = -height % MULTIPLE_PX, -width % MULTIPLE_PX
    if down == right == 0:
        return pixels
    return np.pad(pixels, ((0, 0), (0, 0), (0, down), (0, right)), mode="edge")
