"""OME-NGFF, OME-TIFF, DICOM-SEG and STAC: each opened by somebody else, and its area is the run's."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pystac
import pytest
import rasterio
import rasterio.warp
import tifffile
import zarr
from openslide import OpenSlide
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from flows.engine import LocalEngine
from flows.export.job import ExportJob, ExportReport
from flows.export.stac import export_stac
from flows.export.standards import STANDARDS
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from flows.results import ledger_tiles
from storage.acquired import acquired
from storage.run import Run
from tiling.errors import BadInput
from tiling.open import open_source
from tiling.pixel_area import pixel_areas
from tiling.source import SourceSpec

MakeJob = Callable[..., ExportJob]


def job_of(folder: Path, out: Path, **changes: Any) -> ExportJob:
    run = Run.open(folder)
    areas = pixel_areas(run.plan.image, run.plan.fine)
    job = ExportJob(
        run=run,
        summary=run.summary() or {},
        tiles=tuple(ledger_tiles(run)),
        areas=areas,
        out=out,
        min_area=0.0,
        origin="bounds",
    )
    return replace(job, **changes)


def export(job: ExportJob, name: str) -> ExportReport:
    """Written where nothing was, with the run's very pixels and area, and nothing beside it."""
    report = STANDARDS[name].export(job)
    for row in job.summary["area"]["classes"]:
        found = report.area[row["name"]]
        assert found.pixels == row["pixels"]
        assert found.area == pytest.approx(row["mapped"], rel=1e-12)
    assert report.files == (job.out,)
    assert [path.name for path in job.out.parent.iterdir() if path.name.startswith(".")] == []
    return report


@pytest.fixture
def lake(make_scene: Any, measure: Any, tmp_path: Path) -> tuple[ExportJob, np.ndarray]:
    """A run over 300 x 260 px of 10 m, every tile of it segmented, and which pixels are water by numpy."""
    scene = make_scene()
    measure(scene, "gate.threshold=0")
    return job_of(tmp_path / "run", tmp_path / "out" / "lake"), scene.water


