"""What a classical gate sees of a tile: numbers whose count and meaning do not depend on the tile's side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from classifiers.bundle_contract import FeatureName
from classifiers.classical.arrays import Arrays, Tile, Vector
from classifiers.classical.colour import colour
from classifiers.classical.gradient import hog
from classifiers.classical.patches import fisher, words
from classifiers.classical.texture import glcm, lbp
from tiling.errors import BadInput

FEATURES: Mapping[FeatureName, Callable[[Tile, Arrays], Vector]] = {
    "colour": lambda tile, _: colour(tile),
    "lbp": lambda tile, _: lbp(tile),
    "glcm": lambda tile, _: glcm(tile),
    "hog": lambda tile, _: hog(tile),
    "words": words,
    "fisher": fisher,
}
"""By name, in the words of a recipe. The second argument holds the codebooks, for those that learnt one."""
MIN_SIDE_PX = 16
"""Two cells of gradients, and patches to count."""
PROBE_PX = 32


def describe(tile: Tile, names: Sequence[FeatureName], codes: Arrays) -> Vector:
    """(k,) of one tile; always of one, so that its bits do not depend on its company. Raises BadInput: too small."""
    if min(tile.shape[1:]) < MIN_SIDE_PX:
        raise BadInput(
            f"a classical gate needs tiles of {MIN_SIDE_PX} x {MIN_SIDE_PX} px at least, "
            f"these are {tile.shape[1]} x {tile.shape[2]} px. Set a larger tile size in the recipe."
        )
    return np.concatenate([FEATURES[name](tile, codes) for name in names])


def probe(bands: int, names: Sequence[FeatureName], codes: Arrays) -> Vector:
    """(k,) of a made-up tile. Kept in the bundle: whoever computes it otherwise computes all features otherwise."""
    return describe(_made_up(bands), names, codes)


def widths(bands: int, names: Sequence[FeatureName], codes: Arrays) -> list[int]:
    """How many numbers each of the features is."""
    return [len(FEATURES[name](_made_up(bands), codes)) for name in names]


def _made_up(bands: int) -> Tile:
    count = bands * PROBE_PX**2
    return np.asarray(np.sin(np.arange(count) ** 1.5).reshape(bands, PROBE_PX, PROBE_PX), np.float32)
