"""What a gate looks at in a tile: Grad-CAM for networks, occlusion for everything, as pictures."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.protocol import Classifier
from classifiers.rules import find_rule
from classifiers.seen import as_seen, dtype_seen
from flows.evaluation.tiles import require_made_for
from flows.models import find_bundle, open_gate
from tiling.errors import BadData, BadInput
from tiling.grid import Tile
from tiling.info import ImageInfo, Plane
from tiling.source import Pixels
from tiling.stack import TileStack, read_stack
from tiling.window import Window

if TYPE_CHECKING:
    from classifiers.bundle_contract import Bundle
    from classifiers.training.settings import DataSettings

Method = Literal["auto", "gradcam", "occlusion"]
MOST_PX = 4096
"""Longest side of what is still a tile."""
ANY_SIZE = 1.0
"""Pixel size of a file that a rule looks at: it asks for none, but every image has one."""
TILE_ID = re.compile(r"(?P<run>.+)#r(?P<row>\d{4,})c(?P<col>\d{4,})")
LEGENDS = {
    "gradcam": "Grad-CAM: brighter speaks more for the class, against the brightest place of this tile",
    "occlusion": "Occlusion: the score falls by up to {drop:.2f} when the brightest place is covered",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """One tile."""

    tile: str
    """As it was asked for."""
    name: str
    """Of the class in question."""
    scores: dict[str, float]
    """Of all classes."""
    method: str
    """gradcam or occlusion."""
    picture: Path
    """PNG: the tile, and the tile with the heat on it."""

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        score = self.scores[self.name]
        return {
            "tile": self.tile,
            "class": self.name,
            "score": score,
            "scores": self.scores,
            "method": self.method,
            "picture": str(self.picture),
        }


def explain(
    model: str, tiles: list[str], out: Path, name: str = "", method: Method = "auto", changes: tuple[str, ...] = ()
) -> list[Explained]:
    """One picture per tile. tiles: image files, or RUN#r0003c0007. name: of a class, the likeliest when empty.

    changes: --set data.…, how image files are read. Raises BadInput, before anything is written.
    """
    from flows.training.recipe import changed, training_recipe

    bundle = find_bundle(model, "gate")
    settings = training_recipe(changed({"kind": "gate", "model": {"name": "any"}}, changes), "--set").data
    gate = open_gate(model, None, None if bundle is None else "auto")
    if name and name not in gate.classes:
        raise BadInput(f"--class {name}: {gate.model.name} knows {', '.join(gate.classes)}")
    if method == "gradcam" and not has_gradient(bundle):
        raise BadInput(f"{gate.model.name} is not a network: Grad-CAM needs one. --method occlusion takes any gate.")
    stacks = [_stack(tile, gate, bundle, settings) for tile in tiles]
    if bundle is None:
        gate = open_gate(model, _fitted_cut(model, stacks), None)
    out.mkdir(parents=True, exist_ok=True)
    return [
        _explained(tile, i, stack, gate, bundle, out, name, method)
        for i, (tile, stack) in enumerate(zip(tiles, stacks, strict=True))
    ]


def _fitted_cut(model: str, stacks: list[TileStack]) -> float | None:
    """The cut of a rule that has none of its own, by Otsu over these tiles; None for one that has."""
    rule = find_rule(model)
    if rule is None or rule.cut is not None:
        return None
    pixels = [stack.pixels[0].reshape(stack.pixels.shape[1], -1, 1) for stack in stacks]
    valid = [stack.valid[0].reshape(-1, 1) for stack in stacks]
    return rule.fitted(Pixels(np.concatenate(pixels, axis=1), np.concatenate(valid))).cut


def has_gradient(bundle: Bundle | None) -> bool:
    """Whether a gate is a network, and no rule or classical classifier."""
    return bundle is not None and not bundle.classical


def _explained(
    tile: str,
    number: int,
    stack: TileStack,
    gate: Classifier,
    bundle: Bundle | None,
    out: Path,
    name: str,
    method: Method,
) -> Explained:
    from classifiers.measuring.heat import heat_picture
    from classifiers.measuring.natural import display_range, natural

    scores = {each: float(score) for each, score in zip(gate.classes, gate.score(stack)[0], strict=True)}
    chosen = name or max(scores, key=lambda each: scores[each])
    used, heat, legend = heat_of(stack, gate, bundle, gate.classes.index(chosen), method)
    seen = natural(stack.pixels[0], stack.valid[0], gate.bands, display_range(stack.pixels, stack.valid))
    title = f"{Path(tile).name}: {chosen} {scores[chosen]:.3f} ({gate.model.name})"
    path = out / f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(tile).stem)}-{chosen}-{used}.png"
    path.write_bytes(heat_picture(seen, heat, title, legend))
    return Explained(tile=tile, name=chosen, scores=scores, method=used, picture=path)


def heat_of(
    stack: TileStack, gate: Classifier, bundle: Bundle | None, column: int, method: Method
) -> tuple[str, NDArray[np.float32], str]:
    """(the method that was used, (h, w) in [0, 1], what it means). Raises BadInput where it is not defined."""
    if method != "occlusion" and bundle is not None and has_gradient(bundle):
        from classifiers.measuring.torch_gradcam import grad_cam

        try:
            return "gradcam", grad_cam(bundle, stack, column)[0], LEGENDS["gradcam"]
        except BadInput:
            if method == "gradcam":
                raise
    from classifiers.measuring.heat import relative
    from classifiers.measuring.occlusion import occlusion

    drop = occlusion(gate, stack, column)
    return "occlusion", relative(drop)[0], LEGENDS["occlusion"].format(drop=max(0.0, float(drop.max())))


def _stack(tile: str, gate: Classifier, bundle: Bundle | None, settings: DataSettings) -> TileStack:
    """One tile with the gate's bands. Raises BadInput for what the gate was not made for, and where there is no data."""
    found = TILE_ID.fullmatch(tile)
    if found and not Path(tile).exists():
        stack, info, plane = _tile_of_run(found["run"], int(found["row"]), int(found["col"]))
    else:
        stack, info, plane = _image(tile, bundle, settings)
    missing = [band for band in gate.bands if band not in info.bands]
    if missing:
        raise BadInput(f"{tile}: {gate.model.name} needs band {', '.join(missing)}, there are {', '.join(info.bands)}")
    dtype = dtype_seen(info.dtype, gate.model, info.radiometry)
    require_made_for(f"{tile} holds", dtype, info.pixel_size.times(plane.scale), gate.model)
    if not stack.valid.any():
        raise BadInput(f"{tile}: no pixel of it holds data, so there is nothing to explain")
    bands = [info.bands.index(band) for band in gate.bands]
    return as_seen(stack.pick([0], bands), gate.model, info.radiometry, bands)


