"""A run as a STAC item: what was measured, by whom, of which image, and the checksums of its files. Pure.

STAC 1.1.0 (https://github.com/radiantearth/stac-spec/tree/v1.1.0) with the extensions processing 1.2.0, file 2.1.0,
classification 2.0.0, projection 2.0.0 and, where a network took part, MLM 1.4.0 (https://stac-extensions.github.io/).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flows.export.stac_footprint import footprint
from storage.conventions import crs_attributes
from storage.plan import RunPlan
from tiling.address import public

HOME = "https://stac-extensions.github.io"
EXTENSIONS = tuple(
    f"{HOME}/{name}/schema.json" for name in ("processing/v1.2.0", "file/v2.1.0", "classification/v2.0.0")
)
PROJECTION, MLM = f"{HOME}/projection/v2.0.0/schema.json", f"{HOME}/mlm/v1.4.0/schema.json"
EARLIEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
"""Start of the interval when nobody says when a picture was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file that belongs to a run."""

    key: str
    """Its name in the item."""
    href: str
    """Where it is, relative to the item where that is possible."""
    title: str
    """One line for people."""
    media_type: str
    """MIME type."""
    roles: tuple[str, ...]
    """STAC's roles, such as data or metadata."""
    size_bytes: int | None = None
    """None for folders."""
    sha256: str | None = None
    """64 hexadecimal digits; None for folders."""
    more: Mapping[str, Any] | None = None
    """Whatever else is said of it, as plain JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When the picture was taken."""

    start: dt.datetime
    """Not before, UTC."""
    end: dt.datetime
    """Not after, UTC; the same as start when the moment is known."""


def stac_item(
    plan: RunPlan,
    summary: Mapping[str, Any],
    *,
    colours: Sequence[tuple[int, int, int]],
    assets: Sequence[Asset],
    network: Mapping[str, Any] | None,
    when: When,
    made: dt.datetime,
) -> dict[str, Any]:
    """The item. network: `mlm:` fields of the segmenter, or of the gate where the segmenter is a rule; None for rules.

    made: when the item is written, UTC. Slides have a null geometry, as STAC wants for what is not on a map.
    """
    place = footprint(plan.image)
    extensions = [*EXTENSIONS, *([PROJECTION] if place else []), *([MLM] if network else [])]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": extensions,
        "id": f"{PurePosixPath(plan.image.uri.split(',')[0]).stem}-{plan.name}-{plan.fingerprint[:12]}",
        "geometry": place[0] if place else None,
        **({"bbox": place[1]} if place else {}),
        "properties": {
            **_time(when, made),
            "title": f"{', '.join(plan.classes)} by recipe {plan.name}",
            **_processing(plan, summary),
            **(_projection(plan) if place else {}),
            "classification:classes": classes(plan.classes, colours),
            **({**network, "bands": [{"name": name} for name in plan.image.bands]} if network else {}),
            "tilegate:fingerprint": plan.fingerprint,
            "tilegate:image": {"identity": plan.identity, **summary["image"]},
            "tilegate:models": plan.models,
            **{f"tilegate:{key}": summary[key] for key in ("status", "area", "tiles", "gate", "segmenter")},
        },
        "links": [_derived_from(uri, plan.identity) for uri in plan.source.uris],
        "assets": {asset.key: _asset(asset) for asset in assets},
    }


def _time(when: When, made: dt.datetime) -> dict[str, Any]:
    """Datetime is the picture's; null, with the interval it must lie in, where its moment is not known."""
    known = when.start == when.end
    span = {} if known else {"start_datetime": _stamp(when.start), "end_datetime": _stamp(when.end)}
    return {"datetime": _stamp(when.start) if known else None, **span, "created": _stamp(made)}


def _stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _processing(plan: RunPlan, summary: Mapping[str, Any]) -> dict[str, Any]:
    gate, segmenter = (summary[which] for which in ("gate", "segmenter"))
    audit = f", and {summary['tiles']['audited']} of the others as an audit," if summary["tiles"]["audited"] else ""
    told = (
        f"Tiles of {plan.grid.tile_px} px that {gate['model']} scored {gate['threshold']} or more{audit} were segmented "
        f"by {segmenter['model']}; areas: {summary['area']['method']}."
    )
    return {
        "processing:lineage": told,
        "processing:software": {name: str(version) for name, version in summary["versions"].items()},
        "processing:expression": {"format": "tilegate-recipe", "expression": plan.recipe},
    }


def _projection(plan: RunPlan) -> dict[str, Any]:
    """Of the mask, which is on the fine plane."""
    t, (scale_y, scale_x) = plan.image.transform, plan.fine.scale
    assert t is not None
    assert plan.image.crs is not None
    return {
        "proj:code": None,
        **crs_attributes(plan.image.crs),
        "proj:shape": list(plan.grid.shape_px),
        "proj:transform": [t.a * scale_x, t.b * scale_y, t.c, t.d * scale_x, t.e * scale_y, t.f],
    }


def classes(names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """classification:classes of the mask; names as the extension spells them."""
    background = {
        "value": 0,
        "name": "background",
        "description": "no class found; tiles.parquet tells where nobody looked",
    }
    rows = [
        {"value": value, "name": _name(name), "title": name, "color_hint": "{:02X}{:02X}{:02X}".format(*colour)}
        for value, (name, colour) in enumerate(zip(names, colours, strict=True), start=1)
    ]
    return [background, *rows]


def _name(name: str) -> str:
    """Letters, digits, "-" and "_" only."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_" for letter in name)


def _derived_from(uri: str, identity: str) -> dict[str, Any]:
    return {"rel": "derived_from", "href": public(uri), "title": f"the image, sha256 of its content {identity}"}


def _asset(asset: Asset) -> dict[str, Any]:
    """file:checksum is a multihash: 12 (sha2-256), 20 (32 bytes), digest (https://multiformats.io/multihash/)."""
    size = {} if asset.size_bytes is None else {"file:size": asset.size_bytes}
    check = {} if asset.sha256 is None else {"file:checksum": f"1220{asset.sha256}"}
    told = {"href": asset.href, "title": asset.title, "type": asset.media_type, "roles": list(asset.roles)}
    return {**told, **size, **check, **(asset.more or {})}
