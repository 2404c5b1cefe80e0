"""Tiles that show the same: the same pixels, or the same picture stored, lit, turned or mirrored otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles

Pairs = Collection[tuple[int, int]]
Floats = NDArray[np.float32]
_THUMB = 16
"""Side of the small grey picture that is compared."""
_BITS = 10
"""Of 64 that may differ."""
_ALIKE = 0.95
"""Correlation of two thumbnails."""
_PLAIN = 0.02
"""Spread of a thumbnail, less its plane, below which it shows nothing; as a share of that of all thumbnails."""
_EVEN = 0.9
"""Share of a tile's pixels that have one value where it shows nothing."""
_SQUARE = 1024
"""Tiles compared with as many others at once."""
_AT_ONCE = 50_000
"""Pairs of thumbnails compared at once."""
_READ_BYTES = 64_000_000
"""Of pixels made small at once."""


def near_duplicates(tiles: LabelledTiles) -> tuple[tuple[int, int], ...]:
    """Pairs of positions (i < j), ascending, as few as join all tiles that show the same.

    Tiles with the same pixels; and tiles whose thumbnails are the same: 16 x 16 means over all bands, less the plane
    fitted to them, in one of the eight positions a square can be put in. Their difference hashes (64 bits: is a cell of
    8 x 9 brighter than the one before it) differ in at most 10 bits, and then they correlate by at least 0.95. Hashes
    alone link plain water and plain fields; of 4000 EuroSAT and 2400 breast tissue tiles, no two different ones
    correlated beyond 0.92. Blank tiles (glass, no data) are alike without being copies, and would join all slides into
    one group: a thumbnail counts only where its spread is at least 2 % of that of all thumbnails together, and the same
    pixels do if so, or if fewer than nine in ten have one value.
    """
    details = _details(_thumbnails(tiles))
    sets = [alike for alike in same_pixels(tiles) if details[alike[0]].any() or not _even(tiles, alike[0])]
    copies = np.array([(alike[0], other) for alike in sets for other in alike[1:]], np.intp).reshape(-1, 2)
    single = np.setdiff1d(np.flatnonzero(details.any(axis=(1, 2))), copies[:, 1])
    return _spanning(len(tiles), np.concatenate([copies, single[_close(details[single])]]))


def same_pixels(tiles: LabelledTiles) -> list[list[int]]:
    """Positions of tiles with the same pixels, two or more in each list; blank tiles (see blank) left out."""
    found: dict[bytes, list[int]] = {}
    kept = np.flatnonzero(~blank(tiles))
    for i, digest in zip(kept, contents(tiles, kept), strict=True):
        found.setdefault(digest, []).append(int(i))
    return [alike for alike in found.values() if len(alike) > 1]


def contents(tiles: LabelledTiles, chosen: Iterable[int] | NDArray[np.intp]) -> list[bytes]:
    """A digest of each tile's pixels, those that are not valid left out: equal where the pixels are."""
    digests = []
    for i in chosen:
        valid = np.ascontiguousarray(tiles.valid[i])
        seen = np.where(valid, tiles.pixels[i], np.zeros((), tiles.pixels.dtype))
        digests.append(hashlib.blake2b(seen.tobytes() + valid.tobytes(), digest_size=16).digest())
    return digests


def blank(tiles: LabelledTiles) -> NDArray[np.bool_]:
    """(n,) whether every band of a tile has one value wherever it is valid, or nothing is valid."""
    found = np.zeros(len(tiles), bool)
    for i in range(len(tiles)):
        seen = tiles.pixels[i][:, tiles.valid[i]]
        found[i] = bool((seen == seen[:, :1]).all())
    return found


def _even(tiles: LabelledTiles, position: int) -> bool:
    """Whether nine in ten of a tile's valid pixels have one value in each band."""
    seen = tiles.pixels[position][:, tiles.valid[position]]
    return bool(((seen == np.median(seen, axis=1, keepdims=True)).mean(axis=1) >= _EVEN).all())


def components(count: int, linked: Pairs) -> NDArray[np.intp]:
    """(count,) a number for each position, the same for those that pairs join."""
    from scipy.sparse.csgraph import connected_components

    pairs = np.array(sorted(linked), np.intp).reshape(-1, 2)
    return np.asarray(connected_components(_graph(count, pairs), directed=False)[1], np.intp)


