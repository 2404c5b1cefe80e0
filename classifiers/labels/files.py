"""Which files lie below a folder that somebody brings."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from classifiers.labels.sample import Part

IMAGES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".tif",
        ".tiff",
        ".gtiff",
        ".btf",
        ".jp2",
        ".j2k",
        ".jpf",
        ".bmp",
        ".gif",
    }
    | {".webp", ".img", ".vrt", ".bil", ".bsq", ".nc", ".dcm", ".svs", ".svslide", ".ndpi", ".mrxs", ".scn", ".bif"}
    | {".vms", ".vmu"}
)
"""Endings of files that are taken for images."""
VECTORS = frozenset({".gpkg", ".geojson", ".json", ".shp", ".fgb"})
"""Endings of files that may hold polygons."""
PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, and words of tables, that say which part of a split a tile is of."""


def is_hidden(name: str) -> bool:
    """What file managers leave behind, and what people hide."""
    return name.startswith(".") or name.lower() in {"thumbs.db", "desktop.ini", "__macosx"}


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without what is hidden."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, by name; links to folders are folders."""
    return [path for path in visible(folder) if path.is_dir()]


def is_image(path: Path) -> bool:
    """By the ending of its name."""
    return path.suffix.lower() in IMAGES


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, however deep, by name; links are followed, in circles once."""
    return sorted(_walk(folder, frozenset()))


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in visible(folder):
        if path.is_dir():
            yield from _walk(path, above | {real})
        else:
            yield path


def plain(name: str) -> str:
    """One spelling of a name: a Mac writes an umlaut as two characters, others as one."""
    return unicodedata.normalize("NFC", name).strip()


def below(path: Path, root: Path) -> str:
    """The name of a file as samples carry it: below DATA where it lies there, else as its own name."""
    return plain(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name)


def parts_of(folder: Path) -> list[tuple[Part | None, Path]]:
    """[(part, folder)]: its folders train, val and test where it has no others; else itself, of no part."""
    inside = subfolders(folder)
    found: list[tuple[Part | None, Path]] = [(PARTS[p.name.lower()], p) for p in inside if p.name.lower() in PARTS]
    return found if found and len(found) == len(inside) else [(None, folder)]
