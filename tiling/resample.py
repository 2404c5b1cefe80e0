"""Area averaging, exact for any downsample, whole or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def area_average(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], y_edges: Floats, x_edges: Floats
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Average `pixels` over the cells between edges, each pixel weighted by the area of it inside the cell.

    pixels: (band, h, w); valid: (h, w), True = data; y_edges (n + 1), x_edges (m + 1): cell borders in array
    coordinates, ascending; what lies outside the array counts as no data. Returns pixels (band, n, m) of the same
    dtype (integers rounded half to even) and valid (n, m): True where at least half of the cell holds data.
    """
    if _is_identity(y_edges, pixels.shape[1]) and _is_identity(x_edges, pixels.shape[2]):
        return pixels, valid
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
