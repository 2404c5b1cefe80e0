"""Images with masks: DATA/images/NAME.* and DATA/masks/NAME.*, a number per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.files import VECTORS, below, files_below, is_image, parts_of, subfolders
from classifiers.labels.items import Scene, Scenes
from classifiers.labels.sample import UNLABELLED, Part, Skipped
from classifiers.labels.values import ValueMap
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize, native_plane
from tiling.open import open_source
from tiling.source import Pixels, Source, SourceSpec
from tiling.window import Window

MASKS = ("masks", "labels", "annotations")
"""Names of the folder beside images/."""
_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "-labelled", "_gt", "_seg")
"""What the name of a mask may have more than that of its image."""
_ANY = PixelSize(y=1, x=1, unit="m")
"""The size of a mask's pixels does not matter, and a raster shows values as they are."""
_READ_PX = 2048
"""Side of what is read at once of a mask whose values nobody named."""


def is_pairs(folder: Path) -> bool:
    """True for a folder with images/ and one of masks/, labels/ and annotations/, and no other folder."""
    names = {path.name.lower() for path in subfolders(folder)}
    return len(names) == 2 and "images" in names and bool(names & set(MASKS))


def list_pairs(root: Path) -> Scenes:
    """Every image with what was drawn on it. Raises BadInput where there is none."""
    scenes: list[Scene] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    for part, folder in parts_of(root):
        if is_pairs(folder):
            _pair(folder, root, part, scenes, skipped)
        else:
            notes.append(f"{below(folder, root)} has no images/ and masks/ and was passed over.")
    return Scenes(scenes=tuple(scenes), skipped=tuple(skipped), notes=tuple(notes))


def _pair(folder: Path, root: Path, part: Part | None, scenes: list[Scene], skipped: list[Skipped]) -> None:
    """Append to both lists."""
    images_in, drawn_in = sorted(subfolders(folder), key=lambda path: path.name.lower() != "images")
    drawn = {_key(path, drawn_in): path for path in files_below(drawn_in) if is_image(path) or path.suffix in VECTORS}
    for path in files_below(images_in):
        if not is_image(path):
            continue
        key, name = _key(path, images_in), below(path, root)
        found = [drawn[key + ending] for ending in _ENDINGS if key + ending in drawn]
        if found:
            scenes.append(Scene(name=name, uris=(str(path),), truth=str(found[0]), part=part))
        else:
            skipped.append(Skipped(name=name, why=f"{drawn_in.name}/ holds no file called {Path(key).name}"))


def _key(path: Path, folder: Path) -> str:
    """Its name below the folder, without the ending."""
    return path.relative_to(folder).with_suffix("").as_posix()


class MaskTruth:
    """Masks, one per image. See Truth."""

    def __init__(self, values: ValueMap) -> None:
        """values: what they mean."""
        self.classes = values.classes
        self.unclaimed: set[int] = set()
        self._values = values

    def open(self, scene: Scene, shape_px: tuple[int, int]) -> MaskDrawing:
        """See Truth. Raises BadInput for masks of another size and for pictures."""
        source = open_mask(scene.truth)
        found = source.info.shape_px
        if found != shape_px:
            source.close()
            sizes = f"{found[0]} x {found[1]} px, its image {shape_px[0]} x {shape_px[1]} px"
            turned = "; what EXIF says of a photograph's orientation is not followed" if found == shape_px[::-1] else ""
            raise BadInput(f"{scene.truth} is {sizes}: which pixel belongs to which is not known{turned}")
        return MaskDrawing(source, self._values, self.unclaimed)

    def touches(self, scene: Scene, core: Window) -> bool:  # noqa: ARG002
        """See Truth."""
        return True


class MaskDrawing:
    """One mask. See Drawing."""

    def __init__(self, source: Source, values: ValueMap, unclaimed: set[int]) -> None:
        """unclaimed: values of no class are added to it."""
        self._source, self._values, self._unclaimed = source, values, unclaimed
        self._unknown = replace(values, rest=UNLABELLED)

    def draw(self, window: Window) -> NDArray[np.uint8]:
        """See Drawing. Nodata is unlabelled, unless it is 0 or a class claims it."""
        values, valid = read_mask(self._source, window)
        means = self._values.meaning(values)
        if not valid.all():
            means = np.where(valid, means, self._unknown.meaning(values))
        self._unclaimed |= self._values.unclaimed(values[valid])
        return means

    def close(self) -> None:
        """See Drawing."""
        self._source.close()


def open_mask(path: str) -> Source:
    """A mask as a raster of numbers. Raises BadInput for pictures."""
    if Path(path).suffix.lower() in {".jpg", ".jpeg"}:
        raise BadInput(f"{path} is a JPEG, which changes the values of a mask; save masks as PNG or TIFF")
    return open_source(SourceSpec(uris=(path,), pixel_size=_ANY))


def read_mask(source: Source, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Values (h, w) and whether the file takes them for data. Raises BadInput where bands differ."""
    pixels: Pixels = source.read(window, native_plane(source.info))
    first = pixels.data[0]
    if any((band != first).any() for band in pixels.data[1:]):
        raise BadInput(
            f"{source.info.uri} is a picture of {len(pixels.data)} bands; a mask has one number per pixel, its class"
        )
    return first, pixels.valid


def values_of(path: str) -> set[int]:
    """All values of a mask that are data. Raises BadInput and BadData."""
    source = open_mask(path)
    try:
        grid = TileGrid(shape_px=source.info.shape_px, tile_px=_READ_PX)
        found: set[int] = set()
        for batch in grid.batches():
            for tile in batch.tiles:
                values, valid = read_mask(source, tile.core)
                known = values[valid]
                found |= {int(value) for value in np.unique(known[np.isfinite(known)])}
        return found
    finally:
        source.close()


def unclaimed_note(values: Sequence[int]) -> str:
    """What was made of values that no class claims."""
    some = ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")
    return (
        f"Values {some} of the masks are of no class and were taken for background; "
        'data.classes unlabelled = ["*"] leaves them out.'
    )
