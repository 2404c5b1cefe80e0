"""Steps that overlap: while one tile is segmented the next ones are read and the last ones written. Bounded, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from threading import Thread
from typing import TypeVar

from classifiers.machine import own_cores

T = TypeVar("T")
R = TypeVar("R")


def ahead(pool: Executor, do: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """do(item) for each item, in order; the pool works on up to `depth` items after the one that is asked for.

    Items are drawn in the thread that asks, as late as that allows: chained, the steps are queues of bounded length. What
    an item raises is raised in its place. Leave the pool's `with` to wait for what was begun.
    """
    begun: deque[Future[R]] = deque()
    for item in items:
        begun.append(pool.submit(copy_context().run, do, item))
        if len(begun) > depth:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def begun(do: Callable[[], R]) -> Future[R]:
    """do() in a thread of its own, which nobody waits for: leaving the program early leaves it, too."""
    promise: Future[R] = Future()

    def keep() -> None:
        try:
            promise.set_result(do())
        except BaseException as error:  # raised by result(), where somebody asks
            promise.set_exception(error)

    Thread(target=copy_context().run, args=(keep,), daemon=True).start()
    return promise


def models() -> Executor:
    """Where models compute, for all spans of this process: a thread per core, so a span that is left alone has them all."""
    return _models_of(os.getpid())  # a forked process has none of its parent's threads


@cache
def _models_of(process: int) -> Executor:
    return ThreadPoolExecutor(own_cores(), f"model-{process}")
