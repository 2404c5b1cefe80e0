"""Polygons over a scene or a slide, as a mask that is drawn where it is asked for.

What lies outside of all polygons is unlabelled: drawings rarely cover everything. Where they do, `background = ["*"]` in
data.classes says so. Polygons called background, and QuPath's Region*, are background; those called Ignore* are
unlabelled. Where polygons overlap, the smaller one counts: it was drawn within the larger one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from classifiers.labels.files import VECTORS, below, is_image, parts_of, visible
from classifiers.labels.items import Scene, Scenes
from classifiers.labels.sample import UNLABELLED, Part
from classifiers.labels.vectors import PIXELS_OR_DEGREES, Polygons
from classifiers.labels.words import LEFT_OUT, Vocabulary
from tiling.errors import BadInput
from tiling.info import ImageInfo, Plane
from tiling.raster_shapes import burn
from tiling.stack import require_labels_for
from tiling.window import Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Polygons in pixels of one image."""

    shapes: NDArray[np.object_]
    """(n,) shapely geometries, (x, y) px of the file; the largest first."""
    words: tuple[str, ...]
    """What each is called."""

    def classified(self) -> Drawn:
        """Those that have a class."""
        kept = [i for i, word in enumerate(self.words) if word]
        return Drawn(shapes=self.shapes[kept], words=tuple(self.words[i] for i in kept))


def list_folder(root: Path) -> Scenes | None:
    """Images beside files of polygons with the same name; None where there is no such pair."""
    scenes = [scene for part, folder in parts_of(root) for scene in _beside(folder, root, part)]
    return Scenes(scenes=tuple(scenes)) if scenes else None


def _beside(folder: Path, root: Path, part: Part | None) -> list[Scene]:
    """By name, such as a.svs with a.geojson or a.svs.geojson; of one image and one drawing the names do not matter."""
    files = [path for path in visible(folder) if path.is_file()]
    images = [path for path in files if is_image(path)]
    drawings = [path for path in files if path.suffix.lower() in VECTORS]
    drawn = {path.stem: path for path in drawings}
    pairs = [(path, drawn.get(path.name) or drawn.get(path.stem)) for path in images]
    if len(images) == len(drawings) == 1:
        pairs = [(images[0], drawings[0])]
    return [
        Scene(name=below(path, root), uris=(str(path),), truth=str(drawing), part=part)
        for path, drawing in pairs
        if drawing is not None
    ]


def list_file(path: Path, images: Sequence[str]) -> Scenes:
    """One file of polygons. images: of the settings, else the image beside it. Raises BadInput where there is none."""
    uris = (
        tuple(images)
        or tuple(str(each) for each in visible(path.parent) if each.stem == path.stem and is_image(each))[:1]
    )
    if not uris:
        raise BadInput(
            f"{path} holds polygons, but over which image? Give it as data.images, or put an image of the same name "
            "beside it"
        )
    name = Path(uris[0]).name if len(uris) == 1 else Path(uris[0]).parent.name
    return Scenes(scenes=(Scene(name=name, uris=uris, truth=str(path)),))


def in_pixels(polygons: Polygons, info: ImageInfo) -> Drawn:
    """The polygons as they lie on an image. Raises BadInput where they do not, or where nobody knows.

    info: of the image as it says itself, with its CRS where it has one.
    """
    import shapely

    shapes = polygons.shapes
    if info.crs is not None and info.transform is not None:
        shapes = _on_map(polygons, info.crs, info.transform, info)
    elif polygons.crs not in (None, PIXELS_OR_DEGREES):
        raise BadInput(
            f"{polygons.path} is in {polygons.crs}, but {info.uri} has no coordinate system to place it with"
        )
    elif shapely.total_bounds(shapes)[3] <= 0:  # QGIS counts rows of bare pixels downwards from 0
        shapes = shapely.transform(shapes, lambda xy: xy * (1, -1))
    frame = shapely.box(0, 0, info.shape_px[1], info.shape_px[0])
    on_image = shapely.intersects(shapes, frame)
    if not on_image.any():
        bounds = ", ".join(f"{value:.6g}" for value in shapely.total_bounds(polygons.shapes))
        raise BadInput(
            f"none of the {len(shapes)} polygons of {polygons.path} (x, y {bounds}; {polygons.crs or 'no CRS'}) lies on "
            f"{info.uri}: are they of this image?"
        )
    order = np.flatnonzero(on_image)[np.argsort(-shapely.area(shapes[on_image]), kind="stable")]
    return Drawn(shapes=shapes[order], words=tuple(polygons.words[i] for i in order))


