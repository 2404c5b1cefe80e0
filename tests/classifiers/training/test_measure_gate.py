"""Thresholds, temperature and evidence of held-out tiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.training import measure_gate
from classifiers.training.measure_gate import domain, evidence, measure, recommended, temperature_of

Make = Callable[..., LabelledTiles]
Parts = Callable[[LabelledTiles], Split]


def test_the_threshold_lets_the_recall_through_for_every_class() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((300, 3)) < [0.5, 0.1, 0.3]).astype(np.float32)
    scores = np.clip(random.normal(0.2 + 0.3 * labels, 0.15), 0, 1).astype(np.float32)
    found = recommended(scores, labels, 0.95)
    recalls = [(scores[labels[:, i] > 0, i] >= found).mean() for i in range(3)]
    assert min(recalls) >= 0.95
    higher = [(scores[labels[:, i] > 0, i] >= found + 0.02).mean() for i in range(3)]
    assert min(higher) < 0.95


def test_the_threshold_is_one_half_at_most_and_without_positives() -> None:
    labels = np.array([[1], [1], [0]], np.float32)
    assert recommended(np.array([[0.99], [0.97], [0.1]], np.float32), labels, 0.99) == 0.5
    assert recommended(np.array([[0.99], [0.97], [0.1]], np.float32), labels * 0, 0.99) == 0.5


@given(true=st.floats(0.3, 4), exclusive=st.booleans())
def test_a_temperature_is_found_again(true: float, exclusive: bool) -> None:
    """Labels drawn from the probabilities of the cooled logits."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (4000, 3))
    if exclusive:
        powers = np.exp(logits)
        labels = np.array([random.multinomial(1, p / p.sum()) for p in powers])
    else:
        labels = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    found = temperature_of((logits * true).astype(np.float32), labels.astype(np.float32), exclusive=exclusive)
    assert found == pytest.approx(true, rel=0.1)


def test_few_tiles_without_a_mistake_do_not_make_it_certain() -> None:
    logits, labels = np.array([[2.0], [-2.0], [2.5], [-1.5]], np.float32), np.array([[1], [0], [1], [0]], np.float32)
    temperature = temperature_of(logits, labels, exclusive=False)
    probability = 1 / (1 + np.exp(-logits / temperature))
    assert 0.8 < probability[0, 0] < 0.99


def test_before_and_after_are_told(coloured: Make, thirds: Parts) -> None:
    """Logits that are sure of everything, and half of them wrong: calibrated by a high temperature."""
    tiles = coloured(800, exclusive=True)
    split = thirds(tiles)
    truth = tiles.labels[split.test]
    wrong = np.arange(len(truth)) % 4 == 0
    sure = np.where(wrong[:, None], 1 - truth, truth).astype(np.float32) * 10
    temperature = temperature_of(sure, truth, exclusive=True)
    found = measure((sure / np.float32(temperature)), tiles, split, temperature, 0.99)
    assert found.ece_before == pytest.approx(0.25, abs=0.01)
    assert found.figures["ece"] < 0.02
    assert found.metrics["accuracy"] == pytest.approx(0.75)
    assert found.metrics["ece_before"] == found.ece_before
    assert all(isinstance(value, float) for value in found.metrics.values())
    assert set(found.tables) == {"red", "green"}


def test_figures_that_are_not_defined_are_left_out(coloured: Make, thirds: Parts) -> None:
    tiles = coloured(40, ("red",), exclusive=False)
    tiles.labels[:] = 0
    found = measure(np.zeros((10, 1), np.float32), tiles, thirds(tiles), 1.0, 0.99)
    assert "roc_auc" not in found.metrics
    assert found.tables == {"red": []}


def test_very_much_evidence_is_drawn_from(coloured: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_gate, "_MOST_VALUES", 20)
    tiles = coloured(60)
    scores = np.random.default_rng(0).random((30, 2)).astype(np.float32)
    found = evidence(scores, tiles, np.arange(30, 60))
    assert len(found.tiles) == len(set(found.tiles)) == 10
    for name, row, labels in zip(found.tiles, found.scores, found.labels, strict=True):
        place = next(i for i, sample in enumerate(tiles.samples) if sample.name == name)
        assert row == pytest.approx(scores[place - 30], abs=1e-6)
        assert labels == tuple(tiles.labels[place])


def test_the_domain_is_of_training_tiles(coloured: Make, thirds: Parts) -> None:
    from classifiers.domain import describe, distance

    tiles = coloured(200)
    found = domain(tiles, thirds(tiles))
    assert found is not None
    assert found.tiles == 100
    dark = coloured(10)
    dark.pixels[:] //= 8
    own, other = (distance(describe(some.stack(range(10))), found) for some in (tiles, dark))
    assert (own < found.limit * 1.5).all()
    assert (other > found.limit).all()


def test_no_domain_of_tiles_too_small_to_describe(
    coloured: Make, thirds: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = coloured(8)
    tiles.valid[:, 2:] = False
    assert domain(tiles, thirds(tiles)) is None
    assert "no domain in the bundle" in caplog.text
