"""The plan of a run as it lies in its folder: found, compared with the one that is asked for, written."""

from __future__ import annotations

import json
from dataclasses import replace

from storage.describe import described
from storage.folder import LOCK, TEMPORARY, Folder
from storage.plan import RunPlan, from_json
from tiling.address import public
from tiling.errors import BadInput

ADDRESS = ".address"
"""Where the signed address of an image is kept until its run is finished."""
_INTERRUPTED = {"zarr.json", "pixels", "mask"}
"""What a creation that was cut off may leave in run.zarr; anything else is somebody's work."""


def find_plan(folder: Folder, plan: RunPlan) -> RunPlan | None:
    """The plan in a folder, which is this one; None where there is room for it. Raises BadInput otherwise."""
    found = stored_plan(folder)
    if found is not None:
        _require_same(folder.uri, plan, found)
    elif not (_own(folder.names()) <= {"run.zarr", LOCK, ADDRESS} and _own(folder.names("run.zarr")) <= _INTERRUPTED):
        raise BadInput(f"{folder.uri} is not empty and holds no run; choose a new folder with --out")
    return found


def _own(names: set[str]) -> set[str]:
    return {name for name in names if not TEMPORARY.fullmatch(name)}


def stored_plan(folder: Folder) -> RunPlan | None:
    """The plan in a folder, with the full address of its image. Raises BadInput when it is damaged."""
    text = folder.read("run.zarr/zarr.json")
    if text is None:
        return None
    try:
        said = json.loads(text).get("attributes", {})
        if "tilegate" not in said:
            return None
        plan, fingerprint = from_json(said["tilegate"]["plan"]), said["tilegate"]["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{folder.uri}/run.zarr/zarr.json is damaged: {error}") from error
    if plan.fingerprint != fingerprint:
        raise BadInput(f"{folder.uri}/run.zarr/zarr.json is damaged: its plan is not the one it was written with")
    address = folder.read(ADDRESS)
    if address is None:
        return plan
    try:
        uris = tuple(map(str, json.loads(address)))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{folder.uri}/{ADDRESS} is damaged: {error}; remove it and give the image again") from error
    return replace(plan, source=replace(plan.source, uris=uris))


def lay_out(folder: Folder, plan: RunPlan) -> None:
    """Write what is missing or damaged of the description of every array, and the plan last."""
    shown = replace(plan, source=replace(plan.source, uris=tuple(map(public, plan.source.uris))))
    if shown.source.uris != plan.source.uris:  # a signed address lies aside for the owner until the run is finished
        folder.write(ADDRESS, json.dumps(plan.source.uris).encode(), private=True)
    else:
        folder.remove(ADDRESS)  # of the same image, when it was asked for at a signed address before
    files = described(shown)
    for name, text in sorted(files.items(), key=lambda named: named[0] == "zarr.json"):
        if folder.read(f"run.zarr/{name}") != text:
            folder.write(f"run.zarr/{name}", text)


def _require_same(place: str, plan: RunPlan, found: RunPlan) -> None:
    if found.fingerprint == plan.fingerprint:
        return
    lines = "\n  ".join(found.differences(plan)[:12])
    raise BadInput(
        f"{place} holds another run; it is left as it is. What differs (there -> asked for):\n  {lines}\n"
        "Choose another folder with --out, or ask for exactly that run to finish it."
    )
