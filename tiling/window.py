"""Rectangles on a pixel plane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of whole pixels, half-open: rows [y, y + height), columns [x, x + width)."""

    y: int
    """First row, px. May be negative or beyond the plane: a read pads what is outside."""
    x: int
    """First column, px."""
    height: int
    """Rows, px, at least 1."""
    width: int
    """Columns, px, at least 1."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window needs at least one pixel, not {self.height} x {self.width} px")

    @property
    def y_stop(self) -> int:
        """First row behind the window, px."""
        return self.y + self.height

    @property
    def x_stop(self) -> int:
        """First column behind the window, px."""
        return self.x + self.width

    @property
    def shape_px(self) -> tuple[int, int]:
        """(height, width), px."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) to index an array of the whole plane with; the window must not start before it."""
        if self.y < 0 or self.x < 0:
            raise ValueError(f"{self} starts before its plane; clip it first")
        return slice(self.y, self.y_stop), slice(self.x, self.x_stop)

    def intersection(self, other: Window) -> Window | None:
        """The pixels both windows hold, or None when they share none."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        height, width = min(self.y_stop, other.y_stop) - y, min(self.x_stop, other.x_stop) - x
        return Window(y=y, x=x, height=height, width=width) if height > 0 and width > 0 else None

    def clip(self, shape_px: tuple[int, int]) -> Window | None:
        """The part inside a plane of `shape_px`, or None when all of it is outside."""
        return self.intersection(Window(y=0, x=0, height=shape_px[0], width=shape_px[1]))

    def pad(self, by_px: int) -> Window:
        """The window grown by `by_px` on each side."""
        return Window(y=self.y - by_px, x=self.x - by_px, height=self.height + 2 * by_px, width=self.width + 2 * by_px)

    def scale(self, factor: int) -> Window:
        """The same rectangle on a plane `factor` times finer."""
        return Window(y=self.y * factor, x=self.x * factor, height=self.height * factor, width=self.width * factor)

    def relative_to(self, other: Window) -> Window:
        """The same pixels, counted from the top left corner of `other`."""
        return Window(y=self.y - other.y, x=self.x - other.x, height=self.height, width=self.width)
