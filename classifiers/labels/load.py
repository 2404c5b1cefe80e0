"""Labelled tiles from data as people have it: folders per class, tables, images with masks, polygons.

Images are opened and read by the code of a run, and tiles of larger images are cut on its grid. Hidden files are passed
over; what cannot be used is listed; more than a tenth of that is refused. Nothing is rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from classifiers.bundle_contract import Bundle
from classifiers.labels.drawn import load_scenes
from classifiers.labels.files import VECTORS, is_image, parts_of
from classifiers.labels.folders import list_folders
from classifiers.labels.items import Items, Scenes
from classifiers.labels.pairs import is_pairs, list_pairs
from classifiers.labels.polygons import list_file, list_folder
from classifiers.labels.sample import LabelledTiles, positives
from classifiers.labels.tables import list_table, read_csv, read_layer
from classifiers.labels.vectors import layer_of
from classifiers.labels.whole import load_items
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput

DRAWN = (
    "; cut smaller tiles (data.tile_px), or have a class count from a larger share on (data.holds). Where all that no "
    'polygon covers is something else, set data.classes background = ["*"]'
)
"""What else helps where somebody drew."""


def load_tiles(
    data: str,
    settings: DataSettings,
    kind: Literal["gate", "segmenter"],
    *,
    default: Bundle | None = None,
    evaluating: bool = False,
) -> LabelledTiles:
    """Every tile of DATA that is labelled. Raises BadInput with what to do instead.

    data: DATA/CLASS/… or DATA/train|val|test/CLASS/…; DATA/images with DATA/masks; images beside polygons of the same name;
    a .csv or .gpkg of labels; a file of polygons. default: a bundle to be evaluated, whose bands, pixel size, side and
    classes are taken where neither settings nor files say any. evaluating: nothing is to be learnt, as with a bundle.
    """
    path = Path(data).expanduser()
    if not path.exists():
        raise BadInput(
            f"{data} does not exist; DATA is a folder, a table (.csv) or a file of polygons (.gpkg, .geojson)"
        )
    listing = list_folder_of(path) if path.is_dir() else list_file_of(path, settings)
    if isinstance(listing, Items):
        tiles = load_items(listing, settings, kind, default)
    else:
        tiles = load_scenes(listing, settings, kind, default)
    return require_classes(tiles, listing, settings, kind, evaluating=evaluating or default is not None)


def list_folder_of(path: Path) -> Items | Scenes:
    """What a folder holds. Raises BadInput."""
    if any(is_pairs(folder) for _, folder in parts_of(path)):
        return list_pairs(path)
    return list_folder(path) or list_folders(path)


def list_file_of(path: Path, settings: DataSettings) -> Items | Scenes:
    """What a table or a file of polygons holds. Raises BadInput."""
    ending = path.suffix.lower()
    if ending in {".csv", ".tsv", ".txt"}:
        return list_table(path, read_csv(path), settings.images)
    if ending == ".gpkg" and layer_of(path) is None:
        return list_table(path, read_layer(path), settings.images)
    if ending in VECTORS:
        return list_file(path, settings.images)
    what = "is an image without labels" if is_image(path) else "is no table and no file of polygons"
    raise BadInput(
        f"{path} {what}. DATA is a folder per class, images/ with masks/, a .csv, or polygons (.gpkg, .geojson)"
    )


def require_classes(
    tiles: LabelledTiles,
    listing: Items | Scenes,
    settings: DataSettings,
    kind: Literal["gate", "segmenter"],
    *,
    evaluating: bool,
) -> LabelledTiles:
    """The tiles, if something can be told apart in them. Raises BadInput otherwise.

    A model may be evaluated on data without some of its classes; a note says so. Parents have no tiles of their own.
    """
    found = positives(tiles.labels) if kind == "gate" else (tiles.fractions > 0).sum(axis=0)
    missing = [
        name for name, n in zip(tiles.classes, found, strict=True) if not n and name not in settings.parents.values()
    ]
    held = ", ".join(f"{name} {int(n)}" for name, n in zip(tiles.classes, found, strict=True))
    if evaluating:
        note = f"No tile is of {', '.join(missing)}."
        return replace(tiles, notes=(*tiles.notes, note)) if missing else tiles
    if missing or not tiles.classes:
        raise BadInput(
            f"no tile is of {', '.join(missing) or 'any class'} (tiles per class: {held}). Is it written otherwise in the "
            f"data (data.classes), too rare in a tile (data.holds), or were its files unusable?{_told(tiles.notes)}"
        )
    everywhere = tiles.labels.min(axis=0) > 0 if kind == "gate" else tiles.fractions.min(axis=0) == 1
    drawn = None if isinstance(listing, Items) else DRAWN
    if len(tiles.classes) == 1 and bool(np.all(everywhere)):
        raise BadInput(
            f"all {len(tiles):,} tiles {'are' if drawn is None else 'hold'} {tiles.classes[0]}, and nothing shows what is "
            f"not: add tiles of another folder, label or class{drawn or ''}"
        )
    return tiles


def _told(notes: Sequence[str]) -> str:
    """What was done to the data, a line each."""
    return "".join(f"\n  {note}" for note in notes)
