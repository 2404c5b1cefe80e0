"""Labelled tiles of data in which somebody drew what is where: masks and polygons."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Bundle
from classifiers.labels.files import VECTORS
from classifiers.labels.groups import grouping, unmatched
from classifiers.labels.items import Scene, Scenes, require_usable
from classifiers.labels.looks import THREADS, Commonest, Opening, commonest
from classifiers.labels.pairs import MaskTruth, unclaimed_note, values_of
from classifiers.labels.polygons import Drawn, PolygonTruth, in_pixels
from classifiers.labels.sample import LabelledTiles, Skipped
from classifiers.labels.scenes import Cutting, Plot, Truth, pieces, plot
from classifiers.labels.shelf import Shelf
from classifiers.labels.values import from_values, value_map
from classifiers.labels.vectors import Polygons, read_polygons
from classifiers.labels.words import REST, Vocabulary, vocabulary
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput, TilegateError

SMALL_PX = 512
"""Images up to this side are one tile wide where nobody says how large tiles are."""
TILE_PX = 256
"""Side of tiles that are cut out of larger images."""


def load_scenes(
    listing: Scenes, settings: DataSettings, kind: Literal["gate", "segmenter"], default: Bundle | None
) -> LabelledTiles:
    """Cut every tile with something labelled. Raises BadInput."""
    require_usable(len(listing.scenes), listing.skipped, "images", "each needs a mask or polygons of the same name")
    found = commonest([scene.uris for scene in listing.scenes], settings, default)
    truth, bad, notes = _truth(listing.scenes, settings, default, found.opening)
    cutting = Cutting(
        found=found,
        truth=truth,
        tile_px=settings.tile_px or _side(found, default),
        halo_px=settings.halo_px,
        groups=grouping(settings, len(listing.scenes)),
        masks=kind == "segmenter",
    )
    notes += unmatched([scene.name for scene in listing.scenes], cutting.groups)
    lost = {each.name for each in bad}
    with ThreadPoolExecutor(THREADS) as pool:
        plots = list(pool.map(lambda scene: plot(scene, cutting), [s for s in listing.scenes if s.name not in lost]))
    whole = [each for each in plots if isinstance(each, Plot)]
    skipped = [*listing.skipped, *bad, *(each for each in plots if isinstance(each, Skipped))]
    require_usable(len(whole), skipped, "images", "mend or remove them, or say how they are to be read")
    shelf, unread = _cut_all(whole, cutting)
    require_usable(len(shelf.samples), unread, "tiles", "nothing is labelled where the images hold data")
    if isinstance(truth, MaskTruth) and truth.unclaimed:
        notes.append(unclaimed_note(sorted(truth.unclaimed)))
    tiles = _labelled(shelf, cutting, settings.holds, _exclusive(settings, kind, default))
    return replace(tiles, skipped=(*skipped, *unread), notes=(*listing.notes, *found.notes, *notes, *tiles.notes))


def _side(found: Commonest, default: Bundle | None) -> int:
    """Of small images the shorter side, so that they are one tile wide."""
    if default is not None:
        return default.input_px
    shortest = int(min(found.look.shape_px) / found.opening.downsample)
    return max(1, shortest) if shortest <= SMALL_PX else TILE_PX


def _truth(
    scenes: Sequence[Scene], settings: DataSettings, default: Bundle | None, opening: Opening
) -> tuple[Truth, list[Skipped], list[str]]:
    """(what was drawn, what of it cannot be read, notes). Raises BadInput for masks and polygons in one set."""
    drawn = [Path(scene.truth).suffix.lower() in VECTORS for scene in scenes]
    if all(drawn):
        return _polygons(scenes, settings, default, opening)
    if any(drawn):
        raise BadInput("some images have masks, others polygons; train on one kind, or burn the polygons into masks")
    values = value_map(settings, default)
    if values is None:
        with ThreadPoolExecutor(THREADS) as pool:
            each = list(pool.map(_values, scenes))
        found = [some for some in each if not isinstance(some, Skipped)]
        require_usable(len(found), [bad for bad in each if isinstance(bad, Skipped)], "masks", "mend or remove them")
        values = from_values(set[int]().union(*found), default)
    return MaskTruth(values), [], []  # masks that cannot be read are told when their scene is opened


def _values(scene: Scene) -> set[int] | Skipped:
    try:
        return values_of(scene.truth)
    except TilegateError as error:
        return Skipped(name=scene.name, why=str(error))


def _polygons(
    scenes: Sequence[Scene], settings: DataSettings, default: Bundle | None, opening: Opening
) -> tuple[Truth, list[Skipped], list[str]]:
    drawn: dict[str, Drawn] = {}
    bad: list[Skipped] = []
    notes: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for scene, each in zip(scenes, pool.map(lambda scene: _drawn(scene, opening), scenes), strict=True):
            if isinstance(each, str):
                bad.append(Skipped(name=scene.name, why=each))
            else:
                drawn[scene.name] = each[1]
                notes += each[0].notes
    require_usable(len(drawn), bad, "images", "mend or remove them")
    drawn, words, note = _named(drawn, settings, default)
    return PolygonTruth(drawn, words), bad, [*notes, *note]


def _drawn(scene: Scene, opening: Opening) -> tuple[Polygons, Drawn] | str:
    """The polygons of a scene in its pixels; or why not. The image's own CRS counts, whatever its pixel size."""
    try:
        polygons = read_polygons(Path(scene.truth))
        try:
            source = replace(opening, pixel_size=None).open(scene.uris)
        except BadInput:  # it states no size, and so no place
            source = opening.open(scene.uris)
        try:
            return polygons, in_pixels(polygons, source.info)
        finally:
            source.close()
    except TilegateError as error:
        return str(error)


