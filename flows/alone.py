"""A suspected batch in a process of its own: when that dies, its tiles have failed, and the run goes on."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict

from flows.gate_stage import gate_span
from flows.segment_stage import segment_span
from flows.span import BatchKey, SegmentBatch, SpanReport, TileKey, report_span
from flows.supervise import die_with_parent
from storage.ledger import BatchRecord, Stage
from storage.run import Run
from tiling.record import TileRecord
from tiling.state import State

log = logging.getLogger("tilegate")


def gate_alone(run_uri: str, key: BatchKey) -> SpanReport:
    """Stage 1 of one batch. An error that is no death is raised here, where it can be told."""
    code = _child("gate", run_uri, key)
    if code < 0:
        run = Run.open(run_uri)
        return _died(run, "gate", key, [(tile.row, tile.col) for tile in run.plan.grid.batch(*key).tiles], -code)
    return _done(run_uri, "gate", key) if code == 0 else gate_span(run_uri, [key])


def segment_alone(run_uri: str, batch: SegmentBatch) -> SpanReport:
    """Stage 2 of one batch, likewise."""
    code, key = _child("segment", run_uri, asdict(batch)), (batch.row, batch.col)
    if code < 0:
        return _died(Run.open(run_uri), "segment", key, batch.tiles, -code)
    return _done(run_uri, "segment", key) if code == 0 else segment_span(run_uri, [batch])


def _child(stage: Stage, run_uri: str, batch: object) -> int:
    """Exit code; minus the signal's number when the child was killed by one."""
    command = [sys.executable, "-m", "flows.alone", str(os.getpid()), stage, run_uri, json.dumps(batch)]
    quiet = subprocess.DEVNULL  # an error that is no death is told when it is done again in this process
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as child:  # noqa: S603 (our own interpreter)
        try:
            return child.wait()
        except BaseException:  # told to stop
            child.kill()
            raise


def _died(run: Run, stage: Stage, key: BatchKey, tiles: list[TileKey] | tuple[TileKey, ...], number: int) -> SpanReport:
    name = signal.Signals(number).name
    reason = f"{stage}: the process died of {name} at this batch, more than once; a damaged file, or too little memory"
    log.warning("batch r%04dc%04d: %s", *key, reason)
    failed = tuple(TileRecord(row=row, col=col, state=State.FAILED, reason=reason) for row, col in tiles)
    record = BatchRecord(stage=stage, row=key[0], col=key[1], tiles=failed, shards={}, seconds=0.0)
    run.commit(record)
    return report_span([record], 0.0)


def _done(run_uri: str, stage: Stage, key: BatchKey) -> SpanReport:
    found = [record for record in Run.open(run_uri).committed(stage) if (record.row, record.col) == key]
    return report_span(found, sum(record.seconds for record in found))


def _main(parent: str, stage: str, run_uri: str, text: str) -> None:
    die_with_parent(int(parent))  # with it the lock of the run is gone
    batch = json.loads(text)
    if stage == "gate":
        gate_span(run_uri, [(batch[0], batch[1])])
    else:
        roles = {name: tuple((row, col) for row, col in batch[name]) for name in ("positive", "audited")}
        segment_span(run_uri, [SegmentBatch(row=batch["row"], col=batch["col"], **roles)])


if __name__ == "__main__":
    _main(*sys.argv[1:])
