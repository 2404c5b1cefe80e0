"""The header of the whole-slide image that a DICOM segmentation refers to: the slide's own, or a stand-in for it.

DICOM PS3.3 2024, VL Whole Slide Microscopy Image IOD (A.32.8).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.plan import RunPlan

THICKNESS_MM = 0.004
"""Of a section: nominal where the slide does not say. Readers ask for it; no area depends on it."""
Header = Any
"""A pydicom Dataset without pixels."""


def source_header(plan: RunPlan) -> tuple[Header, bool]:
    """The header of the run's image and whether it is a stand-in. Nothing is known of the patient in a stand-in."""
    found = own_header(Path(plan.image.uri), plan.image.shape_px)
    return (stand_in(plan), True) if found is None else (found, False)


def own_header(path: Path, shape_px: tuple[int, int]) -> Header | None:
    """Of the DICOM instance, among those of the slide's series beside it, whose matrix has this shape; None for others."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    def read(file: Path) -> Header | None:
        try:
            return dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, OSError):  # somebody's notes, or another format
            return None

    opened = read(path)
    if opened is None or "TotalPixelMatrixRows" not in opened:
        return None
    beside = (opened, *(read(file) for file in sorted(path.parent.iterdir()) if file.is_file() and file != path))
    for header in beside:
        same = header is not None and header.get("SeriesInstanceUID") == opened.SeriesInstanceUID
        if same and (header.get("TotalPixelMatrixRows"), header.get("TotalPixelMatrixColumns")) == shape_px:
            return header
    return None


def stand_in(plan: RunPlan, tile_px: int = 512) -> Header:
    """A VL whole-slide header with the slide's geometry and name, and unique ids made of its content's hash.

    The same slide gets the same ids, so segmentations of it belong together. Its frame of reference starts at the
    slide's corner, x along columns and y along rows, and its matrix at that of what was scanned (openslide.bounds):
    where the slide lay in the scanner is not known.
    """
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

    header, (height, width) = Dataset(), plan.image.shape_px
    header.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, name, generate_uid(entropy_srcs=["tilegate", name, plan.identity]))
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(header, name, "")
    header.StudyDate = header.StudyTime = header.ContentDate = header.ContentTime = ""
    header.Modality, header.SeriesNumber, header.InstanceNumber = "SM", 1, 1
    header.Manufacturer, header.PositionReferenceIndicator = "", "SLIDE_CORNER"
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    header.file_meta = _file_meta(ExplicitVRLittleEndian)
    header.Rows = header.Columns = tile_px
    header.TotalPixelMatrixRows, header.TotalPixelMatrixColumns = height, width
    header.NumberOfFrames = -(-height // tile_px) * -(-width // tile_px)
    header.DimensionOrganizationType = "TILED_FULL"
    header.ImagedVolumeHeight = height * plan.image.pixel_size.y / 1000
    header.ImagedVolumeDepth = THICKNESS_MM
    header.ImagedVolumeWidth = width * plan.image.pixel_size.x / 1000
    _place(header, plan)
    return header


def _file_meta(syntax: Any) -> Any:
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    return meta


def _place(header: Header, plan: RunPlan) -> None:
    """Geometry, container and specimen."""
    from highdicom import PixelMeasuresSequence, SpecimenDescription
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    size, name = plan.image.pixel_size, Path(plan.image.uri).stem[:64]
    origin, shared = Dataset(), Dataset()
    y, x = plan.image.origin_px
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = x * size.x / 1000, y * size.y / 1000
    header.TotalPixelMatrixOriginSequence = [origin]
    header.ImageOrientationSlide = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    shared.PixelMeasuresSequence = PixelMeasuresSequence((size.y / 1000, size.x / 1000), THICKNESS_MM)
    header.SharedFunctionalGroupsSequence = [shared]
    header.ContainerIdentifier = name
    header.IssuerOfTheContainerIdentifierSequence, header.ContainerTypeCodeSequence = [], []
    uid = generate_uid(entropy_srcs=["tilegate", "SpecimenUID", plan.identity])
    header.SpecimenDescriptionSequence = [SpecimenDescription(specimen_id=name, specimen_uid=uid)]


def thickness_mm(header: Header) -> float:
    """Of the section, as the slide states it, or nominal."""
    (shared,) = header.SharedFunctionalGroupsSequence
    return float(shared.PixelMeasuresSequence[0].get("SliceThickness", THICKNESS_MM))
