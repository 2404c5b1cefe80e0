"""The zones of a run, kept in its folder when it begins: it can be finished when their file is gone or another."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from downstream.zones import Zone, Zones, file_sha256
from downstream.zones_aoi import packed, unpacked
from flows.zones.areas import planned_zones
from storage.plan import RunPlan
from storage.run import Run

log = logging.getLogger("tilegate")

KEPT = "zones.json"
"""Where, beside the results."""


def keep_zones(run: Run, zones: Zones | None) -> None:
    """Write what a run needs of its zones into its folder; nothing where it has none."""
    if zones is not None:
        run.write(KEPT, to_bytes(zones, asked(run.plan)))


def zones_of(run: Run) -> Zones | None:
    """The zones of a run: as it keeps them, else as its plan asks for them. None = none. Raises BadInput."""
    if asked(run.plan)[0] is None:
        return None
    data = run.read(KEPT)
    kept = None if data is None else from_bytes(data, asked(run.plan))
    if data is not None and kept is None:
        log.warning("%s/%s is damaged, or of other zones: their file is read again", run.uri, KEPT)
    return planned_zones(run.plan) if kept is None else kept


def resumed_zones(run: Run) -> Zones | None:
    """See zones_of; with a warning where their file holds something else by now."""
    zones = zones_of(run)
    if zones is not None and Path(zones.path).exists() and file_sha256(Path(zones.path)) != zones.sha256:
        log.warning(
            "zones: %s has changed since the run was planned (sha256 %.12s… then). The run keeps the zones it was "
            "planned with; areas for the new ones: tilegate zones %s %s",
            *(zones.path, zones.sha256, run.uri, zones.path),
        )
    return zones


def asked(plan: RunPlan) -> list[str | None]:
    """[file, column] as the recipe names them."""
    area = plan.recipe["area"]
    return [area.get("zones"), area.get("zones_name")]


def to_bytes(zones: Zones, wanted: list[str | None]) -> bytes:
    """Zones as JSON that keeps every bit, with its own sha256. wanted: see asked."""
    body = {
        "asked": wanted,
        "path": zones.path,
        "sha256": zones.sha256,
        "column": zones.column,
        "notes": list(zones.notes),
        "tolerance_px": zones.tolerance_px,
        "zones": [
            {"number": zone.number, "name": zone.name, "outside": zone.outside, "wkb": packed(zone.shape)}
            for zone in zones.zones
        ],
    }
    return json.dumps({"sha256": _digest(body), "kept": body}, indent=1).encode()


def from_bytes(data: bytes, wanted: list[str | None]) -> Zones | None:
    """The zones again; None where they are damaged or not those that are asked for."""
    try:
        found = json.loads(data)
        body = found["kept"]
        if found["sha256"] != _digest(body) or body["asked"] != wanted:
            return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Zones(
        path=body["path"],
        sha256=body["sha256"],
        column=body["column"],
        zones=tuple(
            Zone(number=each["number"], name=each["name"], shape=unpacked(each["wkb"]), outside=each["outside"])
            for each in body["zones"]
        ),
        notes=tuple(body["notes"]),
        tolerance_px=body["tolerance_px"],
    )


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
