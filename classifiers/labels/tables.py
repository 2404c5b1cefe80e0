"""A table of labels: a CSV, or a GeoPackage without geometry.

Columns are known by their names, whatever their case:
path, file, image, …: the image, relative to the table; label, class, …: a word, or several separated by `;` or `|`;
without such a column every column of 0 and 1 is a class; group, patient, slide, scene: what stays on one side of a split;
split, part: train, validation or test; x, y, w, h: a window in pixels of the image.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from classifiers.labels.files import PARTS, plain
from classifiers.labels.items import Item, Items, require_usable
from classifiers.labels.sample import Part, Skipped
from tiling.address import is_remote
from tiling.errors import BadInput
from tiling.window import Window

IMAGE = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "tile")
LABEL = ("label", "labels", "class", "classes", "classname", "class_name", "category")
GROUP = ("group", "patient", "patient_id", "slide", "slide_id", "scene", "case")
PART = ("split", "part", "subset")
WINDOW = (("y",), ("x",), ("h", "height"), ("w", "width"))
_MOST_SHOWN = 200
"""Letters of a message."""
_WHOLE = re.compile(r"^(-?\d+)\.0+$")
"""What pandas makes of whole numbers where some are missing."""
YES, NO = frozenset({"1", "true", "1.0", "yes"}), frozenset({"0", "false", "0.0", "no", ""})

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the columns of a table are."""

    image: str | None
    """None = the settings name it."""
    label: str | None
    """None = `classes` say it."""
    classes: tuple[str, ...]
    """Columns of 0 and 1."""
    group: str | None
    """None = the table says nothing."""
    part: str | None
    """None = the table says nothing."""
    window: tuple[str, ...] | None
    """y, x, height, width."""


