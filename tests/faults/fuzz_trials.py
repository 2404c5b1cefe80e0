"""One broken input, one or two commands on it, and what must hold after them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET
from zlib import crc32

import numpy as np
import zarr
from fuzz_mutations import mutate
from fuzz_seeds import RECIPE, WATER, Seed, bundle, options, raster
from zygote import Ended, Zygote

HERE = Path(__file__).parent
SALT = os.environ.get("TILEGATE_FUZZ_SEED", "tilegate")
INPUTS = int(os.environ.get("TILEGATE_FUZZ_INPUTS", "1200"))
"""About how many inputs in all; every kind gets its share."""
WORKERS = int(os.environ.get("TILEGATE_FUZZ_WORKERS", str(min(2, os.cpu_count() or 1))))
KEEP = os.environ.get("TILEGATE_FUZZ_KEEP")
"""A folder where inputs that broke a rule are kept."""

SECONDS, ADDRESS_SPACE, RESIDENT = 60, 4 * 2**30, 1.5 * 2**30
GOOD = (0, 2, 3)


class Tried(NamedTuple):
    """What is counted of one input."""

    kind: str
    name: str
    code: int
    """Exit code of the first command."""
    seconds: float
    peak_bytes: int
    good: bool
    """All rules held."""


TALLY: list[Tried] = []


@dataclass
class Result:
    """What was seen of one input."""

    kind: str
    name: str
    calls: list[tuple[list[str], Ended]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Broken rules; empty when all is well."""

    def text(self) -> str:
        """For whoever has to mend it."""
        lines = [f"{self.kind} {self.name}: {'; '.join(self.wrong)}"]
        for argv, ended in self.calls:
            lines.append(
                f"  exit {ended.code} after {ended.seconds:.1f} s, {ended.peak_bytes / 2**20:.0f} MB: {' '.join(argv)}"
            )
            lines += [f"    {line[:300]}" for line in ended.err.strip().splitlines()[-6:]]
        return "\n".join(lines)


class Lab:
    """Fork servers and a folder for every trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._zygotes: Queue[Zygote] = Queue()
        self.all = [Zygote(folder / f"zygote{i}") for i in range(WORKERS)]
        for zygote in self.all:
            self._zygotes.put(zygote)

    @contextmanager
    def zygote(self) -> Iterator[Zygote]:
        """One that is free."""
        zygote = self._zygotes.get()
        try:
            yield zygote
        finally:
            self._zygotes.put(zygote)

    def try_all(self, trials: Sequence[Trial]) -> list[Result]:
        """Results of all trials; every folder is gone after it, unless a rule was broken and KEEP is set."""
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(self._try, trials))

    def _try(self, trial: Trial) -> Result:
        folder = self.folder / f"{trial.kind}-{trial.name}".replace("/", "_")
        folder.mkdir()
        result = Result(trial.kind, trial.name)
        with self.zygote() as zygote:
            trial.go(zygote, folder, result)
        if result.wrong and KEEP:
            shutil.copytree(folder, Path(KEEP) / folder.name, dirs_exist_ok=True)
        shutil.rmtree(folder)
        seconds = sum(ended.seconds for _, ended in result.calls)
        peak = max((ended.peak_bytes for _, ended in result.calls), default=0)
        code = result.calls[0][1].code if result.calls else 0
        TALLY.append(Tried(trial.kind, result.name, code, seconds, peak, not result.wrong))
        return result


@dataclass(frozen=True)
class Trial:
    """One input and what is done with it."""

    kind: str
    name: str
    go: Callable[[Zygote, Path, Result], None]


def call(zygote: Zygote, result: Result, *argv: object, **limits: Any) -> Ended:
    """A command, with the rules every command obeys."""
    limits = {"as_bytes": ADDRESS_SPACE, "timeout_s": SECONDS} | limits
    ended = zygote.call(*argv, **limits)
    result.calls.append(([str(a) for a in argv], ended))
    if ended.code not in GOOD:
        result.wrong.append(f"exit {ended.code}")
    if "Traceback" in ended.err + ended.out:
        result.wrong.append("a traceback")
    if ended.code == 2 and not ended.err.strip():
        result.wrong.append("exit 2 without a word")
    if ended.peak_bytes > RESIDENT:
        result.wrong.append(f"{ended.peak_bytes / 2**20:.0f} MB")
    return ended


def oracle(zygote: Zygote, *argv: object) -> dict[str, Any] | None:
    """What the file holds as others read it; None when they cannot open it."""
    script = str(HERE / "fuzz_oracle.py")
    ended = zygote.call(*argv, script=script, as_bytes=ADDRESS_SPACE, timeout_s=SECONDS)
    return dict(ended.json) if ended.code == 0 else None


# ---- images


def image_trials(kind: str, seed: Seed, count: int) -> list[Trial]:
    """Some mutations of one healthy image."""
    return [Trial(kind, f"{seed.name}#{n}", _image(seed, n)) for n in numbers(seed.name, count)]


def numbers(name: str, count: int) -> range:
    """Which mutations: others for every name, so that few inputs of many files still try everything."""
    start = crc32(name.encode()) % 1000
    return range(start, start + max(1, round(count * INPUTS / 1200)))


def _image(seed: Seed, number: int) -> Callable[[Zygote, Path, Result], None]:
    data, how = mutate(seed.broken.read_bytes(), seed.suffix, number, f"{SALT}:{seed.name}")

    def go(zygote: Zygote, folder: Path, result: Result) -> None:
        result.name += f" {how}"
        measure(zygote, seed, data, folder, result)
        if "size" in how or "header" in how:
            estimate(zygote, seed, folder / "in" / seed.path.name, result)

    return go


def measure(zygote: Zygote, seed: Seed, data: bytes, folder: Path, result: Result) -> None:
    """Run a seed's command on broken bytes in place of its healthy ones and compare with the oracle."""
    inputs, out = folder / "in", folder / "out"
    inputs.mkdir()
    for path in (seed.path, *seed.beside):
        shutil.copy(path, inputs)
    (inputs / seed.broken.name).write_bytes(data)
    before = contents(inputs)
    path = inputs / seed.path.name
    ended = call(zygote, result, "run", path, *seed.options, "--out", out)
    if contents(inputs) != before:
        result.wrong.append(f"the input's folder was changed: {sorted(contents(inputs).items() ^ before.items())}")
    if {child.name for child in folder.iterdir()} - {"in", "out"}:
        result.wrong.append("something was left behind")
    if ended.code in (0, 3) and not result.wrong:
        summary = json.loads((out / "summary.json").read_text())
        result.wrong += broken_sums(summary, ended.code)
        result.wrong += broken_area(zygote, seed, path, summary)


