"""kill -9 at any moment: the next command finishes the run, with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from broken_runs import (
    Case,
    contents,
    differences,
    litter,
    plain_error,
    watching,
    write_scene,
    write_slide,
)
from counts import COUNTS
from zygote import Ended, Zygote

from storage.run import Run
from tiling.errors import BadInput

pytestmark = pytest.mark.faults
HOUSE = Path(__file__).parents[2]

KILLS = 22
"""Of each case; three cases."""
MOST_WRITES = 150
"""A run has 800 to 1400 writes: killed at one of its first 150, it gets a little further each time."""
SMALL = ("tile.size_px=32", "tile.batch=2", "audit.tiles=20")
SEEDS = {"raster": 11, "one plane": 12, "slide": 13}
survived: Counter[str] = Counter()


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("images")
    scene, slide = write_scene(folder / "scene.tif"), write_slide(folder / "slide.tif")
    return {
        "raster": Case(scene, "water", (*SMALL, "gate.downsample=4")),
        "one plane": Case(scene, "water", (*SMALL, "gate.downsample=1")),
        "slide": Case(slide, "dab", (*SMALL, "gate.downsample=2")),
    }


@pytest.fixture(scope="module")
def unbroken(zygote: Zygote, cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each case, run in one go."""
    folder = tmp_path_factory.mktemp("unbroken")
    for name, case in cases.items():
        ended = zygote.call(*case.run(folder / name))
        assert ended.code == 0, ended.err
    return {name: folder / name for name in cases}


@pytest.mark.parametrize("name", SEEDS)
def test_a_run_killed_at_any_moment_ends_as_an_unbroken_one(name, zygote, cases, unbroken, tmp_path, capsys):
    dice, case, wanted = random.Random(SEEDS[name]), cases[name], contents(unbroken[name])
    kills: Counter[str] = Counter()
    runs = 0
    while kills.total() < KILLS:
        folder = tmp_path / f"run{runs}"
        runs += 1
        with watching(folder) as watch:
            kills += break_until_done(zygote, case, folder, dice, KILLS - kills.total())
        assert differences(folder, wanted) == [], f"seed {SEEDS[name]}, run {runs}: {litter(folder)}"
        assert watch.lies == []
        assert watch.checked >= 60
    survived.update(kills)
    with capsys.disabled():
        print(
            f"\nfaults: {name}, seed {SEEDS[name]}: {kills.total()} kills survived ({kills['write']} at a write) "
            f"in {runs} runs, 0 bytes different",
            flush=True,
        )


def break_until_done(zygote: Zygote, case: Case, folder: Path, dice: random.Random, most: int) -> Counter[str]:
    """Start, kill, go on with either command, kill again, …; after `most` kills it is left in peace."""
    kills: Counter[str] = Counter()
    for turn in range(4 * most + 10):
        command = case.resume(folder) if turn % 2 else case.run(folder)
        ended, how = call_and_kill(zygote, command, folder, dice, in_peace=kills.total() >= most)
        if ended.code == 0:
            return kills
        if ended.code == -signal.SIGKILL:
            kills[how] += 1
        else:
            assert command[0] == "resume", ended.err  # before there is a plan, only `run` can say what to do
            assert ended.code == 2, ended.err
            assert plain_error(ended.err, folder, "holds no run"), ended.err
    raise AssertionError(f"not done after {kills.total()} kills")


def call_and_kill(
    zygote: Zygote, command: list[object], folder: Path, dice: random.Random, *, in_peace: bool
) -> tuple[Ended, str]:
    """One kill in three at a random time, the others up to 4 ms after a random write began."""
    if in_peace:
        return zygote.call(*command), ""
    if dice.random() < 1 / 3:
        return zygote.call(*command, kill_after_s=dice.uniform(0.02, 2.5)), "time"
    write = dice.randint(1, MOST_WRITES)
    return zygote.call(*command, die_at=(write, dice.choice([0, dice.uniform(0, 0.004)]), str(folder))), "write"


