"""Trying again: how often, how long, and when not to."""

from __future__ import annotations

import random

import pytest

from tiling.retry import GaveUp, Line, Patience, retrying


class Clock:
    def __init__(self):
        self.now, self.waits = 1000.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def failing(times, clock=None, cost_s=0.0):
    """A call that fails so often, then gives "done"; each takes cost_s."""
    left = [times]

    def do():
        if clock:
            clock.now += cost_s
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(f"{left[0]} left")
        return "done"

    return do


def patient(clock, uniform=lambda low, high: high, **changes):
    return Patience(sleep=clock.sleep, clock=clock, uniform=uniform, first_delay_s=1.0, **changes)


def test_waits_double_and_end():
    clock = Clock()
    assert retrying(failing(3), lambda *_: True, patient(clock, attempts=4)) == "done"
    assert clock.waits == [1, 2, 4]
    with pytest.raises(GaveUp, match="tried 4 times in 7 s") as seen:
        retrying(failing(4), lambda *_: True, patient(Clock(), attempts=4))
    assert str(seen.value.__cause__) == "0 left"


def test_the_wait_is_anything_up_to_the_longest():
    waits = []
    for seed in range(200):
        clock = Clock()
        retrying(failing(2), lambda *_: True, patient(clock, random.Random(seed).uniform, attempts=3))
        waits.append(clock.waits)
    first, second = zip(*waits, strict=True)
    assert min(first) < 0.05
    assert 0.95 < max(first) <= 1
    assert min(second) < 0.1
    assert 1.9 < max(second) <= 2


def test_no_attempt_starts_after_the_limit():
    clock = Clock()
    with pytest.raises(GaveUp, match="tried 2 times in 20 s"):
        retrying(failing(9, clock, 9.5), lambda *_: True, patient(clock, attempts=9, last_start_s=20))
    assert clock.waits == [1]


def test_what_will_not_pass_is_not_tried_again():
    clock = Clock()
    with pytest.raises(GaveUp, match="tried once"):
        retrying(failing(1), lambda *_: False, patient(clock))
    with pytest.raises(GaveUp, match="tried 3 times"):
        retrying(failing(9), lambda _, attempts: attempts < 3, patient(clock))


def test_a_line_tires_rests_and_recovers():
    clock = Clock()
    line = Line(clock=clock)
    for _ in range(3):
        assert not line.tired()
        line.failed("HTTP 500")
    assert line.tired()
    assert not line.dead(closed=False)  # some of it can be had
    assert line.dead(closed=True)
    clock.now += 16
    assert not line.dead(closed=True)  # time for one more attempt
    line.worked()
    assert not line.tired()
    for _ in range(3):
        line.failed("HTTP 500")
    clock.now += 121
    assert not line.tired()
