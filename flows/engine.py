"""Who does the spans: threads of this process, or Prefect. Both run the same functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Protocol, TypeVar

from flows.gate_stage import gate_span
from flows.segment_stage import segment_span
from flows.span import BatchKey, SegmentBatch, SpanReport

T = TypeVar("T")


class Engine(Protocol):
    """Runs the spans of a stage in any order, in parallel."""

    workers: int
    """How many spans run at once."""

    def gate(self, run_path: str, spans: Sequence[list[BatchKey]]) -> Iterator[SpanReport]:
        """Stage 1; yields a report as each span ends. An error in one ends the run after the others."""

    def segment(self, run_path: str, spans: Sequence[list[SegmentBatch]]) -> Iterator[SpanReport]:
        """Stage 2, likewise."""


class LocalEngine:
    """Threads: decoders, numpy and the runtimes release the GIL."""

    def __init__(self, workers: int | None = None) -> None:
        """workers: threads; the number of cores when None."""
        self.workers = workers or os.cpu_count() or 1

    def gate(self, run_path: str, spans: Sequence[list[BatchKey]]) -> Iterator[SpanReport]:
        """See Engine."""
        return self._in_threads(lambda span: gate_span(run_path, span), spans)

    def segment(self, run_path: str, spans: Sequence[list[SegmentBatch]]) -> Iterator[SpanReport]:
        """See Engine."""
        return self._in_threads(lambda span: segment_span(run_path, span), spans)

    def _in_threads(self, do: Callable[[list[T]], SpanReport], spans: Sequence[list[T]]) -> Iterator[SpanReport]:
        pool = ThreadPoolExecutor(self.workers)
        try:
            for done in as_completed([pool.submit(do, span) for span in spans]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C or an error waits for the spans that run, not for the rest


_: type[Engine] = LocalEngine
