"""A smooth map of many pixels from few of them, where that is as good as all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Find = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""(h, 1) rows and (1, w) columns -> two (h, w) arrays."""
STEP_PX = 16
"""From node to node."""
TOLERANCE_PX = 1e-3
"""What may be lost between them; more, and every pixel is asked."""


def few(find: Find, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
    """As find(rows, cols) to TOLERANCE_PX: bilinear between nodes, checked in the middle of every cell.

    rows: (h, 1) and cols: (1, w), ascending by one. GDAL's warper does the same along its scanlines, to 0.125 px.
    """
    at_y, at_x = _nodes(rows.size), _nodes(cols.size)
    if rows.size < 2 or cols.size < 2:
        return find(rows, cols)
    nodes = find(rows[at_y], cols[:, at_x])
    middle_y, middle_x = (at_y[1:] + at_y[:-1]) / 2, (at_x[1:] + at_x[:-1]) / 2
    truth = find(rows[0, 0] + middle_y[:, None], cols[0, 0] + middle_x[None, :])
    guess = [(node[1:, 1:] + node[1:, :-1] + node[:-1, 1:] + node[:-1, :-1]) / 4 for node in nodes]
    off = max(float(np.abs(a - b).max()) for a, b in zip(truth, guess, strict=True))
    if not off <= TOLERANCE_PX:  # NaN, too
        return find(rows, cols)
    y, x = (_between(_between(node, at_y, 0), at_x, 1) for node in nodes)
    return y, x


def _nodes(size: int) -> NDArray[np.intp]:
    return np.unique(np.append(np.arange(0, size, STEP_PX), size - 1))


def _between(values: Floats, nodes: NDArray[np.intp], axis: int) -> Floats:
    """Values at 0, 1, … last node, linear between the nodes along an axis."""
    places = np.arange(nodes[-1] + 1)
    low = np.searchsorted(nodes, places, side="right").clip(max=nodes.size - 1) - 1
    share = (places - nodes[low]) / (nodes[low + 1] - nodes[low])
    share = share[:, None] if axis == 0 else share[None, :]
    return np.asarray(values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share)
