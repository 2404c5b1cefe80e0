"""Worst mistakes as pictures: tiles with what they are, and what a model took them for."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifiers.labels.sample import UNLABELLED, LabelledTiles
from classifiers.measuring.heat import png
from classifiers.measuring.natural import display_range, natural
from flows.pages.html_parts import Html
from flows.pages.picture import overlay
from tiling.stack import crop_to_core

MOST_PX = 256
"""Larger tiles are drawn smaller."""
GAP_PX = 4
HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePicture:
    """One tile on a page."""

    png: bytes
    """The picture."""
    name: str
    """Sample.name."""
    lines: tuple[str, ...]
    """What is told below it, plain text."""


def worst_tiles(
    labels: NDArray[np.float32], scores: NDArray[np.float32], exclusive: bool, most: int = 24
) -> NDArray[np.intp]:
    """Positions of wrongly answered tiles, the surest mistakes first. labels, scores: (n, classes).

    Exclusive classes: by what their own class lacks to certainty; otherwise by the class that is most wrong.
    """
    apart = np.abs(labels - scores)
    if exclusive:
        wrong, loss = labels.argmax(axis=1) != scores.argmax(axis=1), (apart * labels).sum(axis=1)
    else:
        wrong, loss = ((labels > HALF) != (scores >= HALF)).any(axis=1), apart.max(axis=1)
    order = np.argsort(-loss, kind="stable")
    return np.asarray(order[wrong[order]][:most])


def worst_masks(counts: NDArray[np.int64], most: int = 12) -> NDArray[np.intp]:
    """Positions of the tiles with most wrong pixels, those first. counts: (n, classes, 3 or more): both, mapped, true."""
    wrong = (counts[..., 1] + counts[..., 2] - 2 * counts[..., 0]).sum(axis=1)
    order = np.argsort(-wrong, kind="stable")
    return np.asarray(order[wrong[order] > 0][:most])


def gate_pictures(
    tiles: LabelledTiles, scores: NDArray[np.float32], chosen: Sequence[int] | NDArray[np.intp]
) -> tuple[TilePicture, ...]:
    """What chosen tiles are, and what a gate takes them for. scores: (n, classes) of all tiles."""
    return tuple(
        TilePicture(
            png=picture_bytes(picture),
            name=tiles.samples[i].name,
            lines=told(tiles.classes, tiles.labels[i], scores[i], tiles.exclusive),
        )
        for i, picture in zip(chosen, pictures_of(tiles, chosen), strict=True)
    )


def mask_pictures(
    tiles: LabelledTiles, mapped: NDArray[np.uint8], chosen: Sequence[int] | NDArray[np.intp]
) -> tuple[TilePicture, ...]:
    """Image, truth and what was mapped, side by side, cores only. mapped: (len(chosen), core, core) labels."""
    assert tiles.masks is not None, "only tiles with masks have a truth to draw"
    found = []
    for i, labels, picture in zip(chosen, mapped, pictures_of(tiles, chosen), strict=True):
        image = np.moveaxis(crop_to_core(np.moveaxis(picture, 2, 0), tiles.tile), 0, 2).astype(np.uint8)
        truth = crop_to_core(tiles.masks[i], tiles.tile).astype(np.uint8)
        panels = [image, *(overlay(image, shares(mask, len(tiles.classes))) for mask in (truth, labels))]
        panels[1][truth == UNLABELLED] = 128
        known = truth != UNLABELLED
        wrong = int((truth != labels)[known].sum())
        text = f"{100 * wrong / max(int(known.sum()), 1):.1f} % of its pixels are wrong"
        found.append(TilePicture(png=picture_bytes(joined(panels)), name=tiles.samples[i].name, lines=(text,)))
    return tuple(found)


def pictures_of(tiles: LabelledTiles, chosen: Sequence[int] | NDArray[np.intp]) -> list[NDArray[np.uint8]]:
    """(side, side, 3) each, stretched alike."""
    stack = tiles.stack(list(chosen))
    limits = display_range(stack.pixels, stack.valid)
    return [natural(p, v, tiles.bands, limits) for p, v in zip(stack.pixels, stack.valid, strict=True)]


def told(
    classes: Sequence[str], labels: NDArray[np.float32], scores: NDArray[np.float32], exclusive: bool
) -> tuple[str, ...]:
    """Truth and answer in words. labels, scores: (classes,)."""
    if len(classes) == 1:
        name, score = classes[0], float(scores[0])
        return f"true: {name if labels[0] > HALF else f'not {name}'}", f"{name}: {score:.3f}"
    true = [i for i in range(len(classes)) if labels[i] > HALF]
    if exclusive:
        best, own = int(scores.argmax()), true[0]
        return (
            f"true: {classes[own]} ({float(scores[own]):.3f})",
            f"answer: {classes[best]} ({float(scores[best]):.3f})",
        )
    found = [f"{classes[i]} ({float(scores[i]):.3f})" for i in range(len(classes)) if scores[i] >= HALF]
    return f"true: {', '.join(classes[i] for i in true) or 'none'}", f"answer: {', '.join(found) or 'none'}"


def shares(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """(classes, h, w) 0 or 1 of labels (h, w)."""
    return np.stack([labels == label for label in range(1, classes + 1)]).astype(np.float64)


def joined(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Side by side, with a white gap. panels: (h, w, 3), equally high."""
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)


def picture_bytes(picture: NDArray[np.uint8]) -> bytes:
    """PNG of (h, w, 3), smaller where its height is above MOST_PX."""
    image = Image.fromarray(picture)
    if image.height > MOST_PX:
        image = image.resize((max(1, image.width * MOST_PX // image.height), MOST_PX), Image.Resampling.BOX)
    return png(image)


def gallery(pictures: Sequence[TilePicture]) -> Html:
    """The pictures with their texts, as HTML that needs no other file; nothing without pictures."""
    cards = []
    for picture in pictures:
        source = base64.b64encode(picture.png).decode()
        alt = escape(f"{picture.name}: {'; '.join(picture.lines)}", quote=True)
        lines = "".join(f"<br>{escape(line)}" for line in picture.lines)
        cards.append(
            f'<figure class=tile><img src="data:image/png;base64,{source}" alt="{alt}">'
            f"<figcaption><span class=name>{escape(picture.name)}</span>{lines}</figcaption></figure>"
        )
    return Html(f"<div class=gallery>{''.join(cards)}</div>" if cards else "")
