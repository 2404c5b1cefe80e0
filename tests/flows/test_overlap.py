"""Steps of a pipeline: in order, bounded, and none of them goes on when one fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from threading import Barrier, Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.overlap import ahead, begun, models

CHOSEN: ContextVar[str] = ContextVar("chosen", default="nothing")


@given(items=st.lists(st.integers(), max_size=30), threads=st.integers(1, 4), depth=st.integers(0, 5))
def test_answers_come_in_order(items, threads, depth):
    with ThreadPoolExecutor(threads) as pool:
        assert list(ahead(pool, lambda item: item * 2, items, depth)) == [item * 2 for item in items]


@given(depths=st.tuples(st.integers(0, 4), st.integers(0, 4)), count=st.integers(1, 30))
def test_no_step_runs_further_ahead_than_its_depth(depths, count):
    drawn: list[int] = []

    def items():
        for item in range(count):
            drawn.append(item)
            yield item

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        answers = ahead(second, int, ahead(first, int, items(), depths[0]), depths[1])
        for answer in answers:
            assert len(drawn) <= answer + 1 + sum(depths)
    assert drawn == list(range(count))


def test_steps_overlap():
    """The second item is begun while the first waits for it: without overlap this would break the barrier."""
    meeting = Barrier(2, timeout=30)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(ahead(pool, lambda _: meeting.wait(), range(2), 1)) == [0, 1]


def test_an_error_is_raised_in_its_place_and_nothing_is_begun_after_it():
    begun: list[int] = []

    def third_fails(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("the third")
        return item

    with ThreadPoolExecutor(1) as pool:
        answers = ahead(pool, third_fails, range(100), 3)
        assert [next(answers), next(answers)] == [0, 1]
        with pytest.raises(ValueError, match="the third"):
            next(answers)
    assert begun == list(range(6))  # the third, and three ahead of it


def test_work_hears_what_its_span_was_told():
    token = CHOSEN.set("this span")
    try:
        with ThreadPoolExecutor(1) as pool:
            assert list(ahead(pool, lambda _: CHOSEN.get(), range(2), 1)) == ["this span"] * 2
    finally:
        CHOSEN.reset(token)


def test_all_spans_share_one_pool_of_models():
    """However many spans run, no more models compute at once than there are threads for."""
    assert models() is models()
    most, now, lock, several = 0, 0, threading.Lock(), Event()

    def compute(_: int) -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        several.wait(0.01)
        with lock:
            now -= 1

    with ThreadPoolExecutor(6) as spans:
        list(spans.map(lambda _: list(ahead(models(), compute, range(8), 4)), range(6)))
    assert 1 <= most <= models()._max_workers


def test_what_is_begun_answers_or_raises_where_it_is_asked() -> None:
    assert begun(lambda: 2 + 2).result() == 4
    broken = begun(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        broken.result()
