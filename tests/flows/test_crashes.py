"""Native code that takes the whole process with it costs its own batch, and is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UTM_M2 = 100 / 0.9996**2
"""A pixel of 10 m at the meridian of its UTM zone."""

HOUSE = Path(__file__).parents[2]
SITE = """
import ctypes, os, signal
import flows.job, flows.planning, tiling.open
from classifiers.rule_gate import RuleGate
from downstream.rule_segmenter import RuleSegmenter

POISON, HOW, WHERE = (5, 6), os.environ["HOW"], os.environ["WHERE"]

def die():
    if HOW == "hang":
        ctypes.PyDLL(None).sleep(600)  # with the lock of the interpreter held, as GDAL on a dead server
    if HOW == "segfault":
        ctypes.string_at(0)  # as a decoder with a bug does
    os.kill(os.getpid(), {"abort": signal.SIGABRT, "memory": signal.SIGKILL}[HOW])

def poisoned(cls, method):
    real = getattr(cls, method)
    def call(self, stack):
        if POISON in {(tile.row, tile.col) for tile in stack.tiles}:
            die()
        return real(self, stack)
    setattr(cls, method, call)

if WHERE == "gate":
    poisoned(RuleGate, "score")
elif WHERE == "segment":
    poisoned(RuleSegmenter, "segment")
elif WHERE == "open":
    tiling.open.require_sane = lambda *_: die()
"""
SETTINGS = ("tile.size_px=32", "tile.batch=2", "gate.downsample=4", "gate.threshold=0", "audit.tiles=0")


@pytest.fixture
def command(make_scene, tmp_path):
    """(where, how) -> the command line as a process whose native code dies there, and its scene."""
    scene = make_scene()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)

    def make(where, how, *arguments):
        environment = os.environ | {"WHERE": where, "HOW": how, "PYTHONPATH": f"{tmp_path / 'site'}:{HOUSE}"}
        argv = arguments or ("run", scene.path, "--recipe", "water", "--out", tmp_path / "run", "--engine", "local")
        argv = [*argv, "--json", *(part for s in SETTINGS if not arguments for part in ("--set", s))]
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, argv)],
            env=environment, cwd=HOUSE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    make.scene = scene
    return make


@pytest.mark.parametrize("where", ["gate", "segment"])
@pytest.mark.parametrize("how", ["segfault", "abort"])
def test_a_crash_over_a_tile_costs_its_batch(command, where, how, tmp_path, tilegate):
    _, err = command(where, how).communicate(timeout=200)
    assert "Traceback" not in err
    seen = tilegate("report", tmp_path / "run", "--json")
    assert seen.code == 3, err
    name = {"segfault": "SIGSEGV", "abort": "SIGABRT"}[how]
    assert f"a decoder crashed ({name})" in err
    assert seen.json["tiles"]["failed"] == 4  # tile (5, 6) is in the batch of tiles (4, 6) to (5, 7)
    assert seen.json["area"]["not_observed"] == pytest.approx(64 * 64 * UTM_M2, rel=1e-6)
    (hole,) = seen.json["holes"]
    assert name in hole["reason"]
    assert sorted(hole["windows"])[0] == [128, 192, 32, 32]
    rest = command.scene.water.copy()
    rest[128:192, 192:256] = False
    assert seen.json["area"]["classes"][0]["pixels"] == rest.sum()
    healed = tilegate("resume", tmp_path / "run", "--json")  # on a machine whose decoder is mended
    assert healed.code == 0
    assert healed.json["area"]["classes"][0]["pixels"] == command.scene.water.sum()
    assert not list((tmp_path / "run").rglob("*.doing"))


@pytest.mark.parametrize("how", ["segfault", "abort"])
def test_a_file_that_crashes_when_it_is_opened_is_bad_input(command, how, tmp_path):
    process = command("open", how)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2, err
    assert "crashed its decoder" in err
    assert not (tmp_path / "run").exists()


def test_a_process_that_is_killed_for_its_memory_says_how_to_go_on(command, tmp_path, tilegate):
    """The kernel's killer takes it at the same batch again and again: the third time the batch alone dies."""
    for _ in range(2):
        process = command("segment", "memory")
        _, err = process.communicate(timeout=100)
        assert process.returncode == 128 + signal.SIGKILL
        assert "tilegate resume goes on" in err
    process = command("segment", "memory", "resume", tmp_path / "run")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 3, err
    assert "SIGKILL" in tilegate("report", tmp_path / "run").out


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the child finishes the run")
def test_kill_9_of_the_command_takes_its_child_along(command, tmp_path, tilegate):
    process = command("nowhere", "")
    while not (tmp_path / "run" / "ledger").exists():
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    assert len(children) == 1
    seen = tilegate("resume", tmp_path / "run", "--json")  # the lock is free, or will be in a moment
    assert seen.code == 0
    state = Path(f"/proc/{children[0]}/stat")
    assert not state.exists() or state.read_text().split(")")[1].split()[0] == "Z"  # dead, if nobody reaped it yet


def test_a_child_that_hangs_in_native_code_is_killed_after_a_while(command, tmp_path):
    process = command("segment", "hang")
    while not (tmp_path / "run" / "ledger" / "segment").exists():
        time.sleep(0.02)
    time.sleep(0.5)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert "did not stop when told" in err
