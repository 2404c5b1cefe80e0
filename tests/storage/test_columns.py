"""Columns made of buffers are those that pyarrow itself makes of the same values."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.columns import numbers, texts

OPTIONAL = {
    "i4": st.none() | st.integers(-(2**31), 2**31 - 1),
    "i8": st.none() | st.integers(-(2**63), 2**63 - 1),
    "f4": st.none() | st.floats(width=32, allow_nan=False),
    "f8": st.none() | st.floats(allow_nan=False),
}
ARROW = {"i4": pa.int32(), "i8": pa.int64(), "f4": pa.float32(), "f8": pa.float64()}


@pytest.mark.parametrize("dtype", OPTIONAL)
@given(data=st.data())
def test_numbers(dtype, data):
    values = data.draw(st.lists(OPTIONAL[dtype], max_size=40))
    column = numbers(values, dtype)
    column.validate(full=True)
    assert column.equals(pa.array(values, ARROW[dtype]))
    assert column.null_count == values.count(None)


@given(values=st.lists(st.none() | st.text(), max_size=40))
def test_texts(values):
    column = texts(values)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.string()))
    assert column.null_count == values.count(None)


def test_what_does_not_fit_is_refused():
    with pytest.raises(OverflowError):
        numbers([2**31], "i4")
