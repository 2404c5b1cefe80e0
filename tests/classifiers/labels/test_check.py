"""What is wrong with labels, planted and found."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from classifiers.labels.check import check_tiles
from classifiers.labels.confident import label_errors, out_of_fold
from classifiers.labels.descriptors import descriptors
from classifiers.labels.sample import LabelledTiles, Sample
from tiling.info import PixelSize

CLASSES = ("calm", "striped", "rough")


def textured(count: int, seed: int = 0):
    """Three kinds of tiles in turn, of any brightness: pixels (n, 3, 32, 32), kinds (n,)."""
    random = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    base = random.uniform(60, 180, (count, 3, 1, 1)) + random.normal(0, 3, (count, 3, 32, 32))
    stripes = 25 * np.sin(np.arange(32) * random.uniform(0.8, 1.6, (count, 1)))[:, None, None, :]
    rough = random.normal(0, 25, base.shape)
    pixels = (
        base
        + np.where(kinds[:, None, None, None] == 1, stripes, 0)
        + np.where(kinds[:, None, None, None] == 2, rough, 0)
    )
    return pixels.clip(0, 255).astype(np.uint8), kinds


def labelled(pixels, labels, *, exclusive: bool = True, groups=None, fractions=None) -> LabelledTiles:
    n, side = len(pixels), pixels.shape[-1]
    labels = np.asarray(labels, np.float32)
    return LabelledTiles(
        samples=tuple(Sample(name=f"{i}", group=f"{i if groups is None else groups[i]}") for i in range(n)),
        classes=CLASSES[: labels.shape[1]],
        exclusive=exclusive,
        bands=("red", "green", "blue"),
        pixel_size=PixelSize(y=1, x=1, unit="m"),
        tile_px=side,
        halo_px=0,
        pixels=pixels,
        valid=np.ones((n, side, side), bool),
        labels=labels,
        fractions=labels if fractions is None else np.asarray(fractions, np.float32),
    )


def test_planted_label_errors_are_found_and_hardly_anything_else() -> None:
    pixels, kinds = textured(600)
    wrong = np.random.default_rng(5).choice(600, 30, replace=False)
    given = kinds.copy()
    given[wrong] = (kinds[wrong] + 1) % 3
    suspects = check_tiles(labelled(pixels, np.eye(3)[given], groups=np.arange(600) // 4)).suspects
    found = [int(suspect.name) for suspect in suspects]
    assert len(set(found) & set(wrong)) >= 28
    assert len(set(found) - set(wrong)) <= 6
    assert set(found[:25]) <= set(wrong)
    first = suspects[0]
    assert (first.given, first.likely) == (CLASSES[given[found[0]]], CLASSES[kinds[found[0]]])
    assert first.doubt == max(suspect.doubt for suspect in suspects) > 0.5


def test_errors_are_found_class_by_class_where_classes_may_meet() -> None:
    pixels, kinds = textured(400)
    labels = np.stack([kinds == 0, kinds == 2], axis=1).astype(float)
    wrong = {10: 0, 33: 0, 125: 1, 250: 1}
    for tile, column in wrong.items():
        labels[tile, column] = 1 - labels[tile, column]
    found = {(int(s.name), s.given, s.likely) for s in check_tiles(labelled(pixels, labels, exclusive=False)).suspects}
    for tile, column in wrong.items():
        words = (f"not {CLASSES[column]}", CLASSES[column])
        assert (tile, words[int(labels[tile, column])], words[1 - int(labels[tile, column])]) in found
    assert len(found) <= 12


def test_a_tile_with_a_little_of_a_class_is_not_doubted() -> None:
    pixels, kinds = textured(300)
    labels, fractions = np.ones((300, 1)) * (kinds == 2)[:, None], np.ones((300, 1)) * (kinds == 2)[:, None]
    labels[30] = 1
    fractions[30] = 0.02
    suspects = check_tiles(labelled(pixels, labels, exclusive=False, fractions=fractions)).suspects
    assert "30" not in {suspect.name for suspect in suspects}
    fractions[30] = 0.9
    suspects = check_tiles(labelled(pixels, labels, exclusive=False, fractions=fractions)).suspects
    assert "30" in {suspect.name for suspect in suspects}


def test_tiles_are_judged_by_other_groups_only() -> None:
    # each patient has a colour of its own and one wrong label for all: seen alone, colour would explain it
    pixels, kinds = textured(300)
    patients = np.arange(300) // 30
    given = np.where(patients == 4, (kinds + 1) % 3, kinds)
    found = {int(s.name) for s in check_tiles(labelled(pixels, np.eye(3)[given], groups=patients)).suspects}
    assert len(found & set(np.flatnonzero(patients == 4))) >= 25


def test_copies_contradictions_and_blank_tiles_are_told() -> None:
    pixels, kinds = textured(12)
    pixels[5] = pixels[2]
    pixels[7], pixels[9] = pixels[1], 255
    pixels[10] = pixels[3] ^ 1
    found = check_tiles(labelled(pixels, np.eye(3)[kinds]), linked=[(3, 10)])
    assert found.copies == (("1", "7"), ("2", "5"))
    assert found.blank == ("9",)
    assert found.contradictions == (("3: calm", "10: striped"),)


def test_copies_with_other_labels_contradict_each_other() -> None:
    pixels, kinds = textured(6)
    pixels[1] = pixels[0]
    assert check_tiles(labelled(pixels, np.eye(3)[kinds])).contradictions == (("0: calm", "1: striped"),)


def test_balance_is_told_and_classes_too_rare_to_doubt_are_named() -> None:
    pixels, kinds = textured(200)
    kinds = np.where(np.arange(200) < 196, kinds % 2, 2)
    found = check_tiles(labelled(pixels, np.eye(3)[kinds]))
    assert found.balance == {"calm": 131, "striped": 65, "rough": 4}
    lines = "\n".join(found.lines())
    assert "200 tiles in 200 groups: calm 131 (66 %), striped 65 (32 %), rough 4 (2 %)" in lines
    assert "classes are unequal: 4 tiles of rough, 131 of calm" in lines
    assert "too few tiles or groups to doubt these labels: rough" in lines
    assert "rough" not in {suspect.given for suspect in found.suspects}


def test_what_was_found_is_json() -> None:
    pixels, kinds = textured(60)
    pixels[1] = pixels[0]
    kinds[33] = 1
    found = check_tiles(labelled(pixels, np.eye(3)[kinds]))
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["balance"] == {"calm": 19, "striped": 21, "rough": 20}
    assert told["copies"] == [["0", "1"]]


@pytest.mark.parametrize("tiles", [0, 1, 9])
def test_very_little_data_is_checked_as_far_as_it_goes(tiles: int) -> None:
    pixels, kinds = textured(tiles)
    found = check_tiles(labelled(pixels, np.eye(3)[kinds]))
    assert found.tiles == tiles
    assert found.suspects == ()


def test_label_errors_of_a_small_example_by_hand() -> None:
    # mean of class 0 over its tiles: (0.9 + 0.25 + 0.45 + 0.9) / 4 = 0.625; of class 1: (0.8 + 0.95 + 0.35) / 3 = 0.7
    # confident are 0, 3 | 1 of those labelled 0, and 4, 5 | 6 of those labelled 1: a third of each is to be doubted
    probability = np.array([[0.9, 0.1], [0.25, 0.75], [0.45, 0.55], [0.9, 0.1], [0.2, 0.8], [0.05, 0.95], [0.65, 0.35]])
    given = np.array([0, 0, 0, 0, 1, 1, 1])
    assert label_errors(probability, given).tolist() == [0, 1, 0, 0, 1, 1, 0]


def test_a_class_that_other_folds_lack_is_not_guessed() -> None:
    probability = out_of_fold(np.arange(6.0)[:, None], np.array([0, 0, 0, 0, 1, 1]), 2, np.array([0, 1, 0, 1, 2, 2]))
    assert probability[4:].tolist() == [[1, 0], [1, 0]]


def test_without_scikit_learn_the_rest_is_checked(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    pixels, kinds = textured(90)
    found = check_tiles(labelled(pixels, np.eye(3)[kinds]))
    assert found.balance == dict.fromkeys(CLASSES, 30)
    assert "tilegate[train]" in found.lines()[-1]


@pytest.mark.parametrize("side", [1, 2, 4, 5])
def test_tiny_and_infinite_tiles_are_checked(side: int) -> None:
    pixels = np.random.default_rng(1).random((40, 2, side, side), np.float32)
    pixels[3, 0, 0, 0], pixels[4, 0, 0, 0] = np.inf, 1e38
    tiles = labelled(pixels, np.eye(2)[np.repeat([0, 1], 20)])
    assert np.isfinite(descriptors(tiles)).all()
    assert check_tiles(tiles).tiles == 40
