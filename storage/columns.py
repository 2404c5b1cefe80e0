"""Arrow columns from Python values by their buffers: pa.array would import pandas wherever it is installed (0.7 s)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def numbers(values: Sequence[float | None], dtype: str) -> pa.Array:
    """A column of a NumPy type (i4, f8, …), null where a value is None. Raises OverflowError for what does not fit."""
    import pyarrow as pa

    filled = np.array([0 if value is None else value for value in values], dtype)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(filled.dtype), len(values), [_present(values), pa.py_buffer(filled)]
    )


def texts(values: Sequence[str | None]) -> pa.Array:
    """A column of strings, null where a value is None. Raises OverflowError for more than 2 GiB of them."""
    import pyarrow as pa

    encoded = [(value or "").encode() for value in values]
    ends = np.array([0, *accumulate(map(len, encoded))], "i4")
    return pa.Array.from_buffers(
        pa.string(), len(values), [_present(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    )


def _present(values: Sequence[object]) -> pa.Buffer | None:
    """Arrow's bitmap, lowest bit first; none where nothing is null. Source: Arrow columnar format, validity bitmaps."""
    import pyarrow as pa

    there: NDArray[np.bool_] = np.array([value is not None for value in values], bool)
    return None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
