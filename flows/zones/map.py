"""Where the zones lie: a small map for the page, darker where more of a zone is of the first class. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

from downstream.zones import Zone, Zones
from flows.pages.html_parts import Html

WIDTH_PX, MOST_ZONES = 720, 300
"""Of the map, px of the page; zones drawn on it."""


def zones_map(zones: Zones, shape_px: tuple[int, int], block: dict[str, Any]) -> Html:
    """SVG of the image's frame with the outline and name of each zone. shape_px: of the image."""
    scale = WIDTH_PX / max(shape_px)
    height, width = (side * scale for side in shape_px)
    drawn = [
        _drawn(zone, row, scale)
        for zone, row in list(zip(zones.zones, block["rows"], strict=True))[:MOST_ZONES]
        if not zone.shape.is_empty
    ]
    told = escape(block["rows"][0]["classes"][0]["name"]) if block["rows"] else ""
    return Html(
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="map of the zones">'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#f6f7f8" stroke="#c8ccd2"/>{"".join(drawn)}</svg>'
        f"<p class=sub>Darker: more of what was observed of a zone is {told}.</p>"
    )


def _drawn(zone: Zone, row: dict[str, Any], scale: float) -> str:
    """Rings as one path, so that holes stay empty; the name at a point that lies inside."""
    import shapely

    small = shapely.simplify(shapely.transform(zone.shape, lambda xy: xy * scale), 0.3)
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(small))]
    path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring) + "Z" for ring in rings)
    share = min(1.0, row["classes"][0]["mapped"] / row["observed"]) if row["observed"] else 0.0
    at = zone.shape.representative_point()
    return (
        f'<path d="{path}" fill="#146eeb" fill-opacity="{0.05 + 0.6 * share:.2f}" fill-rule="evenodd" stroke="#1c2026"/>'
        f'<text x="{at.x * scale:.1f}" y="{at.y * scale:.1f}" font-size="12" text-anchor="middle">{escape(zone.name)}</text>'
    )
