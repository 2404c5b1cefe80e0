"""change.png: both images, and what was gained, lost and stable between them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flows.change.board import GAINED, LOST, STABLE, Board
from flows.change.compare import Compared
from flows.change.display import area_of, date_names
from flows.change.reading import Seen
from flows.pages.picture import FAINT, INK, MARGIN_PX, PANEL_PX, PAPER, fit, font, natural
from flows.pages.thumbnail import small_pixels, thumbnail_shape

HEAD_PX, LINE_PX = 40, 24
MOST_CLASSES = 4
"""Panels; the table has the others."""
COLOURS = {STABLE: (70, 70, 70), GAINED: (0, 114, 178), LOST: (213, 94, 0)}
"""Blue and vermillion of Okabe & Ito 2008, told apart by everybody; dark grey for what stayed."""
UNSEEN = (205, 205, 205)
STRIPE_PX = 5
Legend = list[tuple[tuple[int, int, int], str]]
"""Colours and what they mean."""


def draw_change(a: Seen, b: Seen, found: Compared, result: dict[str, Any]) -> Image.Image:
    """RGB: the images of A and B, each on its own grid, and one panel per class that both runs look for."""
    base, names = (a if found.grid == "a" else b), date_names(result)
    background = natural(base.run, small_pixels(base.run, found.board.shape))
    panels = [("A" if names[0] == "A" else f"A: {names[0]}", _image(a))]
    panels += [("B" if names[1] == "B" else f"B: {names[1]}", _image(b))]
    shown = most_changed(result, [found.change.classes[position] for position in found.board.classes])
    panels += [(name, panel(background, found.board, i)) for i, name in shown]
    pictures = [(title, fit(Image.fromarray(array))) for title, array in panels]
    legends: list[Legend] = [[], [], *(legend(result, name) for _, name in shown)]
    return _page(pictures, legends, f"{names[0]} to {names[1]}, recipe {a.plan.name}")


def most_changed(result: dict[str, Any], names: Sequence[str]) -> list[tuple[int, str]]:
    """(number, name) of the classes to draw: those of which most was gained or lost, of these the largest."""
    rows = {row["name"]: row for row in result["classes"]}
    moved = [rows[name]["gained"]["area"] + rows[name]["lost"]["area"] for name in names]
    order = sorted(range(len(names)), key=lambda i: (-moved[i], -rows[names[i]]["a"]["area"], i))
    there = [i for i in order if rows[names[i]]["a"]["pixels"] or rows[names[i]]["b"]["pixels"]] or order[:1]
    return [(i, names[i]) for i in there[:MOST_CLASSES]]


def panel(background: NDArray[np.uint8], board: Board, i: int) -> NDArray[np.uint8]:
    """(h, w, 3): the picture pale, the i-th class on it; stripes where a date was not observed."""
    mixed = np.repeat(background.astype(np.float64).mean(2, keepdims=True) * 0.25 + 185, 3, axis=2)
    y, x = np.indices(board.shape)
    stripes = ((y + x) // STRIPE_PX % 2 == 0)[..., None] * 50.0
    unseen = board.unseen[..., None]
    mixed = mixed * (1 - unseen) + (np.array(UNSEEN) + stripes) * unseen
    shares = board.shares(i)
    for kind in (STABLE, GAINED, LOST):
        alpha = np.sqrt(np.clip(shares[kind], 0, 1))[..., None]  # a few pixels under a thumbnail pixel still show
        mixed = mixed * (1 - alpha) + np.array(COLOURS[kind]) * alpha
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def legend(result: dict[str, Any], name: str) -> Legend:
    """Colours of a panel and what they mean, with the areas."""
    row = next(row for row in result["classes"] if row["name"] == name)
    kinds = {GAINED: "gained", LOST: "lost", STABLE: "stable"}
    found = [(COLOURS[kind], f"{word} {area_of(row[word]['area'], result)}") for kind, word in kinds.items()]
    missing = result["area"]["only_a"] + result["area"]["only_b"] + result["area"]["neither"]
    return [*found, *([(UNSEEN, f"not observed {area_of(missing, result)}")] if missing else [])]


def _image(seen: Seen) -> NDArray[np.uint8]:
    return natural(seen.run, small_pixels(seen.run, thumbnail_shape(seen.run, PANEL_PX)))


def _page(pictures: list[tuple[str, Image.Image]], legends: list[Legend], title: str) -> Image.Image:
    """Panels in rows of three, of two when there are more."""
    width, height = (max(picture.size[axis] for _, picture in pictures) for axis in (0, 1))
    across = 3 if len(pictures) < 4 else 2
    high = 2 * LINE_PX + height + LINE_PX * max(map(len, legends))
    size = across * (width + MARGIN_PX) + MARGIN_PX, HEAD_PX + -(-len(pictures) // across) * high
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN_PX, 10), title, FAINT, font(16))
    for i, ((name, picture), lines) in enumerate(zip(pictures, legends, strict=True)):
        left, top = MARGIN_PX + i % across * (width + MARGIN_PX), HEAD_PX + i // across * high
        _panel(page, draw, (left, top), name, picture, lines)
    return page


def _panel(
    page: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], name: str, picture: Image.Image, lines: Legend
) -> None:
    left, top = at[0], at[1] + LINE_PX
    draw.text(at, name, INK, font(18))
    page.paste(picture, (left, top))
    draw.rectangle((left - 1, top - 1, left + picture.width, top + picture.height), outline=(200, 204, 210))
    for line, (colour, text) in enumerate(lines):
        y = top + picture.height + 8 + line * LINE_PX
        draw.rectangle((left, y, left + 16, y + 16), fill=colour, outline=(150, 150, 150))
        draw.text((left + 24, y - 1), text, INK, font(16))