def _spanning(count: int, pairs: NDArray[np.intp]) -> tuple[tuple[int, int], ...]:
    """As few of the pairs (k, 2) as join the same positions."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    tree = minimum_spanning_tree(_graph(count, pairs)).tocoo()
    return tuple(sorted((int(i), int(j)) for i, j in zip(tree.row, tree.col, strict=True)))


def _graph(count: int, pairs: NDArray[np.intp]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(pairs), np.int32), (pairs[:, 0], pairs[:, 1])), shape=(count, count))


def _thumbnails(tiles: LabelledTiles) -> Floats:
    """(n, 16, 16) means over the bands of valid pixels; a cell without any has the tile's mean."""
    cells = _cells(tiles.side_px, _THUMB)
    at_once = max(1, _READ_BYTES // (4 * tiles.side_px**2 * len(tiles.bands)))
    thumbs = [np.zeros((0, _THUMB, _THUMB), np.float32)]
    for start in range(0, len(tiles), at_once):
        some = slice(start, start + at_once)
        valid = tiles.valid[some]
        grey = np.where(valid, tiles.pixels[some].mean(axis=1, dtype=np.float32), np.float32(0))
        total, weight = cells @ grey @ cells.T, cells @ valid.astype(np.float32) @ cells.T
        mean = grey.sum(axis=(1, 2)) / np.maximum(valid.sum(axis=(1, 2)), 1)
        filled = np.broadcast_to(mean[:, None, None], total.shape).astype(np.float32)
        thumbs.append(np.divide(total, weight, out=filled, where=weight > 0))
    return np.concatenate(thumbs)


def _cells(side: int, count: int) -> Floats:
    """(count, side) how much of each pixel lies in each of `count` equal cells."""
    edges, pixel = np.arange(count + 1) * side / count, np.arange(side)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return overlap.clip(0).astype(np.float32)


def _details(thumbs: Floats) -> Floats:
    """(n, 16, 16) less their fitted plane, each of length 1; zeros where that shows nothing."""
    y = np.linspace(-1, 1, _THUMB)
    plane = np.stack([np.ones((_THUMB, _THUMB)), *np.meshgrid(y, y)]).reshape(3, -1)
    plane = (plane / np.linalg.norm(plane, axis=1, keepdims=True)).astype(np.float32)
    flat = thumbs.reshape(-1, _THUMB**2)
    rest = flat - (flat @ plane.T) @ plane
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    least = _PLAIN * _THUMB * (float(flat.std(dtype=np.float64)) if flat.size else 1.0)
    unit = np.divide(rest, length, out=np.zeros_like(rest), where=length > least)
    return np.asarray(unit.reshape(thumbs.shape))


def _hashes(details: Floats) -> Floats:
    """(n, 16, 16) -> (n, 64) of 1 and -1: products of two rows count agreeing less differing bits."""
    small = _cells(_THUMB, 8) @ details @ _cells(_THUMB, 9).T
    return np.where(np.diff(small, axis=2) > 0, np.float32(1), np.float32(-1)).reshape(len(details), 64)


def _close(details: Floats) -> NDArray[np.intp]:
    """(k, 2) positions i < j that are alike; see near_duplicates."""
    flat, hashes = details.reshape(-1, _THUMB**2), _hashes(details)
    found = [np.zeros((0, 2), np.intp)]
    for turned in _turned(details):
        other = turned.reshape(-1, _THUMB**2)
        for pairs in _agreeing(hashes, _hashes(turned)):
            alike = np.einsum("pk,pk->p", flat[pairs[:, 0]], other[pairs[:, 1]]) >= _ALIKE
            found.append(pairs[alike])
    return np.concatenate(found)


def _agreeing(ours: Floats, theirs: Floats) -> Iterator[NDArray[np.intp]]:
    """(k, 2) positions i < j, some at a time, whose hashes (n, 64) differ in few bits. In squares that fit the cache."""
    for top in range(0, len(ours), _SQUARE):
        for left in range(top, len(ours), _SQUARE):
            agree = ours[top : top + _SQUARE] @ theirs[left : left + _SQUARE].T
            i, j = np.divmod(np.flatnonzero(agree >= 64 - 2 * _BITS), agree.shape[1])
            pairs = np.stack([i + top, j + left], axis=1)[i + top < j + left]
            for start in range(0, len(pairs), _AT_ONCE):
                yield pairs[start : start + _AT_ONCE]


def _turned(pictures: Floats) -> Iterator[Floats]:
    """The eight positions of a square."""
    for picture in (pictures, pictures[:, :, ::-1]):
        for turns in range(4):
            yield np.ascontiguousarray(np.rot90(picture, turns, axes=(1, 2)))
