"""A run that was planned is finished without its files of polygons: gone, changed or damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import shapely
from shapely.geometry import mapping

from downstream.zones import load_zones
from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from flows.segment_stage import segment_span
from flows.zones.kept import from_bytes, to_bytes
from storage.run import Run
from tiling.errors import BadInput
from tiling.source import SourceSpec

SMALL = ("tile.size_px=32", "tile.batch=2", "gate.downsample=4", "audit.tiles=9")
HALVES = {"west": shapely.box(11.9, 40, 500_900.7, 4_999_999), "east": shapely.box(500_900.7, 40, 600_000, 4_999_999)}


class PowerCut(Exception):
    """The lights go out."""


class CutInTheMiddle(LocalEngine):
    """Segments one batch, then stops as a killed process would."""

    def segment(self, run_path, spans):
        yield segment_span(run_path, spans[0][:1])
        raise PowerCut


def write(path: Path, names=("west", "east")) -> str:
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": mapping(shape)}
        for name, shape in zip(names, HALVES.values(), strict=True)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return str(path)


@pytest.fixture
def broken_run(make_scene, tmp_path):
    """(folder of a run cut off in the middle, its zones file, the zones block of the same run unbroken)."""
    path = write(tmp_path / "halves.geojson")
    spec = SourceSpec(uris=(str(make_scene().path),))
    plan = make_plan(spec, load_recipe("water", (*SMALL, f"area.zones={path}", f"area.aoi={path}")))
    unbroken = execute(plan, tmp_path / "unbroken", LocalEngine(1), Silent())
    with pytest.raises(PowerCut):
        execute(plan, tmp_path / "run", CutInTheMiddle(1), Silent())
    return tmp_path / "run", Path(path), unbroken["zones"]


def test_the_file_may_go_away(broken_run, tilegate):
    folder, path, truth = broken_run
    path.unlink()
    found = tilegate("resume", folder, "--json")
    assert (found.code, found.json["zones"]) == (0, truth)
    assert "halves.geojson" in (folder / "report.html").read_text()
    assert (folder / "zones.csv").read_bytes() == (folder.parent / "unbroken/zones.csv").read_bytes()
    again = tilegate("resume", folder, "--json")  # finished: checked only
    assert (again.code, again.json["zones"]) == (0, truth)


@pytest.mark.parametrize("content", ["no polygons", "other names"])
def test_a_file_that_changed_does_not_count_and_is_told(broken_run, tilegate, content, caplog):
    folder, path, truth = broken_run
    if content == "no polygons":
        path.write_text("{}")
    else:
        write(path, ("left", "right"))
    found = tilegate("resume", folder, "--json")
    assert (found.code, found.json["zones"]) == (0, truth)
    assert f"{path} has changed since the run was planned" in caplog.text
    assert truth["sha256"][:12] in caplog.text
    assert f"tilegate zones {folder}" in caplog.text
    if content == "other names":
        asked = tilegate("zones", folder, path, "--json")
        assert [row["name"] for row in asked.json["rows"]] == ["left", "right"]


def test_kept_zones_that_are_damaged_are_read_from_their_file_again(broken_run, tilegate, caplog):
    folder, path, truth = broken_run
    text = (folder / "zones.json").read_text()
    (folder / "zones.json").write_text(text.replace('"west"', '"nowhere"'))
    shutil.copytree(folder, folder.parent / "lost")
    found = tilegate("resume", folder, "--json")
    assert (found.code, found.json["zones"]) == (0, truth)
    assert "zones.json is damaged" in caplog.text
    path.unlink()
    found = tilegate("resume", folder.parent / "lost")
    assert found.code == 2
    assert "halves.geojson does not exist" in " ".join(found.err.split())


def test_what_is_kept_keeps_every_bit(broken_run):
    folder, path, _ = broken_run
    plan = Run.open(folder).plan
    zones = load_zones(str(path), None, plan.image)
    back = from_bytes(to_bytes(zones, ["a", None]), ["a", None])
    assert [(z.number, z.name, z.outside, z.shape.wkb) for z in back.zones] == [
        (z.number, z.name, z.outside, z.shape.wkb) for z in zones.zones
    ]
    told = ("path", "sha256", "column", "notes", "tolerance_px")
    assert [getattr(back, name) for name in told] == [getattr(zones, name) for name in told]
    assert from_bytes(to_bytes(zones, ["a", None]), ["b", None]) is None
    assert from_bytes(b"[]", ["a", None]) is None


def test_a_run_that_is_asked_for_anew_needs_its_file(broken_run):
    """Only a resume goes by what was kept: a recipe names a file that has to be there."""
    folder, path, _ = broken_run
    plan = Run.open(folder).plan
    path.unlink()
    with pytest.raises(BadInput, match=r"halves\.geojson does not exist"):
        execute(plan, folder, LocalEngine(1), Silent())
