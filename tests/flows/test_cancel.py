"""A run that is told to stop stops within seconds, says so, frees its lock and is finished to the same bytes."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import flows.job
from classifiers.rules import RULES
from downstream.rule_segmenter import RuleSegmenter
from flows import segment_stage
from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from storage.run import Run
from tiling.source import SourceSpec

HOUSE = Path(__file__).parents[2]
CHANGES = ("tile.size_px=32", "tile.batch=1", "gate.downsample=4", "gate.threshold=0", "audit.tiles=0")
"""90 tiles, each a batch and a call of either model."""
CALL_S = 1.5
"""Of a slow model: 90 calls on two threads take 67 s."""
SOON_S = 15.0


def start(stage, seconds, *arguments):
    command = [sys.executable, HOUSE / "tests/flows/slow_main.py", stage, str(seconds), *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=HOUSE,
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives it
    )


def options(scene, out, *more):
    changes = [word for change in CHANGES for word in ("--set", change)]
    return [
        "run",
        scene.path,
        "--recipe",
        "water",
        "--out",
        out,
        "--engine",
        "local",
        "--workers",
        "2",
        *changes,
        *more,
    ]


def wait_for_part(process, folder, count=3):
    """Until a stage has committed something: the signal comes in the middle of it."""
    for _ in range(1200):
        if len(list(folder.glob("r*.parquet"))) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail(f"nothing in {folder}")


def contents(folder):
    """Digests of all that counts: shards and tables, not the timings."""
    files = [*(folder / "run.zarr").rglob("c/**/*"), folder / "areas.csv", folder / "tiles.parquet"]
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()}


def unbroken(scene, out):
    plan = make_plan(SourceSpec(uris=(str(scene.path),)), load_recipe("water", CHANGES))
    execute(plan, out, LocalEngine(2), Silent())
    return contents(out)


@pytest.mark.parametrize(("stage", "number", "code"), [("gate", signal.SIGINT, 130), ("segment", signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_and_resume_finishes_it(make_scene, tilegate, tmp_path, stage, number, code):
    scene, out = make_scene(), tmp_path / "run"
    process = start(stage, CALL_S, *options(scene, out))
    wait_for_part(process, out / "ledger" / stage)
    sent = time.monotonic()
    os.killpg(process.pid, number)
    printed, told = process.communicate(timeout=60)
    seconds = time.monotonic() - sent
    print(f"{number.name} in {stage}: stopped after {seconds:.2f} s")
    assert seconds < SOON_S
    assert process.returncode == code
    assert told.splitlines()[-1] == f"tilegate: stopped; what is done is kept: tilegate resume {out} finishes it"
    assert "Traceback" not in told
    assert printed == ""
    done = len(list((out / "ledger" / stage).glob("r*.parquet")))
    assert 3 <= done < 60
    assert not (out / "summary.json").exists()

    finished = tilegate("resume", out, "--json")  # the lock is free
    assert finished.code == 0
    assert finished.json["area"]["classes"][0]["pixels"] == scene.water.sum()
    assert contents(out) == unbroken(scene, tmp_path / "unbroken")


@pytest.mark.parametrize("to", ["the command", "its group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_parent_passes_a_signal_on_and_it_counts_once(make_scene, tilegate, tmp_path, monkeypatch, number, to):
    """Sent to the parent alone, as a program would, or to parent and child, as a terminal or systemd would."""
    monkeypatch.setenv("SUPERVISED", "1")
    out = tmp_path / "run"
    process = start("segment", 1.5, *options(make_scene(), out))
    wait_for_part(process, out / "ledger" / "segment", count=2)
    sent = time.monotonic()
    (os.killpg if to == "its group" else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=SOON_S)
    assert time.monotonic() - sent < SOON_S
    assert process.returncode == 128 + number
    assert told.splitlines()[-1] == f"tilegate: stopped; what is done is kept: tilegate resume {out} finishes it"
    assert tilegate("resume", out, "--json").code == 0


def test_a_second_ctrl_c_kills(make_scene, tilegate, tmp_path):
    """Even in the middle of a call that takes for ever; what was committed is finished later all the same."""
    scene, out = make_scene(), tmp_path / "run"
    process = start("segment", 100, *options(scene, out))
    wait_for_part(process, out / "ledger" / "gate", count=90)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    process.communicate()
    assert tilegate("resume", out, "--json").code == 0
    assert contents(out) == unbroken(scene, tmp_path / "unbroken")


def test_a_signal_before_the_run_has_begun(make_scene, tmp_path):
    """Nothing is kept, so nothing is promised."""
    waits = "flows.commands.run_image = lambda *a, **k: (print('here', flush=True), time.sleep(60))"
    script = f"import flows.commands, time\nfrom flows.cli import main\n{waits}\nmain()"
    command = [sys.executable, "-c", script, *map(str, options(make_scene(), tmp_path / "run"))]
    process = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=SOON_S)
    assert process.returncode == 143
    assert told == "tilegate: stopped; nothing was begun\n"


MOST_CALLS = 8
"""Of 90: the tile before the end waits behind five that another span has read ahead, and two are computed meanwhile."""


class Counting:
    """The water rule; counts its calls, and takes half a second for each."""

    def __init__(self):
        self._segmenter = RuleSegmenter(RULES["ndwi"])
        self.model, self.bands, self.classes = self._segmenter.model, self._segmenter.bands, ("water",)
        self.calls = 0

    def segment(self, stack):
        self.calls += 1
        time.sleep(0.5)
        return self._segmenter.segment(stack)


def plan_of(scene):
    return make_plan(SourceSpec(uris=(str(scene.path),)), load_recipe("water", CHANGES))


def test_a_full_disk_under_one_span_stops_the_others(make_scene, monkeypatch, tmp_path):
    """At their next tile, not at the end of their span, 45 tiles later; and the failure is the one that is told."""
    model = Counting()
    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: model)
    plan = plan_of(make_scene())
    write = segment_stage.write

    def full(run, attempts, finished):
        if (finished.batch.row, finished.batch.col) == (0, 0):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(run, attempts, finished)

    monkeypatch.setattr(segment_stage, "write", full)
    with pytest.raises(OSError, match="No space left"):
        execute(plan, tmp_path / "run", LocalEngine(2), Silent())
    assert model.calls <= MOST_CALLS


class Interrupted(Silent):
    """Ctrl-C comes while the progress of a stage is told."""

    def start(self, stage, tiles):
        self._stage = stage

    def advance(self, report):
        if self._stage == "segment":
            raise KeyboardInterrupt


def test_an_interrupt_outside_the_engine_stops_its_threads(make_scene, monkeypatch, tmp_path):
    """Spans of different length: when the first has ended, the other is told to stop."""
    model = Counting()
    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: model)
    monkeypatch.setattr("flows.pipeline.cut_spans", lambda weights, *_: [slice(0, 1), slice(1, len(weights))])
    plan = plan_of(make_scene())
    with pytest.raises(KeyboardInterrupt):
        execute(plan, tmp_path / "run", LocalEngine(2), Interrupted())
    assert model.calls <= MOST_CALLS
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_stopping_one_run_leaves_another_in_the_same_process_alone(make_scene, tmp_path):
    """Two flows may share a process; only the work of the engine that was left stops."""
    plan = plan_of(make_scene())
    with Run.begin(tmp_path / "run", plan) as run:
        spans = [[(row, col)] for row in range(10) for col in range(9)]
        path = run.uri
        left, other = LocalEngine(2).gate(path, spans[:45]), LocalEngine(2).gate(path, spans[45:])
        next(left)
        next(other)
        left.close()
        assert sum(report.tiles for report in other) == 44
