"""All that a classical gate has learnt, as named arrays: what lies in model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from classifiers.bundle import WEIGHTS, Bundle, read_weights
from tiling.errors import BadInput

Arrays = Mapping[str, NDArray[Any]]
Tile = NDArray[np.float32]
"""(band, h, w), normalised: 0 is the mean colour, and stands where there is no data."""
Vector = NDArray[np.float64]
"""(k,)"""
Table = NDArray[np.float32]
"""(n, k)"""


def read_arrays(bundle: Bundle) -> Arrays:
    """Of a bundle. Raises BadInput when the file is not the one bundle.json speaks of."""
    try:
        found: Arrays = safetensors.numpy.load(read_weights(bundle))
    except SafetensorError as error:
        raise BadInput(f"{bundle.path / WEIGHTS} can not be read ({error}); fetch the bundle again.") from error
    return found


def as_bytes(arrays: Arrays) -> bytes:
    """As they are stored; the same arrays give the same bytes."""
    return bytes(safetensors.numpy.save({name: np.array(arrays[name], order="C") for name in sorted(arrays)}))
