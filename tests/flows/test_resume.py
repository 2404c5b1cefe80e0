"""An unfinished run is finished, a finished one is left alone, another one is refused."""

import hashlib
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from flows.engine import LocalEngine
from flows.gate_stage import gate_span
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from flows.segment_stage import segment_span
from tiling.errors import BadInput
from tiling.source import SourceSpec

SMALL = ("tile.size_px=32", "tile.batch=2", "gate.downsample=4")


class PowerCut(Exception):
    """The lights go out."""


class CutAfter(LocalEngine):
    """Does `batches` batches of a stage, one by one, then stops as a killed process would."""

    def __init__(self, stage, batches):
        super().__init__(1)
        self._stage, self._batches = stage, batches

    def gate(self, run_path, spans):
        return self._some("gate", gate_span, run_path, spans)

    def segment(self, run_path, spans):
        return self._some("segment", segment_span, run_path, spans)

    def _some(self, stage, do, run_path, spans):
        left = self._batches if stage == self._stage else 10**6
        for batch in (batch for span in spans for batch in span):
            if left == 0:
                raise PowerCut
            left -= 1
            yield do(run_path, [batch])


def contents(folder):
    """Bytes of all that counts: shards and tables, not the timings."""
    files = [*(folder / "run.zarr").rglob("c/**/*"), folder / "areas.csv", folder / "tiles.parquet"]
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()}


@pytest.mark.parametrize(("stage", "batches"), [("gate", 0), ("gate", 7), ("segment", 0), ("segment", 3)])
def test_an_interrupted_run_ends_as_an_unbroken_one(make_scene, tmp_path, stage, batches):
    scene = make_scene()
    plan = make_plan(SourceSpec(uris=(str(scene.path),)), load_recipe("water", (*SMALL, "audit.tiles=9")))
    unbroken = execute(plan, tmp_path / "unbroken", LocalEngine(), Silent())
    with pytest.raises(PowerCut):
        execute(plan, tmp_path / "broken", CutAfter(stage, batches), Silent())
    assert not (tmp_path / "broken" / "summary.json").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "broken" / "ledger").rglob("*.parquet")}
    resumed = execute(plan, tmp_path / "broken", LocalEngine(), Silent())
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    assert resumed["area"] == unbroken["area"]
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())  # finished work is not done again


def test_a_finished_run_is_read_not_redone(make_scene, measure, tmp_path):
    scene = make_scene()
    first = measure(scene)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"}
    assert measure(scene) == first
    assert all(p.stat().st_mtime_ns == time for p, time in files.items())


def test_another_recipe_in_the_same_folder_is_refused(make_scene, measure, tmp_path):
    scene = make_scene()
    measure(scene)
    before = contents(tmp_path / "run")
    with pytest.raises(BadInput, match=r"recipe\.gate\.threshold: 0\.001 -> 0\.5"):
        measure(scene, "gate.threshold=0.5")
    assert contents(tmp_path / "run") == before


def test_other_bytes_under_the_same_name_are_another_image(make_scene, measure):
    measure(make_scene())
    changed = make_scene(compress="lzw")
    with pytest.raises(BadInput, match="identity"):
        measure(changed)


def test_resume_from_the_command_line(make_scene, tilegate, tmp_path):
    scene = make_scene()
    plan = make_plan(SourceSpec(uris=(str(scene.path),)), load_recipe("water", SMALL))
    with pytest.raises(PowerCut):
        execute(plan, tmp_path / "run", CutAfter("segment", 1), Silent())
    unfinished = tilegate("report", tmp_path / "run")
    assert unfinished.code == 2
    assert "tilegate resume" in unfinished.err
    done = tilegate("resume", tmp_path / "run", "--json")
    assert done.code == 0
    assert done.json["status"] == "complete"
    assert pq.read_table(tmp_path / "run" / "tiles.parquet").num_rows == done.json["tiles"]["total"]


def test_a_second_process_on_a_run_is_refused_and_a_dead_one_is_forgotten(make_scene, tmp_path):
    plan = make_plan(SourceSpec(uris=(str(make_scene().path),)), load_recipe("water", SMALL))
    hold = (
        "import fcntl, sys, time; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    (tmp_path / "run").mkdir()
    other = subprocess.Popen([sys.executable, "-c", hold, tmp_path / "run" / ".lock"], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(BadInput, match="another process"):
        execute(plan, tmp_path / "run", LocalEngine(), Silent())
    other.kill()
    other.communicate()
    assert execute(plan, tmp_path / "run", LocalEngine(), Silent())["status"] == "complete"
