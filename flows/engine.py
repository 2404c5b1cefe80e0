"""Who does the spans: threads of this process, or Prefect. Both run the same functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from threading import Event
from typing import Protocol, TypeVar

from flows.gate_stage import gate_span
from flows.segment_stage import segment_span
from flows.span import BatchKey, SegmentBatch, SpanReport
from flows.stopping import heeding

T = TypeVar("T")


class Engine(Protocol):
    """Runs the spans of a stage in any order, in parallel."""

    workers: int
    """How many spans run at once."""

    def gate(self, run_path: str, spans: Sequence[list[BatchKey]]) -> Iterator[SpanReport]:
        """Stage 1; yields a report as each span ends. An error in one, or leaving early, stops the others."""

    def segment(self, run_path: str, spans: Sequence[list[SegmentBatch]]) -> Iterator[SpanReport]:
        """Stage 2, likewise."""


class LocalEngine:
    """Threads: decoders, numpy and the runtimes release the GIL."""

    def __init__(self, workers: int | None = None) -> None:
        """workers: threads; the number of cores when None."""
        self.workers = workers or os.cpu_count() or 1

    def gate(self, run_path: str, spans: Sequence[list[BatchKey]]) -> Iterator[SpanReport]:
        """See Engine."""
        return self._in_threads(gate_span, run_path, spans)

    def segment(self, run_path: str, spans: Sequence[list[SegmentBatch]]) -> Iterator[SpanReport]:
        """See Engine."""
        return self._in_threads(segment_span, run_path, spans)

    def _in_threads(
        self, do: Callable[[str, list[T]], SpanReport], run_path: str, spans: Sequence[list[T]]
    ) -> Iterator[SpanReport]:
        pool, stop = ThreadPoolExecutor(self.workers), Event()
        try:
            with heeding(stop, run_path):
                running = [pool.submit(copy_context().run, do, run_path, span) for span in spans]
            for done in as_completed(running):
                yield done.result()
        finally:
            stop.set()  # Ctrl-C or an error waits for what each thread does until its next checkpoint, no longer
            pool.shutdown(cancel_futures=True)


_: type[Engine] = LocalEngine
