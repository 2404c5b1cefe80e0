"""From pixels to network input: the one function that training and inference share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import CARD, Bundle
from tiling.errors import BadInput
from tiling.stack import TileStack


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
    scaled = (stack.pixels.astype(np.float32) - mean) / std
    return np.where(stack.valid[:, None], scaled, np.float32(0))
