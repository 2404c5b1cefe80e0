"""A plan survives JSON, and its fingerprint sees all that matters and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import storage.plan
from storage.plan import RunPlan, from_json, to_json
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize, Plane
from tiling.source import SourceSpec

MakePlan = Callable[..., RunPlan]


def through_json(plan: RunPlan) -> RunPlan:
    return from_json(json.loads(json.dumps(to_json(plan))))


def test_a_plan_comes_back_from_json_as_it_was(tiny_plan: MakePlan) -> None:
    plan = tiny_plan()
    assert through_json(plan) == plan
    assert through_json(plan).fingerprint == plan.fingerprint
    size = PixelSize(y=0.25, x=0.3, unit="um")
    slide = replace(plan.image, kind="slide", crs=None, transform=None, nodata=None, pixel_size=size)
    bare = tiny_plan(image=slide, source=SourceSpec(uris=("a.svs", "b.svs"), nodata=3.5, pixel_size=size))
    assert through_json(bare) == bare
    assert through_json(bare).fingerprint == bare.fingerprint != plan.fingerprint


def test_a_nodata_of_nan_comes_back_too(tiny_plan: MakePlan) -> None:
    plan = tiny_plan(image=replace(tiny_plan().image, nodata=math.nan, dtype="float32"))
    text = json.dumps(to_json(plan), allow_nan=False)
    back = from_json(json.loads(text))
    assert back.image.nodata is not None
    assert math.isnan(back.image.nodata)
    assert back.fingerprint == plan.fingerprint


def changes(plan: RunPlan) -> dict[str, dict[str, Any]]:
    """One change of every kind that changes the result."""
    image, grid, gate = plan.image, plan.grid, plan.models["gate"]
    return {
        "identity": {"identity": "6f" * 32},
        "fine.scale": {"fine": Plane(shape_px=plan.fine.shape_px, scale=(2.0, 2.1))},
        "grid.tile_px": {"grid": TileGrid(shape_px=(50, 70), tile_px=17, halo_px=4, batch_tiles=2)},
        "grid.halo_px": {"grid": replace(grid, halo_px=5)},
        "grid.batch_tiles": {"grid": replace(grid, batch_tiles=3)},
        "gate_tile_px": {"gate_tile_px": 5},
        "classes": {"classes": ("ice", "water")},
        "models.gate.sha256": {"models": plan.models | {"gate": gate | {"sha256": "ab"}}},
        "models.segmenter.name": {"models": plan.models | {"segmenter": {"name": "unet", "sha256": "bb"}}},
        "recipe.gate.threshold": {"recipe": {"name": "water", "gate": {"threshold": 0.2, "positive": []}}},
        "nodata": {"source": replace(plan.source, nodata=7.0)},
        "bands": {"source": replace(plan.source, bands=(("green", 1), ("nir", "B08")))},
        "image.bands": {"image": replace(image, bands=("green", "swir"))},
        "image.nodata": {"image": replace(image, nodata=1.0)},
        "image.pixel_size.x": {"image": replace(image, pixel_size=PixelSize(y=10, x=11, unit="m"))},
        "image.crs": {"image": replace(image, crs="EPSG:32634")},
        "image.transform": {"image": replace(image, transform=None)},
        "image.dtype": {"image": replace(image, dtype="uint8")},
    }


def test_the_fingerprint_and_the_differences_see_every_change(tiny_plan: MakePlan) -> None:
    plan = tiny_plan()
    seen = {plan.fingerprint}
    for field, change in changes(plan).items():
        other = replace(plan, **change)
        seen.add(other.fingerprint)
        (line,) = plan.differences(other)
        assert line.startswith(f"{field}: ")
    assert len(seen) == 1 + len(changes(plan))


def test_a_difference_reads_from_what_there_is_to_what_was_asked(tiny_plan: MakePlan) -> None:
    plan = tiny_plan()
    other = tiny_plan(**changes(plan)["recipe.gate.threshold"])
    assert plan.differences(other) == ["recipe.gate.threshold: 0.1 -> 0.2"]
    assert plan.differences(plan) == []


def test_a_change_of_code_that_changes_results_counts(tiny_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny_plan().fingerprint
    monkeypatch.setattr(storage.plan, "RESULTS_VERSION", storage.plan.RESULTS_VERSION + 1)
    later = tiny_plan()
    assert later.fingerprint != before
    assert tiny_plan(results_version=1).differences(later) == [f"results_version: 1 -> {later.results_version}"]


def test_where_the_image_lies_does_not_count(tiny_plan: MakePlan) -> None:
    plan = tiny_plan()
    moved = tiny_plan(
        source=replace(plan.source, uris=("/elsewhere/b.tif",)), image=replace(plan.image, uri="/elsewhere/b.tif")
    )
    assert moved.fingerprint == plan.fingerprint
    assert moved.differences(plan) == []


def test_whether_a_foreign_image_is_refused_does_not_count(tiny_plan: MakePlan) -> None:
    """It says whether a run goes on, not what it finds: a run that was refused can go on."""
    gate = {"threshold": 0.1, "positive": []}
    plans = [tiny_plan(recipe={"name": "water", "gate": gate | more}) for more in ({}, {"outside": "refuse"})]
    assert plans[0].fingerprint == plans[1].fingerprint == tiny_plan().fingerprint
    assert plans[0].differences(plans[1]) == []
    assert through_json(plans[1]) == plans[1]
    odd = tiny_plan(recipe={"gate": "water"})
    assert through_json(odd).fingerprint == odd.fingerprint != plans[0].fingerprint


def test_the_gates_plane_by_hand(tiny_plan: MakePlan) -> None:
    plan = tiny_plan()  # tiles of 16 px on a plane of 50 x 70; the gate sees each as 4 px
    assert plan.gate_grid.shape_px == (13, 18)  # 12.5 and 17.5, the last pixel reaching over the edge
    assert plan.gate_plane == Plane(shape_px=(13, 18), scale=(8.0, 8.0))
    assert not plan.one_plane
    assert tiny_plan(gate_tile_px=16).one_plane
    assert tiny_plan(gate_tile_px=16).gate_plane == plan.fine


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain.pop("grid"),
        lambda plain: plain["image"].pop("shape_px"),
        lambda plain: plain["image"].update(colour="blue"),
        lambda plain: plain.update(source=None),
        lambda plain: plain["grid"].update(tile_px=0),
        lambda plain: plain["fine"].update(shape_px=[1, 2, 3]),
        lambda plain: plain["image"]["pixel_size"].update(x=-1),
    ],
)
def test_what_another_program_wrote_is_refused(tiny_plan: MakePlan, spoil: Callable[[dict[str, Any]], Any]) -> None:
    plain = to_json(tiny_plan())
    spoil(plain)
    with pytest.raises(BadInput, match="not one this version wrote"):
        from_json(plain)
