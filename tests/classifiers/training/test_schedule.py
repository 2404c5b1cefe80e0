"""Which tiles are drawn when, and the rates of the steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.training.schedule import draws, rate_factor
from classifiers.training.settings import FitSettings


@given(count=st.integers(2, 200), batch=st.integers(2, 50), epoch=st.integers(1, 5))
def test_an_epoch_sees_every_tile_once_in_even_batches(count: int, batch: int, epoch: int) -> None:
    steps = draws(np.ones(count), FitSettings(batch=batch), epoch)
    assert sorted(np.concatenate(steps)) == list(range(count))
    sizes = {len(step) for step in steps}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


@given(count=st.integers(2, 60), batch=st.integers(2, 50), steps=st.integers(1, 20))
def test_so_many_steps_see_all_tiles_equally_often(count: int, batch: int, steps: int) -> None:
    found = draws(np.ones(count), FitSettings(batch=batch, steps=steps), 1)
    assert [len(step) for step in found] == [min(batch, count)] * steps
    often = np.bincount(np.concatenate(found), minlength=count)
    assert often.max() - often.min() <= 1


def test_rare_tiles_are_drawn_by_their_odds() -> None:
    odds = np.array([8.0, 1, 1, 0])
    often = np.bincount(np.concatenate(draws(odds, FitSettings(batch=50, steps=400), 1)), minlength=4)
    assert often / often.sum() == pytest.approx([0.8, 0.1, 0.1, 0], abs=0.03)


def test_each_epoch_and_seed_has_its_own_order() -> None:
    orders = [
        np.concatenate(draws(np.ones(50), FitSettings(seed=seed), epoch)).tolist()
        for seed, epoch in ((1, 1), (1, 2), (2, 1))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] == np.concatenate(draws(np.ones(50), FitSettings(seed=1), 1)).tolist()


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    rates = [rate_factor(step, 200) for step in range(200)]
    top = int(np.argmax(rates))
    assert 5 <= top <= 15
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[top] > 0.98
    assert rates[100] == pytest.approx(0.5)
    assert rates[-1] < 0.001


def test_a_thawed_body_warms_up_by_itself() -> None:
    assert rate_factor(49, 200, 50) == 0
    assert 0 < rate_factor(50, 200, 50) < 0.15
    assert rate_factor(100, 200, 50) == rate_factor(100, 200)


def test_very_few_steps_learn_too() -> None:
    assert [rate_factor(step, 2) for step in range(2)] == pytest.approx([1, 0.5])