@pytest.fixture(scope="module")
def slide_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a slide of 1,100 x 700 px of 0.25 x 0.26 um with three pieces of tissue, measured at its own pixels."""
    folder = tmp_path_factory.mktemp("slide")
    y, x = np.mgrid[:1100, :700]
    pieces = ((y - 300) ** 2 + (x - 200) ** 2 < 150**2) | ((y > 900) & (x > 600)) | ((y == 1099) & (x == 0))
    rgb = np.full((1100, 700, 3), 245, np.uint8)
    rgb[pieces] = (200, 80, 160)
    per_cm = (10_000 / 0.26, 10_000 / 0.25)
    tifffile.imwrite(
        folder / "slide.tif", rgb, tile=(64, 64), photometric="rgb", metadata=None, resolution=per_cm, resolutionunit=3
    )
    spec = SourceSpec(uris=(str(folder / "slide.tif"),))
    plan = make_plan(spec, load_recipe("tissue", ("tile.size_px=256", "tile.batch=2")))
    execute(plan, folder / "run", LocalEngine(2), Silent())
    return folder / "run"


@pytest.fixture
def slide(slide_run: Path, tmp_path: Path) -> tuple[ExportJob, np.ndarray]:
    """That run, and its mask as zarr reads it."""
    return job_of(slide_run, tmp_path / "out" / "slide"), np.asarray(Run.open(slide_run).array("mask/0"))


def test_ngff_holds_the_run_and_its_labels(lake: Any) -> None:
    job, water = lake
    export(job, "ngff")
    image = zarr.open_group(job.out, mode="r", zarr_format=3)
    said = image.attrs["ome"]["multiscales"][0]
    (names,) = image["labels"].attrs["ome"]["labels"]
    label = image[f"labels/{names}"]
    assert image["labels"].attrs["ome"]["version"] == label.attrs["ome"]["version"] == "0.5"
    np.testing.assert_array_equal(label["0"][...] == 1, water)
    with rasterio.open(job.plan.image.uri) as file:
        np.testing.assert_array_equal(image["0"][...], file.read())
    assert [axis["name"] for axis in said["axes"]] == ["c", "y", "x"] == list(image["0"].metadata.dimension_names)
    assert image.attrs["spatial:bbox"] == [500_000, 5_000_000 - 3000, 500_000 + 2600, 5_000_000]
    mapped = job.summary["area"]["classes"][0]["mapped"]
    assert mapped == pytest.approx(int(water.sum()) * 100, rel=1e-3)  # 10 m pixels, near the meridian of their zone
    assert label.attrs["ome"]["image-label"]["properties"] == [
        {"label-value": 1, "class": "water", "pixels": int(water.sum()), "area": mapped, "unit": "m2"}
    ]
    (colour,) = label.attrs["ome"]["image-label"]["colors"]
    assert colour["label-value"] == 1
    assert len(colour["rgba"]) == 4
    levels = [len(group.attrs["ome"]["multiscales"][0]["datasets"]) for group in (image, label)]
    assert levels[0] == levels[1] == 2  # fine plane and gate plane


def test_ngff_halves_keep_means_and_shares(slide: Any) -> None:
    job, mask = slide
    export(job, "ngff")
    image = zarr.open_group(job.out, mode="r", zarr_format=3)
    label = image["labels/tissue"]
    np.testing.assert_array_equal(label["0"][...], mask)
    for i, dataset in enumerate(label.attrs["ome"]["multiscales"][0]["datasets"]):
        scale = dataset["coordinateTransformations"][0]["scale"]
        area = float((label[str(i)][...] == 1).sum()) * scale[0] * scale[1]
        assert area == pytest.approx(job.summary["area"]["classes"][0]["mapped"], rel=0.03)
        assert image[str(i)].shape[1:] == label[str(i)].shape


def test_ome_tiff_is_read_by_tifffile_and_openslide(slide: Any) -> None:
    job, mask = slide
    report = export(job, "ome-tiff")
    with tifffile.TiffFile(job.out) as file:
        assert file.is_ome
        assert file.is_bigtiff
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(1100, 700), (550, 350), (275, 175)]
        np.testing.assert_array_equal(levels[0].asarray(), mask)
        np.testing.assert_array_equal(levels[1].asarray(), mask[1::2, 1::2])  # the middle of 2 x 2 px, rounded down
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert '<M K="1">tissue</M>' in file.ome_metadata
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == pytest.approx((0.25, 0.26))
    assert pixels["PhysicalSizeXUnit"] == "µm"
    assert (mask == 1).sum() * 0.25 * 0.26 == pytest.approx(report.area["tissue"].area)
    opened = OpenSlide(job.out)
    assert opened.dimensions == (700, 1100)
    assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.26)
    assert float(opened.properties["openslide.mpp-y"]) == pytest.approx(0.25)


def test_ome_tiff_of_a_map_is_in_metres(lake: Any) -> None:
    job, water = lake
    export(job, "ome-tiff")
    with tifffile.TiffFile(job.out) as file:
        np.testing.assert_array_equal(file.asarray() == 1, water)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (10, "m")


def test_dicom_seg_is_read_by_pydicom_and_highdicom(slide: Any) -> None:
    job, mask = slide
    report = export(job, "dicom-seg")
    plain = pydicom.dcmread(job.out)
    assert plain.SOPClassUID == pydicom.uid.SegmentationStorage
    assert plain.DimensionOrganizationType == "TILED_SPARSE"
    assert int(plain.pixel_array.sum()) == (mask == 1).sum() == report.area["tissue"].pixels
    held = [mask[y : y + 512, x : x + 512].any() for y in range(0, 1100, 512) for x in range(0, 700, 512)]
    assert plain.NumberOfFrames == sum(held) < len(held)  # only those that hold something
    measures = plain.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(mm) for mm in measures.PixelSpacing] == pytest.approx([0.00025, 0.00026])  # rows, columns
    assert (plain.PatientName, plain.PatientID) == ("", "")
    read = highdicom.seg.segread(job.out)
    np.testing.assert_array_equal(read.get_total_pixel_matrix(combine_segments=True), mask)
    described = read.get_segment_description(1)
    assert described.segment_label == "tissue"
    assert plain.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "tissue"
    last = plain.PerFrameFunctionalGroupsSequence[-1].PlanePositionSlideSequence[0]
    assert (last.RowPositionInTotalImagePixelMatrix, last.ColumnPositionInTotalImagePixelMatrix) == (1025, 513)
    assert float(last.YOffsetInSlideCoordinateSystem) == pytest.approx(1024 * 0.00025)
    assert float(last.XOffsetInSlideCoordinateSystem) == pytest.approx(512 * 0.00026)


def test_dicom_ids_are_the_slides(slide: Any) -> None:
    job, _ = slide
    export(job, "dicom-seg")
    first = pydicom.dcmread(job.out)
    export(replace(job, out=job.out.with_name("again")), "dicom-seg")
    again = pydicom.dcmread(job.out.with_name("again"))
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert first[name].value == again[name].value


def test_a_dicom_segmentation_of_a_map_is_refused(lake: Any) -> None:
    with pytest.raises(BadInput, match="for slides"):
        STANDARDS["dicom-seg"].export(lake[0])


@pytest.mark.parametrize("name", list(STANDARDS))
def test_wishes_that_a_mask_cannot_fulfil_are_refused(slide: Any, name: str) -> None:
    job, _ = slide
    with pytest.raises(BadInput, match="no objects"):
        STANDARDS[name].export(replace(job, min_area=5.0))
    with pytest.raises(BadInput, match="origin bounds"):
        STANDARDS[name].export(replace(job, origin="slide"))
    assert not job.out.exists()


def validate(item: dict[str, Any]) -> pystac.Item:
    """Against the core schemas that come with pystac; those of extensions are on the web, so they are read by pystac."""
    core = {**item, "stac_extensions": []}
    JsonSchemaSTACValidator().validate(core, pystac.STACObjectType.ITEM, "1.1.0", [])
    return pystac.Item.from_dict(item, preserve_dict=True)


def multihash(path: Path) -> str:
    return "1220" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_stac_of_a_map(lake: Any) -> None:
    job, water = lake
    job.out.parent.mkdir()
    mask = job.out.parent / "lake.ome.tif"
    export(replace(job, out=mask), "ome-tiff")
    with rasterio.open(job.out.with_name("lake.tif"), "w", "GTiff", 260, 300, 1, dtype="uint8", nodata=255) as file:
        file.write(water.astype("uint8"), 1)
    out = job.out.parent / "lake.stac.json"
    report = export(replace(job, out=out), "stac")
    item = validate(json.loads(out.read_text()))
    assert item.datetime is None
    assert "does not say when" in report.notes[0]
    assert item.properties["end_datetime"] == item.properties["created"]
    projection = ProjectionExtension.ext(item)
    assert (projection.code, projection.shape) == ("EPSG:32633", [300, 260])
    assert projection.transform == [10, 0, 500_000, 0, -10, 5_000_000]
    west, south, east, north = rasterio.warp.transform_bounds(
        "EPSG:32633", "OGC:CRS84", 500_000, 4_997_000, 502_600, 5_000_000, densify_pts=101
    )
    assert item.bbox == pytest.approx([west, south, east, north], abs=1e-6)
    assert [c.value for c in ClassificationExtension.ext(item).classes] == [0, 1]
    for key, path in {"summary": Path(job.run.uri) / "summary.json", "ome-tif": mask}.items():
        asset = item.assets[key]
        assert (out.parent / asset.href).resolve() == path.resolve()
        assert FileExtension.ext(asset).checksum == multihash(path)
        assert FileExtension.ext(asset).size == path.stat().st_size
    assert [c["value"] for c in item.assets["tif"].extra_fields["classification:classes"]] == [0, 1, 255]
    (origin,) = item.get_links("derived_from")
    assert origin.href == job.plan.image.uri
    assert item.properties["tilegate:fingerprint"] == job.plan.fingerprint
    assert item.properties["tilegate:area"]["classes"][0]["pixels"] == water.sum()
    assert item.properties["processing:expression"]["expression"]["gate"]["threshold"] == 0
    assert item.properties["processing:software"]["zarr"] == zarr.__version__


def test_stac_of_a_slide_has_no_place(slide: Any) -> None:
    job, _ = slide
    export(job, "stac")
    item = validate(json.loads(job.out.read_text()))
    assert item.geometry is None
    assert item.bbox is None
    assert not any(key.startswith("proj:") for key in item.properties)


def test_stac_says_when_the_picture_was_taken_if_the_file_does(make_scene: Any, measure: Any, tmp_path: Path) -> None:
    scene = make_scene()
    with rasterio.open(scene.path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2021:06:05 10:11:12")
    measure(scene)
    job = job_of(tmp_path / "run", tmp_path / "item.json")
    assert "DateTime of the TIFF" in export(job, "stac").notes[0]
    assert validate(json.loads(job.out.read_text())).datetime == dt.datetime(2021, 6, 5, 10, 11, 12, tzinfo=dt.UTC)
    export_stac(job, taken=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert validate(json.loads(job.out.read_text())).datetime == dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def test_the_time_of_scanning_stands_in_the_slide(tiny_slide: Any, tmp_path: Path) -> None:
    path = tiny_slide(np.full((64, 64, 3), 245, np.uint8), datetime="2019:02:03 04:05:06")
    spec = SourceSpec(uris=(str(path),))
    source = open_source(spec)
    source.close()
    assert acquired(spec, source.info) == dt.datetime(2019, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    path.unlink()
    assert acquired(spec, source.info) is None


def test_stac_speaks_mlm_of_networks(make_rgb: Any, land: Any, tmp_path: Path) -> None:
    path = make_rgb(land((256, 256), 3))
    changes = ("tile.size_px=128", "gate.threshold=0.5", "gate.outside=warn")
    execute(
        make_plan(SourceSpec(uris=(str(path),)), load_recipe("forest", changes)),
        tmp_path / "run",
        LocalEngine(1),
        Silent(),
    )
    job = job_of(tmp_path / "run", tmp_path / "item.json")
    export(job, "stac")
    plain = json.loads(job.out.read_text())
    item = validate(plain)
    # https://stac-extensions.github.io/mlm/v1.4.0: required of an item
    required = {f"mlm:{name}" for name in ("name", "architecture", "framework", "tasks", "input", "output")}
    assert required <= set(item.properties)
    assert "https://stac-extensions.github.io/mlm/v1.4.0/schema.json" in item.stac_extensions
    assert item.properties["mlm:name"] == "forest-unet"
    assert {band["name"] for band in item.properties["bands"]} >= set(item.properties["mlm:input"][0]["bands"])
    models = {key: asset for key, asset in item.assets.items() if "mlm:model" in (asset.roles or [])}
    assert set(models) == {"segmenter-model", "gate-model"}
    assert models["gate-model"].extra_fields["tilegate:model"]["name"] == "forest-gate"
    weights = (job.out.parent / models["gate-model"].href).resolve()
    assert FileExtension.ext(models["gate-model"]).checksum == multihash(weights)
