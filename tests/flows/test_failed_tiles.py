"""Models and sources that misbehave on one tile: it fails with a clear reason, and the run goes on without it."""

import errno

import numpy as np
import pytest

import flows.job
from classifiers.protocol import ModelId
from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES
from downstream.rule_segmenter import RuleSegmenter
from tiling.errors import BadInput
from tiling.open import open_source
from tiling.stack import MaskStack
from tiling.window import Window

UTM_M2 = 100 / 0.9996**2
"""A pixel of 10 m at the meridian of its UTM zone."""

ALL = ("gate.threshold=0", "audit.tiles=0")
BAD = "r0001c0001"
CORE = Window(y=32, x=32, height=32, width=32)


class Odd:
    """The water rule; what it says of a stack with the bad tile is changed on the way out. Keeps the sizes of calls."""

    def __init__(self, change=lambda said: said, bad=BAD):
        self._bad, self._change = bad, change
        self._gate, self._segmenter = RuleGate(RULES["ndwi"]), RuleSegmenter(RULES["ndwi"])
        self.model, self.bands, self.classes = ModelId(name="odd", sha256="odd"), self._gate.bands, ("water",)
        self.calls = []

    def score(self, stack):
        return self._say(self._gate.score(stack), stack)

    def segment(self, stack):
        return self._say(self._segmenter.segment(stack), stack)

    def _say(self, said, stack):
        self.calls.append(len(stack))
        return self._change(said) if self._bad in {tile.id for tile in stack.tiles} else said


def relabelled(change, classes=("water",)):
    return lambda mask: MaskStack(tiles=mask.tiles, labels=change(mask.labels), classes=classes)


def out_of_memory(_):
    return np.empty(1 << 50)


def broken(_):
    raise RuntimeError("CUDA is gone")


def refused(_):
    raise BadInput("tiles of 224 px only")


GATES = {
    "none": (lambda _: None, "gave a NoneType where an array of floats"),
    "list": (lambda said: said.tolist(), "gave a list where an array of floats"),
    "bool": (lambda said: said > 0, "gave an array of bool"),
    "whole": (lambda said: said.astype(int), "gave an array of int64"),
    "object": (lambda said: said.astype(object), "gave an array of object"),
    "flat": (lambda said: said[:, 0], "gave scores (1,) where (1, 1) were due"),
    "classes": (lambda said: said[:, [0, 0, 0]], "gave scores (1, 3) where (1, 1) were due"),
    "fewer": (lambda said: said[1:], "gave scores (0, 1) where (1, 1) were due"),
    "nan": (lambda said: said * np.nan, "outside 0 to 1"),
    "infinite": (lambda said: said + np.inf, "outside 0 to 1"),
    "negative": (lambda said: said - 1.5, "outside 0 to 1"),
    "raises": (broken, "RuntimeError: CUDA is gone"),
    "refuses": (refused, "BadInput: tiles of 224 px only"),
    "memory": (out_of_memory, "Unable to allocate 8.00 PiB"),
}
SEGMENTERS = {
    "none": (lambda _: None, "gave a NoneType where a MaskStack was due"),
    "array": (lambda mask: mask.labels, "gave an array of uint8 where a MaskStack was due"),
    "list": (relabelled(lambda labels: labels.tolist()), "gave a list where labels"),
    "float": (relabelled(lambda labels: labels.astype(np.float32)), "gave an array of float32 where labels"),
    "nan": (relabelled(lambda labels: labels * np.nan), "gave an array of float64 where labels"),
    "bool": (relabelled(lambda labels: labels > 0), "gave an array of bool where labels"),
    "object": (relabelled(lambda labels: labels.astype(object)), "gave an array of object where labels"),
    "negative": (relabelled(lambda labels: labels.astype(int) - 1), "gave labels -1 to"),
    "wraps": (relabelled(lambda labels: labels.astype(int) + 256), "gave labels 0 to 257 where there are 1 classes"),
    "unknown": (relabelled(lambda labels: labels + 7), "to 8 where there are 1 classes"),
    "shape": (relabelled(lambda labels: labels[:, :-1]), "gave labels (1, 63, 64) for tiles (1, 64, 64)"),
    "flat": (relabelled(lambda labels: labels[0]), "gave labels (64, 64) for tiles (1, 64, 64)"),
    "classes": (relabelled(lambda labels: labels, ("water", "ice")), "gave a mask of ('water', 'ice')"),
    "raises": (broken, "RuntimeError: CUDA is gone"),
    "refuses": (refused, "BadInput: tiles of 224 px only"),
    "memory": (out_of_memory, "Unable to allocate 8.00 PiB"),
}


def require_one_hole(summary, scene, table, state, reason):
    """One tile is gone, with its reason, and everything else is as it was."""
    (bad,) = [tile for tile in table if tile["state"] in ("failed", "unreadable")]
    assert (bad["row"], bad["col"], bad["state"]) == (1, 1, state)
    assert reason in bad["reason"]
    assert summary["status"] == "partial"
    assert (summary["tiles"][state], summary["tiles"]["positive"]) == (1, summary["tiles"]["total"] - 1)
    assert summary["area"]["not_observed"] == pytest.approx(32 * 32 * UTM_M2, rel=1e-6)
    rest = scene.water.copy()
    rest[CORE.slices] = False
    assert summary["area"]["classes"][0]["pixels"] == rest.sum()