def contents(folder: Path) -> dict[str, str]:
    """sha256 by name."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def estimate(zygote: Zygote, seed: Seed, path: Path, result: Result) -> None:
    """The plan of an image that may declare any size: answered at once, or refused."""
    few = [o for o in seed.options if not o.startswith(("--engine", "--workers", "--max-pixels"))]
    call(zygote, result, "plan", path, *few)


def broken_sums(summary: dict[str, Any], code: int) -> Iterator[str]:
    """What holds of any summary."""
    tiles, area = summary["tiles"], summary["area"]
    states = ("empty", "negative", "positive", "unreadable", "failed", "planned")
    if sum(tiles.get(state, 0) for state in states) != tiles["total"]:
        yield f"the funnel does not sum up: {tiles}"
    if area["observed"] + area["not_observed"] > area["image"] * (1 + 1e-9):
        yield f"more was seen and not seen than there is: {area}"
    if any(row["mapped"] > area["observed"] * (1 + 1e-9) for row in area["classes"]):
        yield f"more was mapped than observed: {area}"
    if (summary["status"] == "partial") != (code == 3):
        yield f"{summary['status']} but exit {code}"


def broken_area(zygote: Zygote, seed: Seed, path: Path, summary: dict[str, Any]) -> Iterator[str]:
    """Complete: the oracle's count to the pixel. Partial: what the oracle can read, at most."""
    found = summary["area"]["classes"][0]["pixels"]
    rule = summary["gate"]["model"]
    green_nir = (1, 1) if "--bands=green=1,nir=1" in seed.options else (1, 2)
    if rule == "ndwi":
        truth = oracle(zygote, "water", path, *green_nir, 32)
    else:
        truth = oracle(zygote, "tissue", path, summary["segmenter"]["cut"], 64)
    if truth is None:
        yield f"measured {found} pixels in a file that others cannot read"
    elif summary["status"] == "partial":
        if found > truth["pixels"]:
            yield f"{found} pixels in what could be read, others find {truth}"
    elif found != truth["pixels"] or truth["unreadable"]:
        yield f"complete with {found} pixels, others find {truth}"
    elif any("orrupt" in line or "remature" in line for line in truth["heard"]):
        yield f"complete, but the decoder complained: {truth['heard'][:3]}"
    if truth is not None and rule == "ndwi":
        yield from ignored_sidecars(path, truth)


def ignored_sidecars(path: Path, truth: dict[str, Any]) -> Iterator[str]:
    """GDAL overlooks a mask or metadata that it cannot read: then pixels without data would be counted."""
    if path.with_name(f"{path.name}.msk").exists() and not truth["masked"]:
        yield "the mask beside the image was not used"
    aux = path.with_name(f"{path.name}.aux.xml")
    if aux.exists() and truth["nodata"] == "None" and not is_xml(aux):
        yield "the metadata beside the image was not used"


