"""Training examples keep pixels and truth together; figures are those one can count by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifiers.bundle import Calibration
from downstream.forest_scenes import Examples, Scene, load_scenes, split, tiles_of
from downstream.train_forest import gate_metrics, segmenter_metrics, threshold_for
from tiling.errors import BadInput

BRIGHT, DARK = 200, 60


def scene(name: str, forest: np.ndarray) -> Scene:
    """Forest is dark: the truth can be read off the pixels."""
    pixels = np.repeat(np.where(forest, DARK, BRIGHT)[None], 3, axis=0).astype(np.uint8)
    return Scene(name=name, pixels=pixels, forest=forest.astype(np.float32))


def halves(side: int, wooded: float) -> np.ndarray:
    """Forest to the left."""
    return np.broadcast_to(np.arange(side) < wooded * side, (side, side))


def test_segmenter_examples_keep_the_truth_with_its_pixels() -> None:
    examples = Examples([scene("a", halves(300, 0.4)), scene("b", halves(512, 0.5))], seed=1)
    stack, truth = examples.segmenter(24)
    assert stack.pixels.shape == (24, 3, 256, 256)
    dark = stack.pixels.mean(axis=1) < 130
    np.testing.assert_array_equal(truth[:, 0], dark & stack.valid)
    assert not stack.valid.all(), "some reach over the edge of their image"
    assert 0.2 < truth.mean() < 0.6


def test_gate_examples_are_labelled_by_their_share_of_forest() -> None:
    examples = Examples([scene("a", halves(128, 0.3)), scene("b", halves(128, 0.001))], seed=1)
    stack, holds = examples.gate(60, least=0.01)
    dark = (stack.pixels.mean(axis=1) < 130) & stack.valid
    share = dark.sum(axis=(1, 2)) / stack.valid.sum(axis=(1, 2))
    np.testing.assert_array_equal(holds[:, 0] == 1, share >= 0.01)
    assert 10 < holds.sum() < 50


def test_the_same_seed_gives_the_same_examples() -> None:
    scenes = [scene("a", halves(128, 0.3))]
    first, again = (Examples(scenes, seed=3).gate(8, 0.01)[0].pixels for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_coarser_scenes_average_pixels_and_forest() -> None:
    coarse = scene("a", halves(8, 0.25)).coarser(4)
    np.testing.assert_array_equal(coarse.forest, [[0.5, 0], [0.5, 0]])
    np.testing.assert_array_equal(coarse.pixels[1], [[(DARK + BRIGHT) / 2, BRIGHT]] * 2)


def test_tiles_lie_on_the_same_ground_on_both_planes() -> None:
    fine, coarse = tiles_of(scene("a", halves(512, 0.5)))
    assert fine.pixels.shape == (4, 3, 320, 320)
    assert coarse.pixels.shape == (4, 3, 64, 64)
    assert [tile.id for tile in fine.tiles] == [tile.id for tile in coarse.tiles]
    np.testing.assert_array_equal(coarse.pixels[:, 0].mean(axis=(1, 2)), [DARK, BRIGHT, DARK, BRIGHT])


def test_every_fourth_scene_is_held_out() -> None:
    scenes = [scene(f"s{i}", halves(10, share / 10)) for i, share in enumerate((9, 0, 5, 2, 7, 3, 1, 8))]
    train, held_out = split(scenes)
    assert [s.name for s in held_out] == ["s1", "s2"]
    assert {s.name for s in train + held_out} == {s.name for s in scenes}


def test_scenes_are_read_with_their_masks(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(rgb).save(tmp_path / "images" / "x.tiff")
    Image.fromarray(np.array([[1, 2, 2, 1, 2, 2]] * 4, np.uint8)).save(tmp_path / "masks" / "x.png")
    (found,) = load_scenes(tmp_path)
    np.testing.assert_array_equal(found.pixels[2], rgb[:, :, 2])
    np.testing.assert_array_equal(found.forest, [[1, 0, 0, 1, 0, 0]] * 4)
    with pytest.raises(BadInput, match=r"holds no \.tiff"):
        load_scenes(tmp_path / "images")


def calibration(scores: list[float], labels: list[int]) -> Calibration:
    return Calibration(
        tiles=tuple(str(i) for i in range(len(scores))),
        scores=tuple((s,) for s in scores),
        labels=tuple((v,) for v in labels),
        fractions=tuple((float(v),) for v in labels),
    )


@pytest.mark.parametrize(
    ("positives", "recall", "threshold"),
    [
        ([0.3456, 0.9], 0.99, 0.345),
        ([0.7, 0.9], 0.99, 0.5),
        ([0.1, 0.2, 0.3, 0.4], 0.75, 0.2),
        ([0.1, 0.2, 0.3, 0.4], 0.76, 0.1),
    ],
)
def test_thresholds_keep_the_recall(positives: list[float], recall: float, threshold: float) -> None:
    evidence = calibration([*positives, 0.01], [1] * len(positives) + [0])
    assert threshold_for(evidence, recall) == threshold
    found = gate_metrics(evidence, threshold)
    assert found["recall"] >= recall
    assert (found["negatives"], found["negatives_kept_out"]) == (1, 1)


def test_figures_by_hand() -> None:
    found = segmenter_metrics(np.array([6, 2, 1, 11]))
    assert found["f1"] == pytest.approx(12 / 15)
    assert found["accuracy"] == pytest.approx(17 / 20)
    assert found["area_error"] == pytest.approx(8 / 7 - 1)