def _image(path: str, bundle: Bundle | None, settings: DataSettings) -> tuple[TileStack, ImageInfo, Plane]:
    """A whole image file as one tile, opened as in training and in a run: for a rule, pixels may be of any size."""
    from classifiers.labels.looks import commonest

    if bundle is None:
        settings = replace(settings, pixel_size=settings.pixel_size or ANY_SIZE)
    found = commonest([(path,)], settings, bundle)
    with closing(found.opening.open((path,))) as source:
        plane = found.opening.plane(source.info)
        if max(plane.shape_px) > MOST_PX:
            raise BadInput(
                f"{path} has {plane.shape_px[0]:,} x {plane.shape_px[1]:,} px: that is a scene, not a tile. Run it with "
                "tilegate run, then explain tiles of the run: RUN_FOLDER#r0003c0007"
            )
        window = Window(y=0, x=0, height=plane.shape_px[0], width=plane.shape_px[1])
        try:
            return read_stack(source, [Tile(row=0, col=0, core=window, read=window)], plane), source.info, plane
        except BadData as error:
            raise BadInput(f"{path} cannot be read to its end, it is most likely damaged: {error}") from error


def _tile_of_run(folder: str, row: int, col: int) -> tuple[TileStack, ImageInfo, Plane]:
    """A tile of a run as its gate saw it."""
    from storage.run import Run
    from tiling.open import open_source

    plan = Run.open(folder).plan
    rows, cols = plan.grid.shape_tiles
    if row >= rows or col >= cols:
        raise BadInput(f"{folder} has tiles r0000c0000 to r{rows - 1:04d}c{cols - 1:04d}, none is r{row:04d}c{col:04d}")
    with closing(open_source(plan.source)) as source:
        return read_stack(source, [plan.gate_grid.tile(row, col)], plan.gate_plane), plan.image, plan.gate_plane