def _on_map(polygons: Polygons, crs: str, transform: Affine, info: ImageInfo) -> NDArray[np.object_]:
    """Reprojected to the image's CRS, then to its pixels."""
    import shapely
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    shapes, ours = polygons.shapes, CRS.from_user_input(crs)
    try:
        theirs = ours if polygons.crs is None else CRS.from_user_input(polygons.crs or "OGC:CRS84")
    except CRSError as error:
        raise BadInput(
            f"{polygons.path} names {polygons.crs!r} as its coordinate system, which nobody knows: {error}"
        ) from error
    if theirs != ours:
        x, y, x_stop, y_stop = shapely.total_bounds(shapes)
        shapes = shapely.segmentize(shapes, max(x_stop - x, y_stop - y) / 256)  # a straight line here is a curve there
        to_ours = Transformer.from_crs(theirs, ours, always_xy=True)
        shapes = shapely.transform(shapes, lambda xy: np.column_stack(to_ours.transform(xy[:, 0], xy[:, 1])))
        if not np.isfinite(shapely.total_bounds(shapes)).all():
            raise BadInput(
                f"{polygons.path} ({theirs.name}) has coordinates that do not exist in {ours.name} of {info.uri}; a GeoJSON "
                "that names no CRS is in degrees"
            )
    t = ~transform
    return np.asarray(
        shapely.transform(
            shapes,
            lambda xy: np.stack([t.a * xy[:, 0] + t.b * xy[:, 1] + t.c, t.d * xy[:, 0] + t.e * xy[:, 1] + t.f], 1),
        )
    )


class PolygonTruth:
    """Polygons, some per image. See Truth."""

    def __init__(self, drawn: Mapping[str, Drawn], words: Vocabulary) -> None:
        """drawn: by name of the scene; words: what they mean. Raises BadInput for more classes than masks have labels."""
        import shapely

        require_labels_for(words.classes, "what was drawn")

        self.classes = words.classes
        self._rest = UNLABELLED if words.rest is None else _code(words.rest)
        self._shapes = {
            name: (shapely.STRtree(each.shapes), each.shapes, [_code(words.codes[word]) for word in each.words])
            for name, each in drawn.items()
        }

    def open(self, scene: Scene, shape_px: tuple[int, int]) -> PolygonDrawing:
        """See Truth."""
        return PolygonDrawing(*self._shapes[scene.name], self._rest, native_of(shape_px))

    def touches(self, scene: Scene, core: Window) -> bool:
        """See Truth."""
        return self._rest != UNLABELLED or len(_near(self._shapes[scene.name][0], core)) > 0


class PolygonDrawing:
    """The polygons of one image. See Drawing."""

    def __init__(self, tree: Any, shapes: NDArray[np.object_], codes: Sequence[int], rest: int, plane: Plane) -> None:
        """tree: shapely's STRtree of the shapes; codes: of each shape, as LabelledTiles.masks; rest: of what is outside."""
        self._tree, self._shapes, self._codes, self._rest, self._plane = tree, shapes, codes, rest, plane

    def draw(self, window: Window) -> NDArray[np.uint8]:
        """See Drawing: a pixel is where its centre is."""
        found = np.sort(_near(self._tree, window))  # the largest first, so the smallest is drawn last
        return burn([(self._shapes[i], self._codes[i]) for i in found], window, self._plane, self._rest)

    def close(self) -> None:
        """Nothing to let go of."""


def native_of(shape_px: tuple[int, int]) -> Plane:
    """The plane of a file's own pixels."""
    return Plane(shape_px=shape_px, scale=(1.0, 1.0))


def _near(tree: Any, window: Window) -> NDArray[np.intp]:
    """Positions of the shapes that share a point with a window."""
    import shapely

    box = shapely.box(window.x, window.y, window.x_stop, window.y_stop)
    return np.asarray(tree.query(box, predicate="intersects"))


def _code(code: int) -> int:
    """A Vocabulary's code as LabelledTiles.masks has it."""
    return UNLABELLED if code == LEFT_OUT else code + 1