def list_table(path: Path, rows: Sequence[Row], images: Sequence[str]) -> Items:
    """A tile per row. images: of the settings, for tables of windows. Raises BadInput."""
    if not rows:
        raise BadInput(f"{path} has no rows")
    columns = columns_of(path, rows)
    if columns.image is None and not (images and columns.window):
        raise BadInput(
            f"{path} has columns {_shown(rows[0])}: none of them names images ({', '.join(IMAGE[:4])}, …). Of windows "
            "(x, y, w, h) over one image, give it as data.images"
        )
    read = [_item(path, number, row, columns, images) for number, row in enumerate(rows, start=2)]  # 1 is the head
    skipped = [each for each in read if isinstance(each, Skipped)]
    items, joined = _joined(sorted((each for each in read if isinstance(each, Item)), key=lambda item: item.uris))
    words = {word for item in items for word in item.words}
    several = any(len(item.words) != 1 for item in items)
    if columns.label is not None and not any(len(item.words) > 1 for item in items):
        skipped += [Skipped(name=item.name, why="its row has no label") for item in items if not item.words]
        items, several = [item for item in items if item.words], False
    if not items:
        require_usable(0, skipped, "rows", f"see {path}")
    return Items(
        items=tuple(items),
        words=tuple(sorted({*words, *columns.classes})),
        single=not several,
        skipped=tuple(skipped),
        notes=(*_ignored(rows, columns), *joined),
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV as text, UTF-8, UTF-16 or of Windows; commas, semicolons or tabs. Raises BadInput."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    lines = io.StringIO(text, newline=None)  # ends of lines of Unix, Windows and old Macs
    separator = max(",;\t", key=lines.readline().count)
    lines.seek(0)
    reader = csv.DictReader(lines, delimiter=separator, restkey="", restval="")
    try:
        rows = [{plain(k): plain(v) for k, v in row.items() if isinstance(v, str)} for row in reader]
    except csv.Error as error:
        raise BadInput(f"{path} cannot be read as a table: {error}") from error
    return [row for row in rows if any(row.values())]


def read_layer(path: Path) -> list[dict[str, str]]:
    """Rows of the first table of a GeoPackage as text. Raises BadInput."""
    from pyogrio import raw

    try:
        meta, _, _, columns = raw.read(str(path), read_geometry=False)
    except Exception as error:  # GDAL raises what it likes for files that are broken
        raise BadInput(f"{path} cannot be read as a table: {error}") from error
    texts = [["" if value is None else plain(str(value)) for value in column] for column in columns]
    return [dict(zip(map(str, meta["fields"]), row, strict=True)) for row in zip(*texts, strict=True)]


def columns_of(path: Path, rows: Sequence[Row]) -> Columns:
    """Which column is what. Raises BadInput where nothing says what the tiles are."""
    lower = {name.lower(): name for name in rows[0] if name}

    def known(names: Sequence[str]) -> str | None:
        return next((lower[name] for name in names if name in lower), None)

    corner = tuple(name for names in WINDOW if (name := known(names)) is not None)
    image, label, group, part = known(IMAGE), known(LABEL), known(GROUP), known(PART)
    taken = {image, group, part, *corner}
    flags = tuple(
        name
        for name in rows[0]
        if name and name not in taken and label is None and all(row.get(name, "").lower() in YES | NO for row in rows)
    )
    if label is None and not flags:
        raise BadInput(
            f"{path} has columns {_shown(rows[0])}: none of them says what a tile is. Call it label or class, or give "
            "a column of 0 and 1 for each class"
        )
    window = corner if len(corner) == len(WINDOW) else None
    return Columns(image=image, label=label, classes=flags, group=group, part=part, window=window)


def _shown(names: Iterable[str]) -> str:
    """For messages: what is no text may be anything."""
    told = "".join(letter if letter.isprintable() else "?" for letter in ", ".join(names))
    return told if len(told) < _MOST_SHOWN else f"{told[:_MOST_SHOWN]}…"


def _item(path: Path, number: int, row: Row, columns: Columns, images: Sequence[str]) -> Item | Skipped:
    where = f"{path.name} row {number}"
    given = row.get(columns.image or "", "")
    if columns.image is not None and not given:
        return Skipped(name=where, why="it names no image")
    if os.name != "nt" and PureWindowsPath(given).drive and not is_remote(given) and not (path.parent / given).exists():
        return Skipped(name=where, why=f"{given} is a path of a Windows machine; make it one relative to the table")
    uris = (located(path.parent, given),) if columns.image is not None else tuple(images)
    window = None
    if columns.window is not None:
        try:
            y, x, height, width = (round(float(row.get(name, ""))) for name in columns.window)
            window = Window(y=y, x=x, height=height, width=width)
        except ValueError as error:
            return Skipped(name=where, why=f"its window cannot be read: {error}")
    name = plain(given) if given else Path(uris[0]).name
    return Item(
        name=name if window is None else f"{name} y{window.y:05d}x{window.x:05d}",
        uris=uris,
        words=_words(row, columns),
        window=window,
        group=row.get(columns.group or "", ""),
        part=_part(row.get(columns.part or "", ""), where),
    )


def _joined(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """One item per tile: (items, notes). A tile in several rows is of all their classes."""
    found: dict[str, Item] = {}
    for item in items:
        first = found.get(item.name)
        words = item.words if first is None else tuple(dict.fromkeys((*first.words, *item.words)))
        found[item.name] = replace(first or item, words=words)
    twice = len(items) - len(found)
    notes = [f"{twice:,} rows repeat the tile of another one: their labels were joined."] if twice else []
    more = sum(len(found[item.name].words) > len(item.words) for item in {item.name: item for item in items}.values())
    if more:
        notes.append(
            f"{more:,} tiles have several labels by that, so tiles may be of several classes; where that is a mistake, "
            "data.exclusive = true tells which they are."
        )
    return list(found.values()), notes


def located(folder: Path, given: str) -> str:
    """Where an image is that a table in `folder` names, be it with the slashes of Windows."""
    if is_remote(given):
        return given
    path = folder / given
    return str(path if path.exists() or "\\" not in given else folder / given.replace("\\", "/"))


def _words(row: Row, columns: Columns) -> tuple[str, ...]:
    if columns.label is None:
        return tuple(name for name in columns.classes if row.get(name, "").lower() in YES)
    words = (word.strip() for word in re.split(r"[;|]", row.get(columns.label, "")))
    return tuple(dict.fromkeys(_WHOLE.sub(r"\1", word) for word in words if word))


def _part(word: str, where: str) -> Part | None:
    if not word:
        return None
    if word.lower() not in PARTS:
        raise BadInput(f"{where}: {word!r} is no part of a split; write train, validation or test")
    return PARTS[word.lower()]


def _ignored(rows: Sequence[Row], columns: Columns) -> tuple[str, ...]:
    used = {columns.image, columns.label, columns.group, columns.part, *columns.classes, *(columns.window or ())}
    others = [name for name in rows[0] if name and name not in used]
    return (f"Columns that were not used: {', '.join(others)}.",) if others else ()
