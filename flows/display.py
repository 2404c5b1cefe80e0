"""Numbers as people read them. Pure."""

from __future__ import annotations

from typing import Any

from downstream.area import PER_UNIT, AreaUnit

METRIC: dict[AreaUnit, tuple[str, ...]] = {"m2": ("m2", "ha", "km2"), "um2": ("um2", "mm2")}


def convert(area: float | None, base: AreaUnit, unit: str) -> tuple[float | None, str]:
    """(area, unit) in the unit people asked for; one of the other kind falls back to ha or mm2."""
    chosen = unit if unit in METRIC[base] else METRIC[base][1]
    return (None if area is None else area / PER_UNIT[chosen]), chosen


def area_text(area: float | None, summary: dict[str, Any]) -> str:
    """Such as "1,234.5 ha" or "unknown"."""
    base = summary["area"]["unit"]
    value, unit = convert(area, base, summary["area"]["display_unit"])
    if value is None or area is None:
        return "unknown"
    if 0 < value < 1e-3:
        value, unit = area, base
    return f"{value:,.0f} {unit}" if value >= 1e5 else f"{value:,.4g} {unit}" if value < 1e3 else f"{value:,.1f} {unit}"


def class_lines(summary: dict[str, Any]) -> list[str]:
    """One line per class: what was mapped, and what may have been missed."""
    return [f"{row['name']} {area_text(row['mapped'], summary)}{missed_text(row, summary)}" for row in rows(summary)]


def missed_text(row: dict[str, Any], summary: dict[str, Any]) -> str:
    """Such as "; missed by the gate: 0.2 ha (at most 3 ha)"; empty when nothing was left out."""
    if row["missed_high"] is None:
        return " (no audit: what the gate left out is unknown)"
    if row["missed_high"] == 0:
        return ""
    return f"; missed by the gate: {bound_text(row, summary)}"


def bound_text(row: dict[str, Any], summary: dict[str, Any]) -> str:
    """Such as "0.2 ha (at most 3 ha)", at 95 %; "nothing" where all was looked at, "none seen" in an audit."""
    if row["missed_high"] is None:
        return "unknown: no audit"
    if row["missed_high"] == 0:
        return "nothing"
    estimate, high = (area_text(row[key], summary) for key in ("missed_estimate", "missed_high"))
    return f"{estimate if row['missed_estimate'] else 'none seen'} (at most {high})"


def observed_text(summary: dict[str, Any]) -> str:
    """Such as "observed 12.1 mm2 of 12.1 mm2, of which 3.2 mm2 are tissue; areas slide-mpp"."""
    area = summary["area"]
    tissue = area.get("tissue")  # null in rasters, absent in summaries of before
    middle = "" if tissue is None else f", of which {area_text(tissue, summary)} are tissue"
    observed, image = (area_text(area[key], summary) for key in ("observed", "image"))
    claims = area.get("observed_at_most")
    at_most = "" if claims is None else "at most "
    why = f"; {claim_text(summary)}" if claims and (claims["lacking"] or claims["hidden"] is None) else ""
    aoi = f" (area of interest: {area_text(area['aoi']['area'], summary)})" if "aoi" in area else ""
    return f"observed {at_most}{observed} of {image}{aoi}{middle}; areas {area['method']}{why}"


def claim_text(summary: dict[str, Any]) -> str:
    """Such as "data in 90 rejected tiles was seen on the gate plane only, which may hide pixels without: 2 ha (at most 3 ha)".

    Empty where what is observed is exact.
    """
    claims = summary["area"].get("observed_at_most")
    if claims is None:
        return ""
    tiles, hidden = f"{claims['tiles']:,} {'tile' if claims['tiles'] == 1 else 'tiles'}", claims["hidden"]
    bound = bound_text({f"missed_{end}": (hidden or {}).get(end) for end in ("estimate", "low", "high")}, summary)
    audited = f"; {claims['lacking']:,} of {claims['audited']:,} audited ones lacked some" if claims["lacking"] else ""
    return f"data in {tiles} was seen on the gate plane only, which may hide pixels without: {bound}{audited}"


def glass_text(summary: dict[str, Any]) -> str:
    """Such as "dab has 3.2 mm2, more than the 1.1 mm2 of tissue: …"; empty where every class fits into the tissue."""
    area = summary["area"]
    names = area.get("more_than_tissue", ())
    if not names:
        return ""
    told = " and ".join(
        f"{r['name']} has {area_text(r['mapped'], summary)}" for r in rows(summary) if r["name"] in names
    )
    return (
        f"{told}, more than the {area_text(area['tissue'], summary)} of tissue, so some of it lies on glass. Likely pen "
        "marks, dust or shadows: grey passes for stain, while tissue is what has colour. Look at overview.png, then "
        "outline the tissue (area.aoi) or set another segment.cut"
    )


def rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The classes of a summary."""
    return list(summary["area"]["classes"])


def funnel_lines(summary: dict[str, Any]) -> list[tuple[str, int, str]]:
    """(state, tiles, meaning) in the order a tile meets them; the states sum to the grid."""
    meaning = {
        "empty": "no data there, or screened out; nothing run",
        "negative": "kept out by the gate",
        "positive": "let through and segmented",
        "unreadable": "could not be read: NOT observed",
        "failed": "code or machine failed: NOT observed",
        "planned": "not done yet: NOT observed",
    }
    outside = summary["tiles"].get("outside_aoi")
    if outside:
        meaning["empty"] += f" ({outside:,} outside of the area of interest, not read)"
    return [(name, summary["tiles"].get(name, 0), text) for name, text in meaning.items() if name in summary["tiles"]]


def where_text(verdict: str, model: str) -> str:
    """Such as "in part outside the domain of forest-gate"."""
    return f"{'in part outside' if verdict == 'shifted' else verdict} the domain of {model}"


def domain_text(summary: dict[str, Any]) -> str:
    """Whether the image is like those the gate was calibrated on, with the numbers; empty in summaries of before."""
    found = summary.get("domain")
    if found is None:
        return ""
    where = (
        where_text(found["verdict"], summary["gate"]["model"])
        if found["tiles"]
        else "not judged against its gate's domain"
    )
    return f"{where}: {'; '.join(found['reasons'])}"


def is_foreign(summary: dict[str, Any]) -> bool:
    """Whether to warn of it."""
    return summary.get("domain", {}).get("verdict") in ("shifted", "outside")


def recall_text(gate: dict[str, Any]) -> str:
    """Such as ", chosen for a recall of 0.99 of the tiles at 95 %"; empty where a threshold was given."""
    if gate.get("target_recall") is None:
        return ""
    sure = " on average" if gate["confidence"] is None else f" at {100 * gate['confidence']:g} %"
    return f", chosen for a recall of {gate['target_recall']:g} of the {gate['recall_of']}{sure}"
