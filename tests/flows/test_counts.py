"""Cost by exact counts: reads of the image and writes of shards, not seconds."""

from collections import Counter

import flows.job
from storage.run import Run
from tiling.open import open_source


class Counting:
    """A source that notes which planes are read."""

    def __init__(self, source, reads):
        self._source, self._reads = source, reads
        self.info = source.info

    def read(self, window, plane):
        self._reads[round(plane.scale[0])] += 1
        return self._source.read(window, plane)

    def close(self):
        self._source.close()


def test_one_read_per_batch_at_the_gate_and_one_per_tile_let_through(make_scene, measure, monkeypatch, tmp_path):
    reads: Counter[int] = Counter()
    monkeypatch.setattr(flows.job, "open_source", lambda spec: Counting(open_source(spec), reads))
    written: Counter[str] = Counter()
    write = Run._write
    monkeypatch.setattr(Run, "_write", lambda run, name, *rest: written.update([name]) or write(run, name, *rest))
    summary = measure(make_scene(), "gate.threshold=0.3", "gate.ring=0", "audit.tiles=5")
    looked_at = summary["tiles"]["positive"] + summary["tiles"]["audited"]
    batches = len(list((tmp_path / "run/ledger/segment").iterdir()))
    assert reads == {4: 25, 1: looked_at}  # 5 x 5 batches of 2 x 2 tiles
    assert 0 < looked_at < 90
    assert written == {"pixels/gate": 25, "pixels/fine": batches, "mask/0": batches}  # each shard once
