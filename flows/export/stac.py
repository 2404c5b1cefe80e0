"""`tilegate export --to stac`: an item that catalogues a run, its files and where they come from."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifiers.bundle_contract import Bundle
from downstream.area import AreaCount, sum_counts
from flows.export.counted import report_of, require_plain
from flows.export.job import ExportJob, ExportReport
from flows.export.place import replacing
from flows.export.stac_item import EARLIEST, Asset, When, classes, stac_item
from tiling.address import is_remote
from tiling.errors import BadInput

RESULTS = {
    "summary": ("summary.json", "the result on one page, for programs", "application/json", ("metadata",)),
    "tiles": ("tiles.parquet", "one row per tile of the grid", "application/vnd.apache.parquet", ("data",)),
    "areas": ("areas.csv", "area by class", "text/csv", ("data",)),
    "report": ("report.html", "the result on one page, for people", "text/html", ("metadata",)),
    "overview": ("overview.png", "image, gate and mask", "image/png", ("overview",)),
}
"""Files of every run."""
EXPORTED = {
    ".tif": ("image/tiff; application=geotiff; profile=cloud-optimized", "mask"),
    ".ome.tif": ("image/tiff", "mask"),
    ".dcm": ("application/dicom", "mask"),
    ".parquet": ("application/vnd.apache.parquet", "polygons"),
    ".gpkg": ("application/geopackage+sqlite3", "polygons"),
    ".geojson": ("application/geo+json", "polygons"),
    ".qupath.geojson": ("application/geo+json", "polygons"),
}
"""What may have been exported beside the item: (MIME type, what it is), by the end of its name."""
ONLY_OF_ITEMS = ("name", "input", "output", "hyperparameters")
"""Fields of MLM that no asset may have."""


def export_stac(job: ExportJob, *, taken: dt.datetime | None = None) -> ExportReport:
    """item.json. taken: when the picture was taken; else its TIFF's DateTime, else an interval that is told as unknown.

    Raises BadInput for --min-area.
    """
    require_plain(job, "STAC")
    made = dt.datetime.now(dt.UTC)
    when, told = _when(job, taken, made)
    network, models, missing = _networks(job)
    item = stac_item(
        job.plan,
        job.summary,
        colours=job.colours,
        assets=[*_results(job), *_exports(job), *models],
        network=network,
        when=when,
        made=made,
    )
    with replacing(job.out) as out:
        out.write_text(json.dumps(item, indent=2) + "\n")
    unit = job.areas.unit
    area = {
        name: sum_counts((AreaCount.of(t.pixels[i], t.area[i], unit) for t in job.tiles if t.pixels), unit)
        for i, name in enumerate(job.classes)
    }
    return report_of(job, area, (*told, *missing))


def _when(job: ExportJob, taken: dt.datetime | None, made: dt.datetime) -> tuple[When, tuple[str, ...]]:
    from storage.acquired import acquired

    if taken is not None:
        return When(start=taken, end=taken), ()
    found = acquired(job.plan.source, job.plan.image)
    if found is not None:
        return When(start=found, end=found), (
            f"datetime is DateTime of the TIFF, taken as UTC: {found:%Y-%m-%d %H:%M}",
        )
    told = "the image does not say when it was taken: datetime is null, and the interval only says before this export"
    return When(start=EARLIEST, end=made), (told,)


def _results(job: ExportJob) -> Iterator[Asset]:
    for key, (name, title, media_type, roles) in RESULTS.items():
        data = job.run.read(name)
        if data is not None:
            yield Asset(
                key=key,
                href=_href(job, name),
                title=title,
                media_type=media_type,
                roles=roles,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
    store = "image and mask, OME-NGFF 0.5 and GeoZarr conventions"
    yield Asset(
        key="store",
        href=_href(job, "run.zarr"),
        title=store,
        media_type="application/vnd.zarr; version=3",
        roles=("data",),
    )


def _exports(job: ExportJob) -> Iterator[Asset]:
    """What lies beside the item under the same name."""
    stem = job.out.name.removesuffix(".stac.json")
    stem = stem.removesuffix(".json")
    for suffix, (media_type, what) in EXPORTED.items():
        path = job.out.with_name(stem + suffix)
        if path.is_file() and path != job.out:
            yield Asset(
                key=suffix.strip(".").replace(".", "-"),
                href=f"./{path.name}",
                title=f"{what} of the classes",
                media_type=media_type,
                roles=("data",),
                size_bytes=path.stat().st_size,
                sha256=_sha256(path),
                more=_mask_fields(job, suffix) if what == "mask" else None,
            )


def _mask_fields(job: ExportJob, suffix: str) -> dict[str, Any]:
    """Its band; a GeoTIFF marks what nobody observed, the others do not."""
    band: dict[str, Any] = {"name": "mask", "data_type": "uint8"}
    if suffix != ".tif":
        return {"bands": [band]}
    unseen = {"value": 255, "name": "not_observed", "description": "no data, or nobody looked", "nodata": True}
    return {"bands": [band | {"nodata": 255}], "classification:classes": [*classes(job.classes, job.colours), unseen]}


def _networks(job: ExportJob) -> tuple[dict[str, Any] | None, list[Asset], tuple[str, ...]]:
    """(mlm: fields of the item, assets of its models, notes). The segmenter speaks for the item, if it is a network."""
    fields: dict[str, Any] | None = None
    assets, notes = list[Asset](), list[str]()
    for which in ("segmenter", "gate"):
        try:
            bundle = _bundle(job, which)
        except BadInput as error:
            notes.append(f"nothing is said of the {which}'s architecture: {error}")
            continue
        if bundle is not None:
            said = _mlm(bundle)
            fields = fields or said
            assets.append(_model(job, which, bundle, said))
    return fields, assets, tuple(notes)


def _bundle(job: ExportJob, which: str) -> Bundle | None:
    """That of the run; None for rules. Raises BadInput when it is gone, or is not the one that the run used."""
    from flows.models import find_bundle

    bundle = find_bundle(job.plan.recipe["gate" if which == "gate" else "segment"]["model"], which)  # type: ignore[arg-type]
    used = job.plan.models[which]
    if bundle is not None and bundle.contract_sha256 != used["sha256"]:
        raise BadInput(f"{bundle.path} is not the bundle {used['name']} of the run, it has another sha256")
    return bundle


def _mlm(bundle: Bundle) -> dict[str, Any]:
    """The mlm: fields of its bundle.json; the extension wants no empty hyperparameters."""
    said = json.loads((bundle.path / "bundle.json").read_bytes())
    return {key: value for key, value in said.items() if key.startswith("mlm:") and value != {}}


def _model(job: ExportJob, which: str, bundle: Bundle, said: dict[str, Any]) -> Asset:
    weights = bundle.path / ("model.safetensors" if (bundle.path / "model.safetensors").exists() else "bundle.json")
    return Asset(
        key=f"{which}-model",
        href=os.path.relpath(weights, job.out.parent),
        title=f"{bundle.name}, the {which}",
        media_type="application/octet-stream",
        roles=("mlm:model", "mlm:weights"),
        size_bytes=weights.stat().st_size,
        sha256=_sha256(weights),
        more={**_of_asset(said), "bands": [{"name": band} for band in bundle.bands]},
    )


def _of_asset(said: dict[str, Any]) -> dict[str, Any]:
    """What MLM 1.4.0 allows of an asset: what describes the model as a whole is for the item, which has one model only."""
    own = {name: said[f"mlm:{name}"] for name in ONLY_OF_ITEMS if f"mlm:{name}" in said}
    allowed = {key: value for key, value in said.items() if key.removeprefix("mlm:") not in ONLY_OF_ITEMS}
    return {**allowed, "mlm:artifact_type": "safetensors.torch.save_file", "tilegate:model": own}


def _href(job: ExportJob, name: str) -> str:
    if is_remote(job.run.uri):
        return f"{job.run.uri}/{name}"
    return os.path.relpath(Path(job.run.uri) / name, job.out.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
