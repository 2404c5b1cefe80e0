"""Parts that share nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.labels.sample import LabelledTiles, Sample, Split
from classifiers.labels.split import gaps, leaks, split_tiles
from classifiers.training.settings import SplitSettings
from tiling.errors import BadInput
from tiling.info import PixelSize

PARTS = ("train", "validation", "test")


def labelled(groups, labels, parts=None, exclusive: bool = True, fractions=None, pixels=None) -> LabelledTiles:
    """Tiles of noise, named after their position."""
    n, labels = len(groups), np.asarray(labels, np.float32)
    noise = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    return LabelledTiles(
        samples=tuple(
            Sample(name=f"{i:05}", group=str(group), part=parts[i] if parts else None) for i, group in enumerate(groups)
        ),
        classes=tuple(f"class {i}" for i in range(labels.shape[1])),
        exclusive=exclusive,
        bands=("grey",),
        pixel_size=PixelSize(y=1, x=1, unit="m"),
        tile_px=8,
        halo_px=0,
        pixels=noise if pixels is None else pixels,
        valid=np.ones((n, 8, 8), bool),
        labels=labels,
        fractions=labels if fractions is None else np.asarray(fractions, np.float32),
    )


def names(tiles: LabelledTiles, split: Split) -> dict[str, set[str]]:
    return {part: {tiles.samples[i].name for i in split.of(part)} for part in PARTS}


@st.composite
def grouped(draw) -> tuple[LabelledTiles, list[tuple[int, int]]]:
    """Any tiles of 1 to 3 classes that may meet, in groups, some of them linked."""
    n, classes = draw(st.integers(3, 40)), draw(st.integers(1, 3))
    groups = draw(st.lists(st.integers(0, 15), min_size=n, max_size=n))
    labels = draw(st.lists(st.lists(st.booleans(), min_size=classes, max_size=classes), min_size=n, max_size=n))
    linked = draw(
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1]), max_size=4)
    )
    return labelled(groups, labels, exclusive=False), linked


@settings(max_examples=50)
@given(grouped(), st.integers(0, 3))
def test_every_tile_is_in_one_part_and_nothing_leaks(case, seed: int) -> None:
    tiles, linked = case
    try:
        split = split_tiles(tiles, SplitSettings(seed=seed), linked)
    except BadInput:
        with pytest.raises(BadInput, match="held out whole"):
            split_tiles(tiles, SplitSettings(seed=seed), linked)
        return
    found = np.concatenate([split.of(part) for part in PARTS])
    assert sorted(found) == list(range(len(tiles)))
    assert all(len(split.of(part)) and (np.diff(split.of(part)) > 0).all() for part in PARTS)
    assert leaks(tiles, split, linked) == ()


@settings(max_examples=50)
@given(grouped(), st.randoms(use_true_random=False))
def test_the_order_of_tiles_does_not_matter(case, random) -> None:
    tiles, linked = case
    order = list(range(len(tiles)))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    moved = [tuple(sorted((place[i], place[j]))) for i, j in linked]
    try:
        split = split_tiles(tiles, SplitSettings(), linked)
    except BadInput:
        with pytest.raises(BadInput):
            split_tiles(tiles.pick(order), SplitSettings(), moved)
        return
    again = tiles.pick(order)
    assert names(again, split_tiles(again, SplitSettings(), moved)) == names(tiles, split)


def test_single_tiles_are_shared_out_class_by_class() -> None:
    random = np.random.default_rng(0)
    labels = np.eye(4)[random.choice(4, 1000, p=[0.7, 0.2, 0.08, 0.02])]
    tiles = labelled(range(1000), labels)
    split = split_tiles(tiles, SplitSettings(validation=0.15, test=0.25))
    for part, share in zip(PARTS, (0.6, 0.15, 0.25), strict=True):
        wanted = share * labels.sum(axis=0)
        assert np.abs(labels[split.of(part)].sum(axis=0) - wanted).max() <= 1.5


def test_patients_of_unequal_size_are_shared_out_class_by_class() -> None:
    random = np.random.default_rng(1)
    groups = random.choice(60, 3000, p=random.dirichlet(np.ones(60)))
    labels = (random.random((3000, 1)) < random.random(60)[groups][:, None]).astype(float)
    tiles = labelled(groups, labels, exclusive=False)
    split = split_tiles(tiles, SplitSettings())
    for part, share in zip(PARTS, (0.65, 0.15, 0.2), strict=True):
        own = labels[split.of(part)]
        assert len(own) / 3000 == pytest.approx(share, abs=0.02)
        assert own.sum() / labels.sum() == pytest.approx(share, abs=0.02)


def test_a_class_in_three_groups_is_in_every_part_and_in_two_in_train_and_test() -> None:
    groups = np.arange(40)
    labels = np.zeros((40, 3))
    labels[:, 0] = 1
    labels[[3, 17, 30], 1] = labels[[5, 9], 2] = 1
    tiles = labelled(groups, labels, exclusive=False)
    for seed in range(20):
        split = split_tiles(tiles, SplitSettings(seed=seed))
        held = {part: set(np.flatnonzero(labels[split.of(part)].any(axis=0))) for part in PARTS}
        assert held == {"train": {0, 1, 2}, "test": {0, 1, 2}, "validation": {0, 1}}
        assert "no tile of validation holds class 2: 2 of 40 do, in 2 groups" in gaps(tiles, split)


def test_area_is_shared_out_not_only_the_number_of_tiles() -> None:
    random = np.random.default_rng(2)
    scenes = np.repeat(np.arange(34), 16)
    fractions = (0.02 + 0.98 * random.random(34) ** 2)[scenes][:, None]
    tiles = labelled(scenes, np.ones((len(scenes), 1)), exclusive=False, fractions=fractions)
    split = split_tiles(tiles, SplitSettings(test=0.25))
    assert fractions[split.test].mean() == pytest.approx(fractions.mean(), rel=0.1)


def test_another_seed_is_another_draw_and_the_same_seed_the_same() -> None:
    tiles = labelled(range(100), np.eye(2)[np.arange(100) % 2])
    drawn = [names(tiles, split_tiles(tiles, SplitSettings(seed=seed)))["test"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_the_data_says_is_kept_and_the_rest_drawn_from_train() -> None:
    parts = ["test"] * 30 + ["train"] * 70
    groups = [f"t{i}" for i in range(30)] + [f"g{i // 2}" for i in range(70)]
    tiles = labelled(groups, np.eye(2)[np.arange(100) % 2], parts)
    split = split_tiles(tiles, SplitSettings(validation=0.2, test=0.2))
    assert split.test.tolist() == list(range(30))
    assert len(split.validation) == pytest.approx(70 * 0.25, abs=1)
    assert leaks(tiles, split) == ()


def test_a_split_that_the_data_gives_whole_is_kept_whole() -> None:
    parts = [PARTS[i % 3] for i in range(9)]
    split = split_tiles(labelled(["same"] * 9, np.ones((9, 1)), parts), SplitSettings())
    assert [split.of(part).tolist() for part in PARTS] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_tiles_without_a_word_stay_with_their_group_that_is_held_out() -> None:
    parts = ["test", None, None, "train", "validation"]
    split = split_tiles(labelled(["a", "a", "b", "c", "d"], np.ones((5, 1)), parts), SplitSettings())
    assert [split.of(part).tolist() for part in PARTS] == [[2, 3], [4], [0, 1]]


def test_groups_with_tiles_in_test_are_not_drawn_for_validation() -> None:
    parts = ["test"] * 5 + ["train"] * 20
    groups = [f"p{i}" for i in range(5)] * 5
    extra = labelled([*groups, *range(10)], np.ones((35, 1)), [*parts, *["train"] * 10])
    split = split_tiles(extra, SplitSettings())
    assert set(split.validation) <= set(range(25, 35))


@pytest.mark.parametrize("groups", [["one"] * 50, ["one"] * 25 + ["two"] * 25])
def test_too_few_groups_to_hold_out_are_refused(groups) -> None:
    with pytest.raises(BadInput, match=f"the 50 tiles to draw from are of {len(set(groups))} group.*block_tiles"):
        split_tiles(labelled(groups, np.ones((50, 1))), SplitSettings())


def test_groups_that_duplicates_join_count_as_one() -> None:
    tiles = labelled(["a", "b", "c"], np.ones((3, 1)))
    split_tiles(tiles, SplitSettings())
    with pytest.raises(BadInput, match="are of 3 groups: a, b, c; 2 when"):
        split_tiles(tiles, SplitSettings(), [(0, 2)])


def test_classes_of_one_group_each_cannot_be_held_out() -> None:
    with pytest.raises(BadInput, match="every class must stay in train"):
        split_tiles(labelled(["a"] * 9 + ["b"] * 9 + ["c"] * 9, np.eye(3)[np.arange(27) // 9]), SplitSettings())


def test_shares_that_leave_nothing_to_learn_from_are_refused() -> None:
    tiles = labelled(range(10), np.ones((10, 1)))
    with pytest.raises(BadInput, match="together they must be below 1"):
        split_tiles(tiles, SplitSettings(validation=0.5, test=0.5))
    with pytest.raises(BadInput, match="all of its 10 tiles"):
        split_tiles(replace(tiles, samples=tuple(replace(s, part="test") for s in tiles.samples)), SplitSettings())


def test_a_part_of_share_zero_is_empty() -> None:
    tiles = labelled(range(20), np.ones((20, 1)))
    split = split_tiles(tiles, SplitSettings(validation=0.25, test=0))
    assert (len(split.train), len(split.validation), len(split.test)) == (15, 5, 0)
    assert "test has no tiles" in gaps(tiles, split)
    assert len(split_tiles(tiles, SplitSettings(validation=0, test=0)).train) == 20


def test_leaks_of_a_given_split_are_told_with_names_and_numbers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    pixels[4] = pixels[0]
    parts = ["train", "train", "validation", "test", "test", "test"]
    tiles = labelled(["p1", "p2", "p2", "p3", "p4", "p5"], np.ones((6, 1)), parts, pixels=pixels)
    found = leaks(tiles, split_tiles(tiles, SplitSettings()), [(0, 4), (1, 3)])
    assert found == (
        "leak: train and validation share 1 group: p2",
        "leak: test has the pixels of tiles of train in 1 tile: 00004 (00000)",
        "leak: test has what looks like tiles of train in 1 tile: 00003 (00001)",
    )


def test_a_class_that_every_tile_of_a_part_holds_is_told() -> None:
    tiles = labelled(
        range(6), [[1]] * 5 + [[0]], ["train", "validation", "test", "test", "train", "train"], exclusive=False
    )
    split = split_tiles(tiles, SplitSettings())
    assert gaps(tiles, split) == (
        "every tile of test holds class 0: it says nothing about false alarms",
        "every tile of validation holds class 0: it says nothing about false alarms",
    )
