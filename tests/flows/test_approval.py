"""A run stops before the expensive step when it would cost more than agreed, and an operator decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import flows.job
from classifiers.rules import RULES
from downstream.rule_segmenter import RuleSegmenter
from flows.approval import Cost
from flows.estimate import SAMPLE_TILES
from flows.recipe import load_recipe

SMALL = ("tile.size_px=32", "tile.batch=2", "gate.downsample=4", "audit.tiles=5")


@pytest.fixture
def run(tilegate: Any, tmp_path: Path, make_scene: Any) -> Any:
    scene = make_scene()

    def call(*changes: str, out: str = "run") -> Any:
        told = [word for change in (*SMALL, *changes) for word in ("--set", change)]
        return tilegate(
            "run", scene.path, "--recipe", "water", "--out", tmp_path / out, "--engine", "local", "--json", *told
        )

    return call


@pytest.fixture
def segmented(monkeypatch: Any) -> list[str]:
    """Ids of the tiles that the segmenter is asked for."""
    asked: list[str] = []

    class Counting(RuleSegmenter):
        def segment(self, stack: Any) -> Any:
            asked.extend(tile.id for tile in stack.tiles)
            return super().segment(stack)

    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: Counting(RULES["ndwi"]))
    monkeypatch.setattr("flows.commands.prepare", lambda _: None)  # it tries the segmenter on a blank tile
    return asked


def parts(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("*.parquet")}


def contents(folder: Path) -> dict[str, bytes]:
    """What counts: shards and tables."""
    files = [*(folder / "run.zarr").rglob("c/**/*"), folder / "areas.csv", folder / "tiles.parquet"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


def test_more_than_agreed_waits_and_goes_on_with_nothing_lost(
    run: Any, tilegate: Any, tmp_path: Path, segmented: list[str]
) -> None:
    plain = run(out="plain").json
    tiles = plain["tiles"]["positive"] + plain["tiles"]["audited"]
    assert plain["tiles"]["audited"] == 5
    segmented.clear()

    waits = run(f"segment.approve_above={tiles - 1}")
    assert waits.code == 4
    assert (
        f": {tiles} tiles are to be segmented ({tiles - 5} let through with their rings, 5 for the audit)" in waits.err
    )
    assert f"more than the {tiles - 1} agreed (segment.approve_above): less than a minute." in waits.err
    assert f"tilegate resume {tmp_path / 'run'} --approve" in waits.err
    assert len(segmented) == SAMPLE_TILES  # to tell how long
    gated = parts(tmp_path / "run/ledger/gate")
    assert len(gated) == 25
    assert not (tmp_path / "run/ledger/segment").exists()
    assert not (tmp_path / "run/summary.json").exists()
    assert tilegate("resume", tmp_path / "run").code == 4  # without a word it waits on

    segmented.clear()
    goes_on = tilegate("resume", tmp_path / "run", "--approve", "--json")
    assert goes_on.code == 0, goes_on.err
    assert parts(tmp_path / "run/ledger/gate") == gated
    asked = {f"r{row['row']:04d}c{row['col']:04d}" for row in pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()
             if row["state"] in ("segmented", "audited")}  # fmt: skip
    assert set(segmented) == asked
    assert len(asked) == tiles
    assert goes_on.json["fingerprint"] == plain["fingerprint"]
    assert goes_on.json["area"] == plain["area"]
    assert contents(tmp_path / "run") == contents(tmp_path / "plain")


def test_the_agreed_number_is_agreed(run: Any) -> None:
    plain = run(out="plain").json["tiles"]
    tiles = plain["positive"] + plain["audited"]
    assert run(f"segment.approve_above={tiles}").code == 0
    assert run(f"segment.approve_above={tiles - 1}", out="other").code == 4
    nothing = run("segment.approve_above=0", "gate.cut=0.99", "audit.tiles=0", out="nothing")
    assert (nothing.code, nothing.json["tiles"]["positive"]) == (0, 0)


def test_the_same_command_with_a_higher_number_goes_on(run: Any, tmp_path: Path) -> None:
    plain = run(out="plain").json
    assert run("segment.approve_above=3").code == 4
    gated = parts(tmp_path / "run/ledger/gate")
    gone_on = run("segment.approve_above=1000")
    assert (gone_on.code, gone_on.json["area"]) == (0, plain["area"])
    assert parts(tmp_path / "run/ledger/gate") == gated
    assert not (tmp_path / "run/approved.json").exists()


def test_what_was_approved_is_not_asked_again_for_as_many(run: Any, tilegate: Any, tmp_path: Path) -> None:
    """A run that is killed after it was approved goes on by itself; one that has become dearer asks."""
    assert run("segment.approve_above=3").code == 4
    assert tilegate("resume", tmp_path / "run", "--approve").code == 0
    told = tmp_path / "run/approved.json"
    approved = json.loads(told.read_text())
    assert approved["agreed_before"] == 3
    next(iter(parts(tmp_path / "run/ledger/segment"))).unlink()
    (tmp_path / "run/summary.json").unlink()
    assert tilegate("resume", tmp_path / "run").code == 0
    for text in (json.dumps(approved | {"tiles": approved["tiles"] - 1}), "[]", "damaged"):
        told.write_text(text)
        (tmp_path / "run/summary.json").unlink(missing_ok=True)
        assert tilegate("resume", tmp_path / "run").code == 4


def test_a_segmenter_that_fails_is_told_by_its_tiles(run: Any, tilegate: Any, tmp_path: Path, monkeypatch: Any) -> None:
    class Sick(RuleSegmenter):
        def segment(self, stack: Any) -> Any:
            raise RuntimeError("CUDA is gone")

    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: Sick(RULES["ndwi"]))
    waits = run("segment.approve_above=3")
    assert (waits.code, "is not known, as the tiles that were tried failed" in waits.err) == (4, True)
    assert tilegate("resume", tmp_path / "run", "--approve").code == 3


def test_a_recipe_agrees_to_whole_tiles() -> None:
    assert load_recipe("water").segment.approve_above is None
    with pytest.raises(ValueError, match=r"segment\.approve_above"):
        load_recipe("water", ("segment.approve_above=-1",))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "is not known"), (59.0, "less than a minute"), (900.0, "about 15 minutes"), (9000.0, "about 2.5 hours")],
)
def test_the_duration_is_told_as_people_say_it(seconds: float | None, told: str) -> None:
    assert told in Cost(run_uri="runs/a", tiles=61, audited=5, agreed=40, seconds=seconds).text


def test_a_plan_says_that_the_run_may_wait(tilegate: Any, make_scene: Any) -> None:
    plan = ("plan", make_scene().path, "--recipe", "water", "--set", "tile.size_px=32")
    told = "the run will wait for approval if more than 1,000 tiles are to be segmented"
    assert told in tilegate(*plan, "--set", "segment.approve_above=1000").out
    assert "approval" not in tilegate(*plan).out