def is_xml(path: Path) -> bool:
    try:
        ET.parse(path)
    except ET.ParseError:
        return False
    return True


# ---- recipes


def recipe_trials(image: Path, truth: int, count: int) -> list[Trial]:
    """Broken TOML on a healthy image with `truth` pixels of water."""
    base = [o for o in WATER[2:] if not o.startswith("--set")]

    def trial(number: int) -> Trial:
        data, how = mutate(RECIPE.encode(), ".toml", number, f"{SALT}:recipe")

        def go(zygote: Zygote, folder: Path, result: Result) -> None:
            recipe = folder / "recipe.toml"
            recipe.write_bytes(data)
            ended = call(zygote, result, "run", image, "--recipe", recipe, *base, "--out", folder / "out")
            if ended.code in (0, 3) and not result.wrong:
                result.wrong += broken_sums(ended.json, ended.code)
                result.wrong += _broken_recipe(folder / "out", ended.json, truth)

        return Trial("recipe", f"recipe#{number} {how}", go)

    return [trial(number) for number in numbers("recipe", count)]


def _broken_recipe(out: Path, summary: dict[str, Any], truth: int) -> Iterator[str]:
    """The same area wherever the recipe still asks for the same."""
    plan = json.loads((out / "run.zarr/zarr.json").read_text())["attributes"]["tilegate"]["plan"]["recipe"]
    asks = (plan["gate"]["threshold"], plan["segment"], plan["screen"]["max_nodata"], plan["tile"]["pixel_size"])
    same = asks == (0, {"model": "ndwi", "cut": 0, "runtime": None}, 1, None)
    if same and plan["gate"]["model"] == "ndwi" and summary["area"]["classes"][0]["pixels"] != truth:
        yield f"{summary['area']['classes'][0]} where {truth} pixels are due"


# ---- bundles


def bundle_trials(count: int) -> list[Trial]:
    """Contracts and weights that do not fit each other or the schema; read, not loaded."""

    def trial(number: int) -> Trial:
        def go(zygote: Zygote, folder: Path, result: Result) -> None:
            made = bundle(folder / "bundle")
            name = ("bundle.json", "bundle.json", "model.safetensors", "bundle.json", "README.md")[number % 5]
            how = _break(made / name, number, f"bundle:{name}")
            if name == "model.safetensors" and number % 2:
                seal(made)
            result.name += f" {name} {how}"
            judge_bundle(call(zygote, result, "read", made, script=str(HERE / "fuzz_models.py")), result)

        return Trial("bundle", f"bundle#{number}", go)

    return [trial(number) for number in numbers("bundle", count)]


def weight_trials(count: int) -> list[Trial]:
    """Broken weights and graphs under a contract that fits them, given to torch and OpenVINO: many in one process,
    which takes long to start.
    """

    def go(zygote: Zygote, folder: Path, result: Result) -> None:
        made = {}
        for number in numbers("weights", count):
            one = bundle(folder / f"weights{number}")
            name = ("model.safetensors", "model.xml", "model.bin")[number % 3]
            made[str(one)] = f"{name} {_break(one / name, number, 'weights')}"
            seal(one)
        script = str(HERE / "fuzz_models.py")
        # threads take address space, not memory: two runtimes in one process reserve more than a run does
        ended = call(
            zygote, result, "load", *made, script=script, env={"OMP_NUM_THREADS": "1"}, as_bytes=16 * ADDRESS_SPACE
        )
        told = [json.loads(line) for line in ended.out.splitlines()]
        codes = {row["folder"]: row["code"] for row in told if "code" in row}
        for path, how in made.items():
            code = codes.get(path, ended.code)
            good = code in GOOD
            if not good:
                result.wrong.append(f"{Path(path).name} {how}: {code}")
            seconds = ended.seconds / len(made)
            TALLY.append(Tried("weights", f"{Path(path).name} {how}", code, seconds, ended.peak_bytes, good))

    return [Trial("weights", f"weights of {count} bundles", go)]


def judge_bundle(ended: Ended, result: Result) -> None:
    """What the child said of its one bundle counts as its exit code."""
    codes = [row["code"] for row in map(json.loads, ended.out.splitlines()) if "code" in row]
    if ended.code == 0 and codes:
        argv, _ = result.calls[-1]
        result.calls[-1] = (argv, Ended(codes[0], ended.out, ended.err, ended.seconds, ended.peak_bytes))
        if codes[0] not in GOOD:
            result.wrong.append(f"exit {codes[0]}")


def seal(folder: Path) -> None:
    """The contract names the hashes of the files that lie there."""
    weights, xml, graph = (
        hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "model.xml", "model.bin")
    )
    contract = json.loads((folder / "bundle.json").read_text())
    told = {"tilegate:sha256": weights, "tilegate:exports": {"model": {"xml_sha256": xml, "bin_sha256": graph}}}
    (folder / "bundle.json").write_text(json.dumps(contract | told))