EARLY = 60
"""Writes until a small run has its plan and its first commit record."""


def test_killed_at_each_early_write_and_each_third_later_one(zygote, tmp_path, capsys):
    """Each moment of creation has its own dangers; later, shards, commit records and results follow one pattern."""
    scene = write_scene(tmp_path / "scene.tif", (70, 60))
    case = Case(scene, "water", ("tile.size_px=32", "tile.batch=2", "gate.downsample=4", "audit.tiles=1"), 1)
    assert zygote.call(*case.run(tmp_path / "whole")).code == 0
    wanted = contents(tmp_path / "whole")
    writes = [*range(1, EARLY), *range(EARLY, 1000, 3)]
    for write in writes:
        folder = tmp_path / f"run{write}"
        if zygote.call(*case.run(folder), die_at=(write, 0, str(folder))).code == 0:
            break
        ended = zygote.call(*(case.run if write % 2 else case.resume)(folder))
        if ended.code == 2 and "holds no run" in ended.err and not write % 2:
            ended = zygote.call(*case.run(folder))
        assert ended.code == 0, f"after a kill at write {write}: {ended.err}"
        assert differences(folder, wanted) == [], f"after a kill at write {write}"
        shutil.rmtree(folder)
        survived["write"] += 1
    kills = writes.index(write)
    assert kills >= EARLY
    with capsys.disabled():
        print(f"\nfaults: a small run killed at {kills} of its {write} writes, 0 bytes different", flush=True)


