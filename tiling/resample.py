"""Area averaging, exact for any downsample, whole or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Averaged = tuple[NDArray[np.generic], NDArray[np.bool_]]
"""Pixels (band, n, m) and valid (n, m)."""


def area_average(pixels: NDArray[np.generic], valid: NDArray[np.bool_], y_edges: Floats, x_edges: Floats) -> Averaged:
    """Average `pixels` over the cells between edges, each pixel weighted by the area of it inside the cell.

    pixels: (band, h, w); valid: (h, w), True = data; y_edges (n + 1), x_edges (m + 1): cell borders in array
    coordinates, ascending; what lies outside the array counts as no data. Returns pixels (band, n, m) of the same
    dtype (integers rounded half to even) and valid (n, m): True where at least half of the cell holds data.
    """
    if _is_identity(y_edges, pixels.shape[1]) and _is_identity(x_edges, pixels.shape[2]):
        return pixels, valid
    (tall, rows), (wide, cols) = _whole_cells(y_edges, pixels.shape[1]), _whole_cells(x_edges, pixels.shape[2])
    if not (rows and cols and _sums_fit(pixels.dtype, tall * wide)):
        return _average_any(pixels, valid, y_edges, x_edges)
    y, x = int(y_edges[0]), int(x_edges[0])
    inside = slice(y, y + rows * tall), slice(x, x + cols * wide)
    means = _average_whole(pixels[:, *inside], valid[inside], tall, wide)
    if cols < len(x_edges) - 1:  # the last cell is cut at the end of the level
        means = _joined(means, _average_cut(pixels, valid, y_edges[: rows + 1], x_edges[cols:]), axis=-1)
    if rows < len(y_edges) - 1:
        means = _joined(means, _average_cut(pixels, valid, y_edges[rows:], x_edges), axis=-2)
    return means


def _whole_cells(edges: Floats, size: int) -> tuple[int, int]:
    """(pixels in a cell, how many of the first cells are of so many whole pixels)."""
    start, step = float(edges[0]), float(edges[1] - edges[0])
    if start < 0 or step < 1 or not (start.is_integer() and step.is_integer()):
        return 1, 0
    fits = (np.diff(edges) == step) & (edges[1:] <= size)
    return int(step), len(fits) if fits.all() else int(fits.argmin())


def _sums_fit(dtype: np.dtype[np.generic], cell: int) -> bool:
    """True where sums of cells are exact, in integers as in the floats of the other way."""
    return dtype.kind in "iu" and dtype.itemsize <= 4 and cell <= 2**16


def _average_whole(pixels: NDArray[np.generic], valid: NDArray[np.bool_], tall: int, wide: int) -> Averaged:
    """Means of cells of `tall` x `wide` whole pixels by integer sums: the very same as any other way, much sooner."""
    cell = tall * wide
    if valid.all():
        total = _block_sums(pixels, tall, wide)
        mean = _shifted(total, cell.bit_length() - 1) if cell & (cell - 1) == 0 else np.rint(total / cell)
        return mean.astype(pixels.dtype), np.ones(mean.shape[1:], bool)
    weight = _block_sums(valid.view(np.uint8), tall, wide)
    total = _block_sums(np.where(valid, pixels, pixels.dtype.type(0)), tall, wide)
    mean = np.divide(total, weight, out=np.zeros(total.shape), where=weight > 0)
    return np.rint(mean).astype(pixels.dtype), 2 * weight.astype(np.int64) >= cell


def _shifted(total: NDArray[Any], bits: int) -> NDArray[Any]:
    """Total / 2**bits, halves to even, without a division."""
    if bits == 0:
        return total
    up = (total >> bits & 1) + (2 ** (bits - 1) - 1)
    shifted: NDArray[Any] = np.add(total, up, out=up) >> bits
    return shifted


def _block_sums(values: NDArray[Any], tall: int, wide: int) -> NDArray[Any]:
    """(..., h, w) integers -> (..., h / tall, w / wide) sums of blocks, in a type with room for half a block more."""
    most = 2 ** (8 * values.dtype.itemsize) * (tall * wide + 1)
    kind = np.int64 if most > 2**31 else np.int32 if values.dtype.kind == "i" or most > 2**16 else np.uint16
    rows: NDArray[Any] = values[..., ::tall, :].astype(kind)
    for i in range(1, tall):
        np.add(rows, values[..., i::tall, :], out=rows)
    sums = rows[..., ::wide].copy()
    for i in range(1, wide):
        np.add(sums, rows[..., i::wide], out=sums)
    return sums


def _average_cut(pixels: NDArray[np.generic], valid: NDArray[np.bool_], y_edges: Floats, x_edges: Floats) -> Averaged:
    """The same as _average_any, of the pixels under the cells only."""
    y, x = min(int(y_edges[0]), pixels.shape[1] - 1), min(int(x_edges[0]), pixels.shape[2] - 1)
    inside = slice(y, int(np.ceil(y_edges[-1]))), slice(x, int(np.ceil(x_edges[-1])))
    return _average_any(pixels[:, *inside], valid[inside], y_edges - y, x_edges - x)


def _joined(first: Averaged, second: Averaged, axis: int) -> Averaged:
    data, valid = (np.concatenate(both, axis=axis) for both in zip(first, second, strict=True))
    return data, valid


def _average_any(pixels: NDArray[np.generic], valid: NDArray[np.bool_], y_edges: Floats, x_edges: Floats) -> Averaged:
    """Cells of any size, in floating point."""
    weight = _sum_cells(valid, y_edges, x_edges)
    total = _sum_cells(np.where(valid, pixels, 0), y_edges, x_edges)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    cell = np.diff(y_edges)[:, None] * np.diff(x_edges)[None, :]
    if np.issubdtype(pixels.dtype, np.integer):
        mean = np.rint(mean)
    return mean.astype(pixels.dtype), weight >= 0.5 * cell * (1 - 1e-9)


def _is_identity(edges: Floats, size: int) -> bool:
    return len(edges) == size + 1 and bool(np.array_equal(edges, np.arange(size + 1)))


def _sum_cells(values: NDArray[np.generic], y_edges: Floats, x_edges: Floats) -> Floats:
    along_x = _sum_along(values, x_edges, axis=-1)  # first: rows lie together in memory, five times faster
    return _sum_along(along_x, y_edges, axis=-2)


def _sum_along(values: NDArray[np.generic], edges: Floats, axis: int) -> Floats:
    """Integral of a piecewise constant signal between consecutive edges, along one axis."""
    size = values.shape[axis]
    clipped = np.clip(edges, 0, size)
    whole = np.minimum(np.floor(clipped).astype(np.intp), size - 1)
    inside = np.asarray(np.add.reduceat(values, whole[:-1], axis=axis, dtype=np.float64))
    starts = np.expand_dims(whole[:-1] < whole[1:], tuple(range(axis + 1, 0)))
    inside = np.where(starts, inside, 0.0)  # reduceat returns the element itself where a cell starts and ends in it
    inside = _drop_tail(inside, values, whole, axis)
    part = np.expand_dims(clipped - whole, tuple(range(axis + 1, 0)))
    edge_values = np.take(values, whole, axis=axis).astype(np.float64) * part
    return np.asarray(inside + np.diff(edge_values, axis=axis))


def _drop_tail(inside: Floats, values: NDArray[np.generic], whole: NDArray[np.intp], axis: int) -> Floats:
    """Reduceat's last cell runs to the end of the array; stop it at the last edge instead."""
    if whole[-2] < whole[-1]:
        last = np.take(values, range(whole[-2], whole[-1]), axis=axis).sum(axis=axis, dtype=np.float64)
        index = [slice(None)] * inside.ndim
        index[axis] = slice(-1, None)
        inside[tuple(index)] = np.expand_dims(last, axis)
    return inside
