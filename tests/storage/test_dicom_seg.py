"""DICOM segmentations of small masks: which header they refer to, coarser planes, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from storage.dicom_seg import Author, write_dicom_seg
from storage.dicom_source import own_header, source_header, stand_in
from storage.plan import RunPlan
from storage.run import Run
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize, native_plane

AUTHOR = Author(model="tissue", sha256="ab" * 32, learned=False, software="0.1.0")


@pytest.fixture
def slide_plan(tiny_plan: Callable[..., RunPlan]) -> RunPlan:
    """A slide of 100 x 140 px of 0.5 x 0.4 um, segmented on a plane half as fine: 50 x 70 px, classes water and ice."""
    size = PixelSize(y=0.5, x=0.4, unit="um")
    image = replace(tiny_plan().image, kind="slide", transform=None, crs=None, pixel_size=size, uri="a/slide.svs")
    return tiny_plan(image=image)


def run_with(plan: RunPlan, folder: Path) -> tuple[Run, np.ndarray]:
    run = Run.create(folder, plan)
    tile = np.zeros((16, 16), np.uint8)
    tile[:4], tile[5] = 1, 2
    run.write_mask(plan.grid.batch(0, 0), {(1, 1): tile})
    return run, np.asarray(run.array("mask/0"))


def nobody(*_: Any) -> None:
    """Counts nothing."""


def test_one_segment_per_class_on_a_plane_half_as_fine(slide_plan: RunPlan, tmp_path: Path) -> None:
    run, mask = run_with(slide_plan, tmp_path / "run")
    assert write_dicom_seg(run, tmp_path / "seg.dcm", AUTHOR, nobody) == (2, True)  # a frame for each class
    read = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert read.number_of_segments == 2
    np.testing.assert_array_equal(read.get_total_pixel_matrix(combine_segments=True), mask)
    spacing = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert [float(mm) for mm in spacing] == pytest.approx([0.001, 0.0008])  # 1 x 0.8 um
    assert (mask == 1).sum() == 64
    assert (mask == 2).sum() == 16
    assert (read.TotalPixelMatrixRows, read.TotalPixelMatrixColumns) == (50, 70)


def test_a_mask_of_nothing_is_refused(slide_plan: RunPlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", slide_plan)
    with pytest.raises(BadInput, match="nothing was found"):
        write_dicom_seg(run, tmp_path / "seg.dcm", AUTHOR, nobody)
    assert not (tmp_path / "seg.dcm").exists()


def test_a_dicom_slide_is_referred_to_itself(slide_plan: RunPlan, tmp_path: Path) -> None:
    level = stand_in(slide_plan)
    level.PatientID = "patient 7"
    small = stand_in(replace(slide_plan, identity="0" * 64))
    small.SeriesInstanceUID, small.TotalPixelMatrixRows, small.TotalPixelMatrixColumns = level.SeriesInstanceUID, 25, 35
    for name, header in {"small.dcm": small, "level.dcm": level}.items():
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.save_as(tmp_path / name, enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("not DICOM")
    plan = replace(slide_plan, image=replace(slide_plan.image, uri=str(tmp_path / "small.dcm")))
    found, invented = source_header(plan)  # opened by one of its files, measured at another
    assert not invented
    assert (found.PatientID, found.SOPInstanceUID) == ("patient 7", level.SOPInstanceUID)
    run, mask = run_with(plan, tmp_path / "run")
    write_dicom_seg(run, tmp_path / "seg.dcm", AUTHOR, nobody)
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert read.PatientID == "patient 7"
    assert read.StudyInstanceUID == level.StudyInstanceUID
    assert read.FrameOfReferenceUID == level.FrameOfReferenceUID
    (series,) = read.ReferencedSeriesSequence
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == level.SOPInstanceUID
    assert int(read.pixel_array.sum()) == (mask > 0).sum()


def test_other_files_are_no_dicom(slide_plan: RunPlan, tmp_path: Path) -> None:
    (tmp_path / "slide.svs").write_bytes(b"II*\0")
    assert own_header(tmp_path / "slide.svs", (1, 1)) is None
    assert own_header(tmp_path / "gone.svs", (1, 1)) is None


def test_frames_are_not_held_in_memory(slide_plan: RunPlan, tmp_path: Path) -> None:
    """64 frames of a quarter of a MiB are 16 MiB; their bits are 2, twice for a moment, and nothing is left beside."""
    shape = (4096, 4096)
    image = replace(slide_plan.image, shape_px=shape)
    grid = TileGrid(shape_px=shape, tile_px=512, batch_tiles=8)
    run = Run.create(tmp_path / "run", replace(slide_plan, image=image, fine=native_plane(image), grid=grid))
    tile = np.eye(512, dtype=np.uint8)
    run.write_mask(grid.batch(0, 0), {(row, col): tile for row in range(8) for col in range(8)})
    run.array("mask/0")[:1, :1]  # zarr is loaded
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        assert write_dicom_seg(run, tmp_path / "out/seg.dcm", AUTHOR, nobody)[0] == 64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * 2**20
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["seg.dcm"]
    matrix = highdicom.seg.segread(tmp_path / "out/seg.dcm").get_total_pixel_matrix(combine_segments=True)
    np.testing.assert_array_equal(matrix, np.tile(tile, (8, 8)))


def test_more_frames_than_a_file_of_bits_is_good_for_are_refused(
    slide_plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = run_with(slide_plan, tmp_path / "run")
    monkeypatch.setattr("storage.dicom_seg.MOST_BYTES", 512 * 512 - 1)
    with pytest.raises(BadInput, match="more than 1 tiles of 512 px hold a class"):
        write_dicom_seg(run, tmp_path / "seg.dcm", AUTHOR, nobody)
    assert not (tmp_path / "seg.dcm").exists()