def _named(
    drawn: dict[str, Drawn], settings: DataSettings, default: Bundle | None
) -> tuple[dict[str, Drawn], Vocabulary, list[str]]:
    """Polygons without a class are left out, unless none has one and there is but one class."""
    words = {word for each in drawn.values() for word in each.words}
    if words == {""}:
        found = vocabulary((), settings, default, drawn=True)
        if len(found.classes) != 1:
            raise BadInput(
                "no polygon has a class: it is looked for in columns such as class and label, and in QuPath's "
                'classification. Name them, or give one class for all, for instance data.classes = {"nucleus" = []}'
            )
        note = f"No polygon has a class: all were taken for {found.classes[0]}."
        return drawn, replace(found, codes={"": 0}), [note]
    bare = sum(word == "" for each in drawn.values() for word in each.words)
    kept = {name: each.classified() for name, each in drawn.items()}
    notes = [f"{bare:,} polygons without a class were left out."] if bare else []
    found = vocabulary(words - {""}, settings, default, drawn=True)
    return kept, found, [*notes, *([found.note] if found.note else []), *_outside(found)]


def _outside(words: Vocabulary) -> list[str]:
    if words.rest is None:
        return [
            f'What lies outside of all polygons is unlabelled; data.classes background = ["{REST}"] would count it.'
        ]
    return []


def _cut_all(plots: Sequence[Plot], cutting: Cutting) -> tuple[Shelf, list[Skipped]]:
    """(tiles, what could not be read)."""
    look, side = cutting.found.look, cutting.tile_px + 2 * cutting.halo_px
    most = sum(len(each.tiles) for each in plots)
    shelf = Shelf(most, len(look.bands), side, look.dtype, masks=cutting.masks)
    skipped: list[Skipped] = []
    for piece in pieces(plots, cutting):
        if isinstance(piece, Skipped):
            skipped.append(piece)
        else:
            shelf.put(piece)
    return shelf, skipped


def _exclusive(settings: DataSettings, kind: str, default: Bundle | None) -> bool:
    """Masks say what a tile holds, not what it is: False unless somebody wants a gate that chooses."""
    if settings.exclusive is not None or default is None:
        return bool(settings.exclusive)
    return kind == "gate" and default.activation == "softmax"


def _labelled(shelf: Shelf, cutting: Cutting, holds: float, exclusive: bool) -> LabelledTiles:
    """What a tile holds, by its fractions; of exclusive classes the largest one."""
    fractions = np.stack(shelf.fractions)
    chooses = exclusive and not cutting.masks
    labels = held(fractions, holds, exclusive=chooses)
    tiles = LabelledTiles(
        **shelf.arrays(),
        classes=cutting.truth.classes,
        exclusive=exclusive,
        bands=cutting.found.look.bands,
        radiometry=cutting.found.look.radiometry,
        pixel_size=cutting.found.pixel_size,
        tile_px=cutting.tile_px,
        halo_px=cutting.halo_px,
        labels=labels,
        fractions=fractions,
    )
    none = labels.sum(axis=1) == 0
    if not chooses or not none.any():
        return tiles
    note = f"{int(none.sum()):,} tiles of no class were left out, as classes exclude each other."
    return replace(tiles.pick(np.flatnonzero(~none)), notes=(note,))


def held(fractions: NDArray[np.float32], holds: float, *, exclusive: bool) -> NDArray[np.float32]:
    """(n, classes) shares -> 1 where a tile is of the class: from `holds` on; exclusive: only of the largest share."""
    labels = (fractions >= holds) & (fractions > 0)
    if exclusive:
        labels &= np.arange(fractions.shape[1]) == fractions.argmax(axis=1)[:, None]
    return labels.astype(np.float32)
