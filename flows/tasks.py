"""The spans as Prefect tasks: one task run per span, small plain values in and out, retries for what may pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import task_run
from prefect.tasks import Task, exponential_backoff

from flows.engine import Engine
from flows.gate_stage import gate_span
from flows.segment_stage import segment_span
from flows.span import BatchKey, SegmentBatch, SpanReport
from flows.stopping import heeding
from tiling.errors import BadInput

T = TypeVar("T")


def is_passing(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry what another try may cure (disk, network, time-outs, memory), never bad input and never a bug."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, (OSError, MemoryError)) and not isinstance(error, BadInput)


def _span_name() -> str:
    batches = task_run.parameters["batches"]
    first = batches[0]
    row, col = (first.row, first.col) if isinstance(first, SegmentBatch) else first
    more = f" and {len(batches) - 1} more" if len(batches) > 1 else ""
    return f"{task_run.task_name} batch r{row:04d}c{col:04d}{more}"


RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_passing,
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "task_run_name": _span_name,
}
gate_task = task(name="gate", description="Screen and score tiles on the gate plane.", **RETRIES)(gate_span)
segment_task = task(name="segment", description="Segment, count and store tiles.", **RETRIES)(segment_span)


class PrefectEngine:
    """One task run per span, on whatever task runner the flow has."""

    def __init__(self, workers: int) -> None:
        """workers: how many spans run at once, so that each gets one."""
        self.workers = workers

    def gate(self, run_path: str, spans: Sequence[list[BatchKey]]) -> Iterator[SpanReport]:
        """See Engine."""
        return _finished(gate_task, run_path, spans)

    def segment(self, run_path: str, spans: Sequence[list[SegmentBatch]]) -> Iterator[SpanReport]:
        """See Engine."""
        return _finished(segment_task, run_path, spans)


def _finished(task: Task[[str, list[T]], SpanReport], run_path: str, spans: Sequence[list[T]]) -> Iterator[SpanReport]:
    stop = Event()
    try:
        with heeding(stop, run_path):  # Prefect's threads copy this context; workers of Dask do not, their spans end
            futures: list[PrefectFuture[SpanReport]] = [task.submit(run_path, span) for span in spans]
        for future in as_completed(futures):
            yield future.result()
    finally:
        stop.set()  # a cancelled flow run, or an error in one span


_: type[Engine] = PrefectEngine
