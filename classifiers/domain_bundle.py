"""The domain of a bundle that was written without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.answers import require_task
from classifiers.bundle import JSON, load_bundle
from classifiers.bundle_contract import Bundle
from classifiers.bundle_schema import from_json, to_json
from classifiers.domain import describe, domain_of
from classifiers.labels.sample import LabelledTiles, Split
from tiling.errors import BadInput

CHUNK = 256
"""Tiles that are described at once: sets larger than the memory lie in files."""


def describe_tiles(tiles: LabelledTiles, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n, k) of some of the tiles; see describe."""
    parts = [describe(tiles.stack(chosen[start : start + CHUNK])) for start in range(0, len(chosen), CHUNK)]
    return np.concatenate(parts) if parts else describe(tiles.stack(chosen))


def add_domain(folder: Path, tiles: LabelledTiles, split: Split) -> Bundle:
    """Write into the gate's bundle in `folder` what its training and test tiles looked like; nothing else changes.

    Its contract's hash does, and with it the fingerprint of runs. Raises BadInput when it is no whole bundle of a gate,
    or the tiles are not what it was made for.
    """
    bundle = load_bundle(folder, folder.parent)
    require_task(bundle, "classification")
    if (tiles.bands, tiles.dtype) != (bundle.bands, bundle.dtype):
        raise BadInput(
            f"{bundle.name} takes {', '.join(bundle.bands)} of {bundle.dtype}; "
            f"these tiles hold {', '.join(tiles.bands)} of {tiles.dtype}. Describe the tiles it was calibrated on."
        )
    domain = domain_of(describe_tiles(tiles, split.train), describe_tiles(tiles, split.test))
    text = to_json(replace(bundle, domain=domain))
    written = from_json(text, folder)
    (folder / JSON).write_bytes(text)
    return written
