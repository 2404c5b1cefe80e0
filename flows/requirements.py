"""What models ask of an image: bands, dtype, pixel size, and a side of tile they can look at. Refused before a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from classifiers.protocol import Classifier, ModelId
from classifiers.seen import dtype_seen
from downstream.protocol import Segmenter
from storage.plan import RunPlan
from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize
from tiling.open import open_source
from tiling.source import SourceSpec
from tiling.stack import blank_stack


def needed_bands(segmenter: Segmenter, gate: Classifier) -> tuple[str, ...]:
    """The segmenter's bands, then those only the gate wants."""
    return tuple(dict.fromkeys((*segmenter.bands, *gate.bands)))


def require_bands(
    spec: SourceSpec, info: ImageInfo, needed: Sequence[str], recipe: str
) -> tuple[SourceSpec, ImageInfo]:
    """The same image with just the bands the models read. Raises BadInput naming the bands there are."""
    missing = [name for name in needed if name not in info.bands]
    if missing:
        raise BadInput(missing_bands(info, needed, f"recipe {recipe}"))
    if info.kind == "slide" and not spec.bands and tuple(needed) == info.bands:
        return spec, info
    wanted = dict(spec.bands) or {name: name for name in info.bands}
    narrow = replace(spec, bands=tuple((name, wanted[name]) for name in needed))
    with_bands = open_source(narrow)
    try:
        return narrow, with_bands.info
    finally:
        with_bands.close()


def missing_bands(info: ImageInfo, needed: Sequence[str], who: str) -> str:
    """What to tell of an image without them. who: needs them."""
    missing = " and ".join(name for name in needed if name not in info.bands)
    example = ",".join(f"{name}={number}" for number, name in enumerate(needed, start=1))
    return (
        f"{info.uri}: {who} needs band {missing}, but the image's bands are {', '.join(info.bands)}. "
        f"Say which is which by number or name, for instance --bands {example}"
    )


def require_dtype(info: ImageInfo, model: ModelId) -> None:
    """Raise BadInput when pixels are not of the type a model was trained on: the same number is another brightness."""
    if model.dtype not in (None, dtype_seen(info.dtype, model, info.radiometry)):
        raise BadInput(
            f"{info.uri} holds {info.dtype} values; {model.name} was trained on {model.dtype}. "
            f"Convert the image to {model.dtype} the way its training data was (see its model card)."
        )


def require_pixel_size(info: ImageInfo, size: PixelSize, model: ModelId) -> None:
    """Raise BadInput when a model would see pixels of a size it was not made for. size: of its plane."""
    if model.takes(size):
        return
    assert model.pixel_size is not None  # rules take any
    low, high = model.pixel_size_range
    raise BadInput(
        f"{info.uri}: {model.name} would see pixels of {size.text}; it is valid for {low:g} to {high:g} times "
        f"{model.pixel_size.text}. Bring an image of that pixel size, or choose a model made for this one."
    )


def require_side(plan: RunPlan, gate: Classifier) -> None:
    """Raise BadInput when the gate cannot score tiles of the planned side: now, and not at each of them."""
    side = plan.gate_tile_px
    try:
        dtype = dtype_seen(plan.image.dtype, gate.model, plan.image.radiometry)
        gate.score(blank_stack(plan.gate_grid.tile(0, 0), len(gate.bands), dtype))
    except MemoryError:
        raise
    except Exception as error:  # whatever a network says of a side it was not made for
        raise BadInput(
            f"{gate.model.name} cannot score tiles of {side} x {side} px, which tile.size_px = {plan.grid.tile_px} makes "
            f"of them on its plane: {' '.join(str(error).split()):.300}. Choose another tile.size_px."
        ) from error
