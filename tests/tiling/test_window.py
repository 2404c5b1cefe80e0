"""Rectangles: every claim checked against sets of pixels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiling.window import Window

windows = st.builds(
    Window,
    y=st.integers(-8, 8),
    x=st.integers(-8, 8),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)


def pixels(window: Window | None) -> set[tuple[int, int]]:
    """The pixels a window holds."""
    if window is None:
        return set()
    rows, cols = range(window.y, window.y_stop), range(window.x, window.x_stop)
    return {(y, x) for y in rows for x in cols}


@given(windows, windows)
def test_intersection_holds_the_shared_pixels(a: Window, b: Window) -> None:
    assert pixels(a.intersection(b)) == pixels(a) & pixels(b)


@given(windows, st.integers(1, 9), st.integers(1, 9))
def test_clip_keeps_what_lies_on_the_plane(window: Window, height: int, width: int) -> None:
    inside = {(y, x) for y, x in pixels(window) if 0 <= y < height and 0 <= x < width}
    assert pixels(window.clip((height, width))) == inside


@given(windows, st.integers(0, 4))
def test_pad_reaches_equally_far_on_each_side(window: Window, by: int) -> None:
    around = range(-by, by + 1)
    assert pixels(window.pad(by)) == {(y + dy, x + dx) for y, x in pixels(window) for dy in around for dx in around}


@given(windows, st.integers(1, 4))
def test_scale_covers_the_finer_pixels_of_each_pixel(window: Window, k: int) -> None:
    finer = {(y * k + dy, x * k + dx) for y, x in pixels(window) for dy in range(k) for dx in range(k)}
    assert pixels(window.scale(k)) == finer


@given(windows, windows)
def test_relative_to_moves_the_origin(window: Window, other: Window) -> None:
    assert pixels(window.relative_to(other)) == {(y - other.y, x - other.x) for y, x in pixels(window)}


def test_slices_index_an_array() -> None:
    assert Window(y=2, x=3, height=4, width=5).slices == (slice(2, 6), slice(3, 8))


@pytest.mark.parametrize(("y", "x"), [(-1, 0), (0, -1)])
def test_slices_refuse_to_wrap_around(y: int, x: int) -> None:
    with pytest.raises(ValueError, match="starts before its plane"):
        _ = Window(y=y, x=x, height=2, width=2).slices


@pytest.mark.parametrize(("height", "width"), [(0, 1), (1, 0), (-3, 2)])
def test_an_empty_window_is_refused_with_its_numbers(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height} x {width}"):
        Window(y=0, x=0, height=height, width=width)
