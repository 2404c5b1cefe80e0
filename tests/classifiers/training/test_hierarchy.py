"""Parents implied by children."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from classifiers.labels.sample import LabelledTiles
from classifiers.training.hierarchy import positions, with_parents
from tiling.errors import BadInput

Make = Callable[..., LabelledTiles]


def test_a_tile_of_a_child_is_of_its_parents(coloured: Make) -> None:
    tiles = coloured(6, ("oak", "beech", "water"))
    found = with_parents(tiles, {"oak": "broadleaf", "beech": "broadleaf", "broadleaf": "forest"})
    assert found.classes == ("oak", "beech", "water", "broadleaf", "forest")
    assert not found.exclusive
    kind = np.arange(6) % 3
    expected = np.stack([kind == 0, kind == 1, kind == 2, kind < 2, kind < 2], axis=1)
    assert (found.labels == expected).all()
    assert (found.fractions == expected).all()
    assert tiles.labels.shape == (6, 3)


def test_a_parent_that_is_labelled_by_itself_keeps_its_tiles(coloured: Make) -> None:
    found = with_parents(coloured(6, ("oak", "forest", "water")), {"oak": "forest"})
    assert found.classes == ("oak", "forest", "water")
    assert found.labels[:, 1].tolist() == [1, 1, 0, 1, 1, 0]


def test_shares_of_children_add_up(coloured: Make) -> None:
    tiles = coloured(4, ("oak", "beech"))
    tiles.fractions[:] = [[0.25, 0.5], [0, 0.1], [1, 0], [0.75, 0.75]]
    found = with_parents(tiles, {"oak": "forest", "beech": "forest"})
    assert found.fractions[:, 2] == pytest.approx([0.75, 0.1, 1, 1])


def test_without_parents_nothing_changes(coloured: Make) -> None:
    tiles = coloured()
    assert with_parents(tiles, {}) is tiles
    assert positions(tiles.classes, {}) == ()


def test_positions_are_those_of_the_classes() -> None:
    assert positions(("oak", "water", "forest"), {"oak": "forest"}) == (2, -1, -1)


@pytest.mark.parametrize("parents", [{"red": "green", "green": "red"}, {"red": "red"}])
def test_circles_are_refused(coloured: Make, parents: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="goes in a circle"):
        with_parents(coloured(), parents)


def test_children_nobody_labelled_are_refused(coloured: Make) -> None:
    with pytest.raises(BadInput, match="names elm; the classes are red, green"):
        with_parents(coloured(), {"elm": "red"})
