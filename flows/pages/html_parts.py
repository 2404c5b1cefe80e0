"""Pieces of a page: everything is escaped unless it says that it is HTML already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Cell = str | int | float | None
"""What a table shows; None is a dash, floats have three digits."""


def shown(value: Cell, digits: int = 3) -> str:
    """As HTML."""
    if isinstance(value, Html):
        return value
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else escape(value, quote=True)


def per_cent(share: float | None, digits: int = 1, *, signed: bool = False) -> str | None:
    """Such as "12.3 %"; None stays None."""
    return None if share is None else f"{100 * share:{'+' * signed}.{digits}f} %"


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], words: int = 1) -> Html:
    """A table that scrolls where the page is narrow. words: how many columns, from the left, are not numbers."""
    kinds = ["" if i < words else " class=n" for i in range(len(columns))]
    head = "".join(f"<th scope=col{kind}>{escape(name)}" for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{shown(cell)}" for cell, kind in zip(row, kinds, strict=True)) for row in rows
    )
    return Html(f"<div class=wide><table><tr>{head}{body}</table></div>")


def section(title: str, *parts: str, note: str = "") -> Html:
    """A heading and what is below it; nothing where there is nothing. note: plain text under the heading."""
    body = "".join(parts)
    told = f"<p class=sub>{escape(note)}</p>" if note else ""
    return Html(f"<section><h2>{escape(title)}</h2>{told}{body}</section>" if body else "")


def items(texts: Iterable[str]) -> Html:
    """A list of plain texts; nothing where there are none."""
    body = "".join(f"<li>{escape(text)}" for text in texts)
    return Html(f"<ul>{body}</ul>" if body else "")
