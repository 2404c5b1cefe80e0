"""OME-NGFF 0.5 as others define it: ome-zarr-models, the models of the format's community, opens what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image, Labels
from ome_zarr_models.v05.image_label import ImageLabel

from flows.engine import LocalEngine
from flows.export.command import export_run
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec


@pytest.fixture(params=["map", "slide"])
def run(
    request: pytest.FixtureRequest, make_scene: Any, measure: Any, tiny_slide: Callable[..., Path], tmp_path: Path
) -> Path:
    """Of water on a map of 10 m, or of tissue on a slide of 0.25 x 0.26 um; both with a gate plane."""
    if request.param == "map":
        measure(make_scene(), "gate.threshold=0")
        return tmp_path / "run"
    rgb = np.full((700, 600, 3), 245, np.uint8)
    rgb[100:300, 200:450] = (200, 80, 160)
    spec = SourceSpec(uris=(str(tiny_slide(rgb, mpp=(0.25, 0.26))),))
    recipe = load_recipe("tissue", ("tile.size_px=128", "tile.batch=2"))
    execute(make_plan(spec, recipe), tmp_path / "run", LocalEngine(1), Silent())
    return tmp_path / "run"


def opened(place: Path) -> zarr.Group:
    return zarr.open_group(place, mode="r", zarr_format=3)


def test_exports_and_stores_are_what_the_models_of_the_format_take(run: Path) -> None:
    out = export_run(str(run), "ngff").path
    image = Image.from_zarr(opened(out))
    (name,) = Labels.from_zarr(opened(out / "labels")).ome_attributes.labels
    label = ImageLabel.from_zarr(opened(out / "labels" / name))
    store = Image.from_zarr(opened(run / "run.zarr"))
    for each in (image, label, store):
        (levels,) = each.ome_attributes.multiscales
        assert [axis.type for axis in levels.axes][-2:] == ["space", "space"]
        assert levels.type is not None
        assert levels.metadata["description"]
        sizes = [level.coordinateTransformations[0].scale[-2:] for level in levels.datasets]
        assert sizes == sorted(sizes)
        assert len(sizes) >= 2
    summary = json.loads((run / "summary.json").read_text())
    (told,) = label.ome_attributes.image_label.properties
    (row,) = summary["area"]["classes"]
    assert (told.label_value, told.model_extra["pixels"], told.model_extra["area"]) == (1, row["pixels"], row["mapped"])
    assert {colour.label_value for colour in label.ome_attributes.image_label.colors} == {1}


@pytest.mark.parametrize(
    ("broken", "said_of"),
    [("axes", "Length of space axes"), ("scale", "has dimensionality 2"), ("array", "no array was found")],
)
def test_those_models_do_refuse(run: Path, broken: str, said_of: str) -> None:
    """What the test above would say of an axis that is missing, of one scale too few, of a level that is not there."""
    out = export_run(str(run), "ngff").path
    said = json.loads((out / "zarr.json").read_text())
    (levels,) = said["attributes"]["ome"]["multiscales"]
    if broken == "axes":
        levels["axes"].pop()
    elif broken == "scale":
        levels["datasets"][0]["coordinateTransformations"][0]["scale"].pop()
    else:
        levels["datasets"][0]["path"] = "9"
    (out / "zarr.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=said_of):
        Image.from_zarr(opened(out))