TORN = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills in the middle of a write, at an exact byte
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv[1:] = sys.argv[2:]
from flows.cli import main
main()
"""


def test_a_shard_killed_in_the_middle_is_never_read_as_whole(zygote, tmp_path):
    """Shards of 2 MB, killed when 100,000 bytes of one are on disk: they never stand under its name."""
    case = Case(write_scene(tmp_path / "scene.tif", (1100, 1100)), "water", ("tile.size_px=1024", "tile.batch=1"), 1)
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert zygote.call(*case.run(whole)).code == 0
    sizes = {p.relative_to(whole): p.stat().st_size for p in (whole / "run.zarr" / "pixels").rglob("c/0/*/*")}
    assert max(sizes.values()) > 200_000
    with watching(folder) as watch:
        argv = [sys.executable, "-c", TORN, "100000", *map(str, case.run(folder))]
        killed = subprocess.run(argv, cwd=HOUSE, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGXFSZ, killed.stderr
        torn = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size == 100_000]
        assert len(torn) == 1
        assert torn[0].relative_to(folder) not in sizes
        assert zygote.call(*case.resume(folder)).code == 0
    assert watch.lies == []
    assert differences(folder, contents(whole)) == []


def test_the_watcher_would_see_a_torn_shard(unbroken, tmp_path):
    copy(unbroken["raster"], tmp_path / "run")
    shard = largest_shard(tmp_path / "run", "mask/0")
    shard.write_bytes(shard.read_bytes()[:-1])
    with watching(tmp_path / "run") as watch:
        pass
    assert len(watch.lies) == 1
    assert "mask/0" in watch.lies[0]


@pytest.mark.parametrize("array", ["pixels/gate", "pixels/fine", "mask/0"])
def test_half_a_shard_without_a_commit_record_is_written_anew(array, zygote, cases, unbroken, tmp_path):
    """As a writer without rename would have left it, with the remains of one that renames."""
    folder, wanted = tmp_path / "run", contents(unbroken["raster"])
    copy(unbroken["raster"], folder)
    shard = largest_shard(folder, array)
    undo_from(folder, "gate" if array == "pixels/gate" else "segment", *shard.parts[-2:])
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    shard.with_name(f".{shard.name}.89abcdef.tmp").write_bytes(whole[:100])
    (folder / "ledger" / "gate" / ".r0000c0000.parquet.01234567.tmp").write_bytes(b"PAR1")
    ended = zygote.call(*cases["raster"].resume(folder))
    assert ended.code == 0, ended.err
    assert differences(folder, wanted) == []


DAMAGE = {
    "a flipped bit": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "gone": None,
}


@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
@pytest.mark.parametrize("array", ["pixels/gate", "pixels/fine", "mask/0"])
def test_a_shard_damaged_after_its_commit_is_made_again(array, finished, zygote, cases, unbroken, tmp_path):
    wanted = contents(unbroken["raster"])
    for how, damage in DAMAGE.items():
        folder = tmp_path / how.replace(" ", "-")
        copy(unbroken["raster"], folder)
        if not finished:
            (folder / "summary.json").unlink()
        shard = largest_shard(folder, array)
        data = shard.read_bytes()
        shard.unlink()
        if damage is not None:
            shard.write_bytes(damage(data))
        ended = zygote.call(*cases["raster"].resume(folder))
        assert ended.code == 0, f"{how}: {ended.err}"
        assert differences(folder, wanted) == [], how


@pytest.mark.parametrize("stage", ["gate", "segment"])
def test_a_damaged_commit_record_costs_its_batch_not_the_run(stage, zygote, cases, unbroken, tmp_path):
    """Rename and fsync make half a record impossible; a bad disk does not."""
    for how, damage in DAMAGE.items():
        folder = tmp_path / how.replace(" ", "-")
        copy(unbroken["raster"], folder)
        (folder / "summary.json").unlink()
        part = sorted((folder / "ledger" / stage).iterdir())[3]
        data = part.read_bytes()
        part.unlink()
        if damage is not None:
            part.write_bytes(damage(data))
        ended = zygote.call(*cases["raster"].resume(folder))
        assert ended.code == 0, f"{how}: {ended.err[-400:]}"
        assert differences(folder, contents(unbroken["raster"])) == [], how


@pytest.fixture
def halted() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that stand still; none outlives its test."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_two_processes_on_one_run_and_the_lock_of_a_dead_one(halted, zygote, cases, unbroken, tmp_path):
    """The second is refused while the first works, and let in at once when the first was killed."""
    case, folder, wanted = cases["raster"], tmp_path / "run", contents(unbroken["raster"])
    first = start_and_halt(case, folder, halted)
    for command in (case.run(folder), case.resume(folder)):
        second = zygote.call(*command)
        assert second.code == 2
        assert plain_error(second.err, "another process", folder), second.err
    os.killpg(first.pid, signal.SIGCONT)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert differences(folder, wanted) == []

    killed = start_and_halt(case, tmp_path / "again", halted)
    killed.kill()
    killed.communicate()
    ended = zygote.call(*case.resume(tmp_path / "again"))
    assert ended.code == 0, ended.err
    assert differences(tmp_path / "again", wanted) == []


@pytest.mark.parametrize(("trials", "hold_s"), [(12, 0.005), (1, 1.5)])
def test_a_run_is_never_held_twice_not_even_when_it_is_new(trials, hold_s, tiny_plan, tmp_path):
    """Five at once at a folder that is not there yet: they go in one by one, or are refused after a moment."""
    plan, inside, most = tiny_plan(), [0], [0]
    ends: Counter[str] = Counter()
    for trial in range(trials):
        start = threading.Barrier(5)

        def enter(folder: Path, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                with Run.begin(folder, plan):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(hold_s)
                    inside[0] -= 1
                ends["let in"] += 1
            except Exception as error:  # whatever else it may be, it is told below
                ends["refused" if "another process" in str(error) else repr(error)] += 1

        threads = [threading.Thread(target=enter, args=(tmp_path / f"run{trial}",)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1]
    assert set(ends) <= {"let in", "refused"}
    assert ends["let in"] >= trials
    if hold_s > 1:
        assert ends == {"let in": 1, "refused": 4}


def test_a_batch_that_is_done_alone_is_not_done_on_by_an_orphan(halted, zygote, cases, unbroken, tmp_path):
    """A batch that outlived two processes is done in a child; kill -9 of the parent frees the run, so the child must go."""
    folder, case = tmp_path / "run", cases["raster"]
    copy(unbroken["raster"], folder)
    undo_from(folder, "segment", "0", "0")
    (folder / "ledger" / "segment" / "r0000c0000.doing").write_text("2")
    command = [sys.executable, "-m", "flows.cli", *map(str, case.resume(folder))]
    process = subprocess.Popen(command, cwd=HOUSE, start_new_session=True, stderr=subprocess.PIPE, text=True)
    halted.append(process)
    wait_until(lambda: children_alone(folder), process)
    process.kill()
    wait_for_none(lambda: children_alone(folder))  # it may be at its imports still, and touches nothing before it looks
    assert zygote.call(*case.resume(folder)).code == 0
    assert differences(folder, contents(unbroken["raster"])) == []


def wait_for_none(found, at_most_s: float = 15) -> None:
    stop = time.monotonic() + at_most_s
    while found():
        assert time.monotonic() < stop, found()
        time.sleep(0.05)


def children_alone(folder: Path) -> list[bytes]:
    """Command lines of processes that do one batch of a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes())
    return [line for line in found if b"flows.alone" in line and os.fsencode(folder) in line]