@pytest.fixture
def table(tmp_path):
    import pyarrow.parquet as pq

    return lambda: pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()


@pytest.mark.parametrize("mood", GATES)
def test_a_gate_that_gives_nonsense_for_one_tile(make_scene, measure, monkeypatch, table, mood):
    change, reason = GATES[mood]
    monkeypatch.setattr(flows.job, "open_gate", lambda *_: Odd(change))
    scene = make_scene((128, 128))
    require_one_hole(measure(scene, *ALL), scene, table(), "failed", reason)


@pytest.mark.parametrize("mood", SEGMENTERS)
def test_a_segmenter_that_gives_nonsense_for_one_tile(make_scene, measure, monkeypatch, table, mood):
    change, reason = SEGMENTERS[mood]
    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: Odd(change))
    scene = make_scene((128, 128))
    summary = measure(scene, *ALL, "tile.halo_px=16")
    require_one_hole(summary, scene, table(), "failed", reason)


def test_labels_of_another_whole_type_are_taken_as_they_are(make_scene, measure, monkeypatch):
    scene = make_scene((128, 128))
    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: Odd(relabelled(lambda labels: labels.astype(np.int64))))
    summary = measure(scene, *ALL)
    assert summary["status"] == "complete"
    assert summary["area"]["classes"][0]["pixels"] == scene.water.sum()


def test_one_bad_tile_of_64_costs_twelve_more_calls(make_scene, measure, monkeypatch):
    """64, then the halves of whatever holds it: 32 + 32, 16 + 16, ... 1 + 1."""
    model = Odd(broken, bad="r0005c0002")
    monkeypatch.setattr(flows.job, "open_gate", lambda *_: model)
    summary = measure(make_scene((256, 256)), *ALL, "tile.batch=8", workers=1)
    assert (summary["tiles"]["failed"], summary["tiles"]["positive"]) == (1, 63)
    assert sorted(model.calls, reverse=True) == [64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]


def test_a_stack_too_large_for_the_memory_is_scored_in_pieces_that_fit(make_scene, measure, monkeypatch):
    class Small(Odd):
        def score(self, stack):
            self.calls.append(len(stack))
            return self._gate.score(stack) if len(stack) <= 5 else np.empty((len(stack), 1 << 50))

    model, scene = Small(), make_scene((256, 256))
    monkeypatch.setattr(flows.job, "open_gate", lambda *_: model)
    summary = measure(scene, *ALL, "tile.batch=8", workers=1)
    assert summary["status"] == "complete"
    assert summary["area"]["classes"][0]["pixels"] == scene.water.sum()
    assert sorted(model.calls, reverse=True) == [64] + 2 * [32] + 4 * [16] + 8 * [8] + 16 * [4]


class Hurt:
    """A source that raises when it is asked for a window that `hits`, px of the image."""

    def __init__(self, source, hits, error):
        self._source, self._hits, self._error = source, hits, error
        self.info, self.close = source.info, source.close

    def read(self, window, plane):
        y, x = plane.scale
        box = Window(
            y=int(window.y * y), x=int(window.x * x), height=int(window.height * y), width=int(window.width * x)
        )
        if self._hits(box, plane):
            raise self._error
        return self._source.read(window, plane)


def hurt(monkeypatch, hits, error):
    monkeypatch.setattr(flows.job, "open_source", lambda spec: Hurt(open_source(spec), hits, error))


@pytest.mark.parametrize("stage", ["gate", "segment"])
@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (MemoryError("Unable to allocate"), "failed", "reading: MemoryError: Unable to allocate"),
        (IndexError("list index out of range"), "failed", "reading: IndexError: list index"),
        (OSError(errno.EIO, "Input/output error"), "unreadable", "reading: OSError: [Errno 5]"),
        (TimeoutError("no answer"), "unreadable", "reading: TimeoutError: no answer"),
        (OSError("https://me:secret@host/a.tif?sig=abc"), "unreadable", "reading: OSError: https://host/a.tif"),
    ],
)  # fmt: skip
def test_a_source_that_fails_on_one_tile(make_scene, measure, monkeypatch, table, stage, error, state, reason):
    scale = {"gate": 4.0, "segment": 1.0}[stage]
    hurt(monkeypatch, lambda box, plane: plane.scale[0] == scale and box.intersection(CORE) is not None, error)
    scene = make_scene((128, 128))
    require_one_hole(measure(scene, *ALL), scene, table(), state, reason)


def test_a_batch_too_large_for_the_memory_is_read_tile_by_tile(make_scene, measure, monkeypatch):
    hurt(monkeypatch, lambda box, _: box.height > 32, MemoryError("Unable to allocate"))
    scene = make_scene((128, 128))
    summary = measure(scene, *ALL)
    assert summary["status"] == "complete"
    assert summary["area"]["classes"][0]["pixels"] == scene.water.sum()


def test_bad_input_is_no_hole(make_scene, measure, monkeypatch):
    hurt(monkeypatch, lambda box, _: box.intersection(CORE) is not None, BadInput("there is no such band"))
    with pytest.raises(BadInput, match="no such band"):
        measure(make_scene((128, 128)), *ALL)
