"""Labelled tiles of data that has a word for each tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Bundle
from classifiers.labels.crops import Coded, Reading, pieces
from classifiers.labels.groups import grouping, unmatched
from classifiers.labels.items import Item, Items, require_usable
from classifiers.labels.looks import Commonest, commonest
from classifiers.labels.sample import LabelledTiles, Skipped
from classifiers.labels.shelf import Shelf
from classifiers.labels.words import Vocabulary, label_rows, listed, vocabulary
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput
from tiling.stack import require_labels_for

MOST_PX = 4096
"""Largest side of a tile."""
LEAST_PX = 3
"""Smallest longer side of an image on the plane that is read."""
MOST_EMPTY = 4
"""How many times the side of most images a tile may be."""


def load_items(
    listing: Items, settings: DataSettings, kind: Literal["gate", "segmenter"], default: Bundle | None
) -> LabelledTiles:
    """Read all that can be read. Raises BadInput.

    A segmenter learns from them that every pixel of a tile is what the tile is called.
    """
    words = vocabulary(listing.words, settings, default, drawn=False)
    if kind == "segmenter":
        require_labels_for(words.classes, "the data")
    items, labels, exclusive, notes = _labelled(listing, words, settings, kind, default)
    reading = _reading(items, settings, default)
    notes += unmatched([item.file for item in items], reading.groups)
    shelf, kept, skipped = _read_all(items, reading, labels, masks=kind == "segmenter")
    skipped = [*listing.skipped, *skipped]
    require_usable(len(kept), skipped, "tiles", "mend or remove them, or say how they are to be read")
    return LabelledTiles(
        **shelf.arrays(),
        classes=words.classes,
        exclusive=exclusive,
        bands=reading.found.look.bands,
        radiometry=reading.found.look.radiometry,
        pixel_size=reading.found.pixel_size,
        tile_px=reading.side_px,
        halo_px=reading.halo_px,
        labels=labels[kept],
        fractions=labels[kept].copy(),
        skipped=tuple(skipped),
        notes=(*listing.notes, *notes, *reading.found.notes, *_fits(shelf, reading.side_px)),
    )


def _reading(items: Sequence[Item], settings: DataSettings, default: Bundle | None) -> Reading:
    images = list(dict.fromkeys(item.uris for item in items))
    found = commonest(images, settings, default)
    return Reading(
        found=found,
        side_px=_side(items, found, settings),
        halo_px=settings.halo_px,
        groups=grouping(settings, len(images)),
    )


def _labelled(
    listing: Items, words: Vocabulary, settings: DataSettings, kind: str, default: Bundle | None
) -> tuple[list[Item], NDArray[np.float32], bool, list[str]]:
    """(items that are used, their labels (n, classes), exclusive, notes)."""
    labels, used = label_rows([item.words for item in listing.items], words)
    notes = [words.note] if words.note else []
    exclusive = _exclusive(listing, words, settings, default)
    if exclusive or kind == "segmenter":
        _require_one(listing.items, labels, words.classes)
    if exclusive:
        used &= labels.any(axis=1)
    if not used.all():
        left = {word for item, use in zip(listing.items, used, strict=True) if not use for word in item.words}
        notes.append(f"{int((~used).sum()):,} tiles of no class were left out: {listed(left)}.")
    items = [item for item, use in zip(listing.items, used, strict=True) if use]
    if not items:
        raise BadInput(f"the data holds {listed(words.codes)}; none of that is a class ({', '.join(words.classes)})")
    return items, labels[used], exclusive, notes


def _exclusive(listing: Items, words: Vocabulary, settings: DataSettings, default: Bundle | None) -> bool:
    if settings.exclusive is not None:
        return settings.exclusive
    if default is not None:
        return default.activation == "softmax" and default.task == "classification"
    return listing.single and len(words.classes) > 1


def _require_one(items: Sequence[Item], labels: NDArray[np.float32], classes: Sequence[str]) -> None:
    """Raise BadInput for tiles of several classes where only one can be."""
    many = np.flatnonzero(labels.sum(axis=1) > 1)
    if len(many):
        first = int(many[0])
        names = ", ".join(name for name, label in zip(classes, labels[first], strict=True) if label)
        raise BadInput(
            f"{len(many):,} tiles are of several classes, such as {items[first].name} ({names}), where a tile can be "
            "of one only: data.exclusive = false lets a gate say several; a segmenter needs masks or polygons then"
        )


def _side(items: Sequence[Item], found: Commonest, settings: DataSettings) -> int:
    """Side of a tile, px: as the settings say, or the shorter side of what most tiles are.

    Raises BadInput for huge ones, and for a plane that leaves next to nothing of them.
    """
    shapes = Counter(item.window.shape_px for item in items if item.window is not None)
    shape = shapes.most_common(1)[0][0] if shapes else found.look.shape_px
    longest, side = (int(px / found.opening.downsample + 0.5) for px in (max(shape), min(shape)))
    if longest < LEAST_PX:
        raise BadInput(
            f"data.downsample = {found.opening.downsample:g} leaves {longest} px of images of {shape[0]:,} x "
            f"{shape[1]:,} px: nothing can be seen in them"
        )
    if settings.tile_px is not None:
        if settings.tile_px > MOST_EMPTY * longest:
            raise BadInput(
                f"data.tile_px = {settings.tile_px:,}, but most images have {longest:,} px at most along a side: tiles "
                "would be empty for the greatest part. Leave it out, and tiles are as large as the images"
            )
        return settings.tile_px
    side = max(1, side)
    if side > MOST_PX:
        raise BadInput(
            f"most images are {shape[0]:,} x {shape[1]:,} px, too much for one tile: give data.tile_px or "
            "data.downsample; to cut tiles out of such images, give masks, polygons, or a table with x, y, w, h"
        )
    return side


def _read_all(
    items: Sequence[Item], reading: Reading, labels: NDArray[np.float32], *, masks: bool
) -> tuple[Shelf, list[int], list[Skipped]]:
    """(tiles, which of the items they are, what could not be read)."""
    look, side = reading.found.look, reading.side_px + 2 * reading.halo_px
    shelf = Shelf(len(items), len(look.bands), side, look.dtype, masks=masks)
    codes = [int(row.argmax()) + 1 if row.any() else 0 for row in labels]
    wanted = [Coded(item=item, code=code if masks else None) for item, code in zip(items, codes, strict=True)]
    kept: list[int] = []
    skipped: list[Skipped] = []
    for i, piece in enumerate(pieces(wanted, reading)):
        if isinstance(piece, Skipped):
            skipped.append(piece)
        else:
            shelf.put(piece)
            kept.append(i)
    return shelf, kept, skipped


def _fits(shelf: Shelf, side: int) -> Iterator[str]:
    """Notes on tiles of other sizes."""
    fits, n = Counter(shelf.fits), len(shelf.fits)
    if shelf.holes:
        yield f"{shelf.holes:,} of {n:,} tiles hold pixels without data, transparent or nodata: they are not valid."
    if fits["cropped"]:
        yield f"{fits['cropped']:,} of {n:,} tiles were larger than {side} px: their middle was cut out."
    if fits["padded"]:
        yield f"{fits['padded']:,} of {n:,} tiles were smaller than {side} px: where their image ends, they are not valid."