def start_and_halt(case: Case, folder: Path, halted: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """A process of its own that holds the run and stands still in the middle of stage 1."""
    argv = [sys.executable, "-m", "flows.cli", *map(str, case.run(folder))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(argv, cwd=HOUSE, text=True, start_new_session=True, **pipes)
    halted.append(process)
    wait_until(lambda: len(list((folder / "ledger" / "gate").glob("*.parquet"))) >= 2, process)
    os.killpg(process.pid, signal.SIGSTOP)  # it has a child that does the work
    assert not (folder / "summary.json").exists()
    return process


def wait_until(is_so, process: subprocess.Popen[str], at_most_s: float = 60) -> None:
    stop = time.monotonic() + at_most_s
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < stop
        time.sleep(0.005)


def test_resume_before_there_is_a_plan_says_so(zygote, cases, tmp_path):
    folder = tmp_path / "run"
    assert zygote.call(*cases["raster"].run(folder), die_at=(3, 0, str(folder))).code == -signal.SIGKILL
    ended = zygote.call("resume", folder)
    assert ended.code == 2
    assert plain_error(ended.err, folder, "holds no run"), ended.err
    with pytest.raises(BadInput, match="holds no run"):
        Run.open(folder)
    assert zygote.call(*cases["raster"].run(folder)).code == 0


def test_enough_kills_in_one_session(request):
    """The demand is 50, two thirds of them at a write."""
    names = {item.name for item in request.session.items}
    if not all(any(name in item for item in names) for name in SEEDS):
        pytest.skip("only a part of the kills was asked for")
    COUNTS.append(f"kill -9: {survived.total()} survived ({survived['write']} at a write), 0 bytes different")
    assert survived.total() >= 60
    assert survived["write"] >= survived.total() / 2


def copy(source: Path, target: Path) -> None:
    """A finished run somewhere else."""
    shutil.copytree(source, target)


def largest_shard(folder: Path, array: str) -> Path:
    """One that surely holds something."""
    shards = [path for path in (folder / "run.zarr" / array / "c").rglob("*") if path.is_file()]
    return max(shards, key=lambda path: (path.stat().st_size, str(path)))


def undo_from(folder: Path, stage: str, row: str, col: str) -> None:
    """As if the commit record of a batch, and all results, had never been written."""
    (folder / "ledger" / stage / f"r{int(row):04d}c{int(col):04d}.parquet").unlink()
    for name in ("summary.json", "report.html", "overview.png", "tiles.parquet", "areas.csv"):
        (folder / name).unlink()
