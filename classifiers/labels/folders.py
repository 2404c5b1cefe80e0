"""A folder per class: DATA/CLASS/…, or DATA/train/CLASS, DATA/val/CLASS and DATA/test/CLASS."""

from __future__ import annotations

from pathlib import Path

from classifiers.labels.files import VECTORS, below, files_below, is_image, parts_of, plain, subfolders, visible
from classifiers.labels.items import Item, Items, counted
from classifiers.labels.sample import Part
from tiling.errors import BadInput


def list_folders(root: Path) -> Items:
    """Every image below a folder of a class, whole. Raises BadInput where there are no such folders."""
    found = [(part, folder) for part, top in parts_of(root) for folder in subfolders(top)]
    items: list[Item] = []
    others: list[str] = []
    empty: list[str] = []
    for part, folder in found:
        files = files_below(folder)
        images = [path for path in files if is_image(path)]
        others += [path.suffix.lower() or path.name for path in files if not is_image(path)]
        if not images:
            empty.append(below(folder, root))
        items += [_item(path, root, folder, part) for path in images]
    if not items:
        raise BadInput(_nothing(root, [folder for _, folder in found], others))
    words = {word for item in items for word in item.words}
    return Items(items=tuple(items), words=tuple(sorted(words)), single=True, notes=tuple(_notes(empty, others)))


def _item(path: Path, root: Path, folder: Path, part: Part | None) -> Item:
    return Item(name=below(path, root), uris=(str(path),), words=(plain(folder.name),), part=part)


def _notes(empty: list[str], others: list[str]) -> list[str]:
    notes = []
    if empty:
        notes.append(f"Folders without an image were passed over: {', '.join(empty)}.")
    if others:
        notes.append(f"Files that are no images by their names were passed over: {counted(others)}.")
    return notes


def _nothing(root: Path, folders: list[Path], others: list[str]) -> str:
    """Why there is nothing, and what is expected."""
    has = f"has folders {', '.join(folder.name for folder in folders[:5])}" if folders else "has no folders of classes"
    holds = f" which hold {counted(others)}" if others else " without images" if folders else ""
    parts = [folder.name for part, folder in parts_of(root) if part is not None]
    if parts and not folders:
        holds = f": {' and '.join(parts)} are taken for parts of a split, and hold none"
    loose = sum(is_image(path) for path in visible(root))
    holds += f", and {loose:,} images that no folder says anything of" if loose else ""
    usable = [path for path in visible(root) if path.suffix.lower() in {".csv", *VECTORS}]
    hint = f" To use {usable[0].name}, give {usable[0]} as DATA; see data.images." if usable else ""
    return (
        f"{root} {has}{holds}. Expected is a folder per class (DATA/forest/1.png, DATA/water/2.png), images/ and masks/ "
        f"with files of the same names, an image with polygons of the same name, or a .csv.{hint}"
    )
