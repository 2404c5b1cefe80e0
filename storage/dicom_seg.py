"""A mask as a DICOM segmentation: one binary segment per class, tiled, only frames that hold something.

DICOM PS3.3 2024, Segmentation IOD (A.51), dimension organisation TILED_SPARSE (C.7.6.17.3); written by highdicom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from storage.dicom_source import source_header, thickness_mm
from storage.layout import MASK
from storage.ngff import windows
from storage.run import Run
from tiling.errors import BadInput
from tiling.window import Window

FRAME_PX = 512
MOST_BYTES = 4 * 2**30
"""Of frames; highdicom takes them all at once, from a file that is mapped into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who made the segmentation."""

    model: str
    """Name of the segmenter."""
    sha256: str
    """Of the segmenter: what DICOM calls its version."""
    learned: bool
    """A network, not a rule."""
    software: str
    """Version of tilegate."""


def write_dicom_seg(
    run: Run, out: Path, author: Author, seen: Callable[[NDArray[np.uint8], Window], None]
) -> tuple[int, bool]:
    """One SEG instance. Returns how many frames it has and whether its source is a stand-in (see storage/dicom_source.py).

    Frames wait in a nameless file beside `out`, a quarter of a MiB for each tile of 512 px that holds a class, which the
    system may drop from memory at will; what highdicom says of each, and its bits, are held. seen: told of each of them,
    and nothing else holds a class. Raises BadInput when there is none, or when they take more than 4 GiB.
    """
    header, invented = source_header(run.plan)
    with TemporaryFile(dir=out.parent) as file:
        places = write_held_frames(run, file, seen)
        frames = np.memmap(file, np.uint8, "r", shape=(len(places), FRAME_PX, FRAME_PX))
        segmentation = _segmentation(run, header, frames, places, author)
        del frames
    segmentation.TotalPixelMatrixRows, segmentation.TotalPixelMatrixColumns = run.plan.grid.shape_px  # without padding
    segmentation.save_as(out)
    return int(segmentation.NumberOfFrames), invented


def write_held_frames(run: Run, file: IO[bytes], seen: Callable[[NDArray[np.uint8], Window], None]) -> list[Window]:
    """Append the frames (512, 512) that hold a class, padded with 0 beyond the image; where they lie, px of the fine plane.

    Raises BadInput when there is none, or too many.
    """
    mask, shape = run.array(MASK), run.plan.grid.shape_px
    places: list[Window] = []
    for window in windows(shape, FRAME_PX):
        block = np.asarray(mask[window.slices])
        if block.any():
            seen(block, window)
            file.write(np.pad(block, [(0, FRAME_PX - side) for side in block.shape]).tobytes())
            places.append(window)
        if len(places) * FRAME_PX**2 > MOST_BYTES:
            raise BadInput(
                f"{run.uri}: more than {len(places):,} tiles of {FRAME_PX} px hold a class, over {MOST_BYTES // 2**30} GiB "
                "as frames; export --to ome-tiff or ngff instead, or run at a larger pixel size"
            )
    if not places:
        raise BadInput(f"{run.uri}: nothing was found, and a DICOM segmentation cannot be empty; see summary.json")
    file.flush()
    return places


def _segmentation(run: Run, header: Any, frames: NDArray[np.uint8], places: Sequence[Window], author: Author) -> Any:
    from highdicom import DimensionOrganizationTypeValues, PixelMeasuresSequence
    from highdicom.content import PlaneOrientationSequence
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from pydicom.uid import generate_uid

    size = run.plan.image.pixel_size.times(run.plan.fine.scale)
    spacing = size.y / 1000, size.x / 1000
    orientation = tuple(map(float, header.ImageOrientationSlide))
    return Segmentation(
        source_images=[header],
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(i, name, author) for i, name in enumerate(run.plan.classes, start=1)],
        series_instance_uid=generate_uid(entropy_srcs=["tilegate", "SEG series", run.plan.fingerprint]),
        series_number=2,
        sop_instance_uid=generate_uid(entropy_srcs=["tilegate", "SEG", run.plan.fingerprint]),
        instance_number=1,
        manufacturer="tilegate",
        manufacturer_model_name="tilegate",
        software_versions=author.software,
        device_serial_number=run.plan.fingerprint[:16],
        content_label="TILEGATE",
        content_description=run.plan.name[:64],
        pixel_measures=PixelMeasuresSequence(spacing, thickness_mm(header)),
        plane_orientation=PlaneOrientationSequence("SLIDE", orientation),
        plane_positions=[_position(header, window, spacing) for window in places],
        dimension_organization_type=DimensionOrganizationTypeValues.TILED_SPARSE,
    )


def _position(header: Any, window: Window, spacing: tuple[float, float]) -> Any:
    """Of the first pixel of a frame: by its place in the matrix, and in mm on the slide. spacing: (row, column), mm."""
    from highdicom import PlanePositionSequence

    (origin,), cosines = header.TotalPixelMatrixOriginSequence, header.ImageOrientationSlide
    along_x, along_y = window.x * spacing[1], window.y * spacing[0]
    start = (origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem, 0.0)
    place = [float(start[i]) + along_x * float(cosines[i]) + along_y * float(cosines[i + 3]) for i in range(3)]
    return PlanePositionSequence("SLIDE", image_position=place, pixel_matrix_position=(window.x + 1, window.y + 1))


def _segment(number: int, name: str, author: Author) -> Any:
    """A class is a tissue of a kind named in a private scheme: its name in the recipe has no code of its own."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept

    kind = ("123110", "Artificial Intelligence") if author.learned else ("123108", "Multispectral Processing")
    family = CodedConcept(value=kind[0], scheme_designator="DCM", meaning=kind[1])
    return SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=CodedConcept("85756007", "SCT", "Tissue"),
        segmented_property_type=CodedConcept(
            value=name if len(name) <= 16 else f"class-{number}", scheme_designator="99TILEGATE", meaning=name[:64]
        ),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(author.model, family, author.sha256[:64]),
    )