def _break(path: Path, number: int, salt: str) -> str:
    data, how = mutate(path.read_bytes(), path.suffix, number, f"{SALT}:{salt}")
    path.write_bytes(data)
    return how


# ---- run folders


@dataclass(frozen=True)
class MadeRun:
    """A finished run, and what it found."""

    folder: Path
    found: dict[str, Any]
    """summary.json's area.classes[0]."""

    @property
    def pixels(self) -> int:
        return int(self.found["pixels"])


def make_run(zygote: Zygote, folder: Path) -> MadeRun:
    """A finished run of nine batches in two planes."""
    image = raster(folder / "scene.tif", compress="deflate", tiled=True, blockxsize=32, blockysize=32)
    command = options("water", 32, "--bands=green=1,nir=2", "--set=tile.batch=1")
    ended = zygote.call("run", image, *command, "--out", folder / "run")
    assert ended.code == 0, ended.err
    return MadeRun(folder / "run", ended.json["area"]["classes"][0])


def run_trials(made: MadeRun, finished: bool, count: int) -> list[Trial]:
    """One file of a run is broken; finished: report, then resume. Unfinished: resume, then report."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(made.folder.rglob("*")):
        if path.is_file() and path.stat().st_size and (finished or path.name != "summary.json"):
            kind = path.suffix if path.suffix in {".parquet", ".json"} else "other"
            groups[kind].append(path.relative_to(made.folder))
    turns = (".json", ".parquet", "other", ".parquet", ".json", "other", ".json")

    def trial(number: int) -> Trial:
        choice = groups[turns[number % len(turns)]]
        file = choice[crc32(f"{SALT}{number}".encode()) % len(choice)]

        def go(zygote: Zygote, folder: Path, result: Result) -> None:
            run = copy_run(made, folder, finished)
            if not (run / file).exists():
                shutil.copy(made.folder / file, run / file)
            result.name += f" {file} {_break(run / file, number // 3, str(file))}"
            judge_run(zygote, run, made, result, finished)

        return Trial("finished run" if finished else "unfinished run", f"run#{number}", go)

    return [trial(number) for number in numbers("finished" if finished else "unfinished", count)]


def copy_run(made: MadeRun, folder: Path, finished: bool) -> Path:
    """The run, or what is left of it when it was killed before its first segmented batch was committed."""
    run = Path(shutil.copytree(made.folder, folder / "run"))
    if not finished:
        (run / "summary.json").unlink()
        min((run / "ledger/segment").glob("*.parquet")).unlink()
    return run


def judge_run(zygote: Zygote, run: Path, made: MadeRun, result: Result, finished: bool) -> None:
    """The same area as ever, or a refusal."""
    commands = [("report", run, "--json"), ("resume", run, "--json", "--workers", "1")]
    for command in commands if finished else commands[::-1]:
        ended = call(zygote, result, *command)
        if ended.code not in (0, 3):
            continue
        found = ended.json["area"]["classes"][0]
        same = (found["pixels"], found["mapped"]) == (made.found["pixels"], made.found["mapped"])
        if (ended.code == 0 and not same) or found["pixels"] > made.pixels:
            result.wrong.append(f"{command[0]} says {found} where {made.found} is due")
        elif command[0] == "resume" and not finished and ended.code == 0:
            held = int((np.asarray(zarr.open_array(run / "run.zarr/mask/0", mode="r")[...]) == 1).sum())
            if held != made.pixels:
                result.wrong.append(f"resume says {found['pixels']} pixels, the mask holds {held}")


# ---- what was tried


def tally_lines() -> list[str]:
    """One line per kind, and the sum."""
    kinds: dict[str, list[Tried]] = defaultdict(list)
    for tried in TALLY:
        kinds[tried.kind].append(tried)
    bad = sum(not tried.good for tried in TALLY)
    whole = f"{len(TALLY):,} inputs tried, {bad} broke a rule; {_numbers(TALLY)}"
    return [f"{kind}: {len(some)} inputs; {_numbers(some)}" for kind, some in kinds.items()] + [whole]


def _numbers(some: Sequence[Tried]) -> str:
    codes = sorted(Counter(tried.code for tried in some).items())
    slowest, largest = max(some, key=lambda tried: tried.seconds), max(some, key=lambda tried: tried.peak_bytes)
    return (
        f"exits {', '.join(f'{count} x {code}' for code, count in codes)}; "
        f"median {statistics.median(tried.seconds for tried in some):.2f} s, slowest {slowest.seconds:.1f} s "
        f"({slowest.name}), most memory {largest.peak_bytes / 2**20:.0f} MB ({largest.name})"
    )
