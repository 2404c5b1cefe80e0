"""Folders per class, as strangers bring them: what is read is what Pillow reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from classifiers.bundle_contract import Bundle
from classifiers.bundle_schema import Document
from classifiers.labels.files import files_below
from classifiers.labels.load import load_tiles
from classifiers.labels.looks import DTYPES
from classifiers.labels.sample import UNLABELLED, LabelledTiles, Sample
from classifiers.labels.shelf import Piece, Shelf
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput
from tiling.info import PixelSize

TEN_M = DataSettings(pixel_size=10)
SIZE = 16
RNG = np.random.default_rng(2)


def noise(seed: int, side: int | tuple[int, int] = SIZE, bands: int = 3) -> NDArray[np.uint8]:
    """(h, w, band), or (h, w) for one band."""
    shape = (side, side) if isinstance(side, int) else side
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, bands), dtype=np.uint8)
    return pixels[..., 0] if bands == 1 else pixels


def put(path: Path, pixels: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def fill(root: Path, **counts: int) -> Path:
    """So many PNG per class, each of other noise."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            put(root / name / f"{i}.png", noise(100 * number + i))
    return root


def by_name(tiles: LabelledTiles) -> dict[str, int]:
    return {sample.name: i for i, sample in enumerate(tiles.samples)}


def bundle(**changes: object) -> Bundle:
    """A gate of one class that was trained on 10 m pixels of red, green and blue."""
    gate = Bundle(
        name="water-gate",
        path=Path("water-gate"),
        architecture="tiny",
        hyperparameters={},
        task="classification",
        activation="sigmoid",
        bands=("red", "green", "blue"),
        classes=("water",),
        pixel_size=PixelSize(y=10, x=10, unit="m"),
        pixel_size_range=(0.8, 1.25),
        input_px=SIZE,
        dtype="uint8",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        threshold=0.5,
        calibration=None,
        licence="MIT",
        training_data="",
        pretrained_source=None,
        metrics={},
        sha256="0" * 64,
        contract_sha256="0" * 64,
    )
    return replace(gate, **changes)  # type: ignore[arg-type]


def test_a_folder_is_a_class_and_pixels_are_pillows(tmp_path: Path) -> None:
    fill(tmp_path, forest=3, water=2, river=1)
    tiles = load_tiles(str(tmp_path), TEN_M, "gate")
    assert tiles.classes == ("forest", "river", "water")
    assert tiles.exclusive
    assert tiles.bands == ("red", "green", "blue")
    assert tiles.pixel_size == PixelSize(y=10, x=10, unit="m")
    assert (tiles.tile_px, tiles.halo_px, tiles.dtype, len(tiles)) == (SIZE, 0, "uint8", 6)
    assert tiles.labels.sum(0).tolist() == [3, 1, 2]
    assert tiles.masks is None
    assert tiles.skipped == ()
    for name, i in by_name(tiles).items():
        theirs = np.asarray(Image.open(tmp_path / name)).transpose(2, 0, 1)
        np.testing.assert_array_equal(tiles.pixels[i], theirs)
        assert tiles.classes[int(tiles.labels[i].argmax())] == name.split("/")[0]
        assert tiles.samples[i].group == name
    assert tiles.valid.all()


def test_folders_0_and_1_are_one_class(tmp_path: Path) -> None:
    fill(tmp_path, **{"0": 2, "1": 3})
    assert load_tiles(str(tmp_path), TEN_M, "gate").classes == ("1",)
    named = load_tiles(str(tmp_path), replace(TEN_M, classes={"idc": ("1",)}), "gate")
    assert (named.classes, named.exclusive) == (("idc",), False)
    assert {s.name: int(label[0]) for s, label in zip(named.samples, named.labels, strict=True)} == {
        "0/0.png": 0, "0/1.png": 0, "1/0.png": 1, "1/1.png": 1, "1/2.png": 1,
    }  # fmt: skip


def test_several_folders_may_be_one_class_and_others_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, Forest=2, River=1, SeaLake=1, Highway=4)
    wanted = replace(TEN_M, classes={"water": ("River", "sealake"), "forest": ()})
    tiles = load_tiles(str(tmp_path), wanted, "gate")
    assert tiles.classes == ("water", "forest")
    assert tiles.labels.sum(0).tolist() == [2, 2]
    assert any("4 tiles of no class were left out: Highway" in note for note in tiles.notes)
    loose = load_tiles(str(tmp_path), replace(wanted, exclusive=False), "gate")
    assert len(loose) == 8
    assert loose.labels.sum(0).tolist() == [2, 2]
    rest = load_tiles(str(tmp_path), replace(TEN_M, classes={"water": ("River", "SeaLake"), "other": ("*",)}), "gate")
    assert rest.labels.sum(0).tolist() == [2, 6]


def test_parts_are_taken_as_given(tmp_path: Path) -> None:
    fill(tmp_path / "train", a=2, b=2)
    fill(tmp_path / "Validation", a=1, b=1)
    fill(tmp_path / "test", a=1, b=1)
    tiles = load_tiles(str(tmp_path), TEN_M, "gate")
    assert tiles.classes == ("a", "b")
    parts = [sample.part for sample in tiles.samples]
    assert {part: parts.count(part) for part in parts} == {"train": 4, "validation": 2, "test": 2}
    assert all(s.name.lower().startswith(s.part or "?") for s in tiles.samples)


@pytest.mark.parametrize(("pattern", "groups"), [(r"^(\d+)_", {"10", "11"}), (r"p\d", {"p1", "p2"}), ("", None)])
def test_groups_are_found_in_names(tmp_path: Path, pattern: str, groups: set[str] | None) -> None:
    for i, name in enumerate(["0/p1/10_a.png", "0/p2/11_b.png", "1/p1/10_c.png", "1/p2/11_d.png"]):
        put(tmp_path / name, noise(i))
    tiles = load_tiles(str(tmp_path), replace(TEN_M, group=pattern), "gate")
    assert set(tiles.groups) == (groups or {sample.name for sample in tiles.samples})


def test_a_pattern_that_fits_nothing_or_is_none_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=2)
    with pytest.raises(BadInput, match=r"matches none of 4 files"):
        load_tiles(str(tmp_path), replace(TEN_M, group="patient"), "gate")
    with pytest.raises(BadInput, match="no regular expression"):
        load_tiles(str(tmp_path), replace(TEN_M, group="("), "gate")


def test_a_strangers_folder_is_sorted_out(tmp_path: Path) -> None:
    fill(tmp_path, füße=60, água=40)
    (tmp_path / "empty").mkdir()
    for name in (".DS_Store", "füße/Thumbs.db", "füße/._1.png", "água/readme.txt"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "água/torn.png").write_bytes((tmp_path / "água/1.png").read_bytes()[:200])
    (tmp_path / "água/nothing.png").write_bytes(b"")
    put(tmp_path / "água/grey.png", noise(7, bands=1))
    put(tmp_path / "água/deep.png", np.full((SIZE, SIZE), 4000, np.uint16))
    put(tmp_path / "água/large.png", large := noise(8, (SIZE + 6, SIZE + 3)))
    put(tmp_path / "água/small.png", small := noise(9, (SIZE - 4, SIZE)))
    rgba = np.concatenate([noise(10), np.full((SIZE, SIZE, 1), 255, np.uint8)], axis=2)
    rgba[:5, :, 3] = 0
    put(tmp_path / "füße/alpha.png", rgba)
    (tmp_path / "água/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "água/again").symlink_to(tmp_path / "água")
    tiles = load_tiles(str(tmp_path), TEN_M, "gate")
    names = by_name(tiles)
    assert tiles.classes == ("füße", "água")
    assert len(tiles) == 103
    reasons = {each.name.rpartition("/")[2]: each.why for each in tiles.skipped}
    assert set(reasons) == {"torn.png", "nothing.png", "grey.png", "deep.png", "gone.png"}
    assert "bands are grey" in reasons["grey.png"]
    assert "empty file" in reasons["nothing.png"]
    assert "does not exist" in reasons["gone.png"]
    np.testing.assert_array_equal(tiles.pixels[names["água/large.png"]], large.transpose(2, 0, 1)[:, 3:19, 1:17])
    padded = names["água/small.png"]
    np.testing.assert_array_equal(tiles.pixels[padded][:, 2:14], small.transpose(2, 0, 1))
    assert tiles.valid[padded].any(axis=1).tolist() == [False] * 2 + [True] * 12 + [False] * 2
    clear = names["füße/alpha.png"]
    assert tiles.valid[clear].all(axis=1).tolist() == [False] * 5 + [True] * 11
    told = " ".join(tiles.notes)
    for words in ("empty", "1 .txt", "1 of 103 tiles were larger than 16 px", "1 of 103 tiles were smaller"):
        assert words in told


def test_16_bit_among_8_bit_is_told_with_both(tmp_path: Path) -> None:
    for i in range(20):
        put(tmp_path / f"{i % 2}/{i}.png", noise(i, bands=1))
    put(tmp_path / "1/deep.png", np.full((SIZE, SIZE), 4000, np.uint16))
    (odd,) = load_tiles(str(tmp_path), TEN_M, "gate").skipped
    assert odd.why == "it holds uint16 values, most images uint8: the same number means another brightness"


def test_too_much_that_cannot_be_used_is_refused_with_names(tmp_path: Path) -> None:
    fill(tmp_path, a=5, b=5)
    for i in range(2):
        (tmp_path / f"a/bad{i}.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(
        BadInput, match=r"(?s)2 of 12 tiles cannot be used, more than a tenth.*a/bad0\.png.*a/bad1\.png"
    ):
        load_tiles(str(tmp_path), TEN_M, "gate")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "has no folders"),
        ({"a/notes.txt": b"x"}, r"folders a which hold 1 \.txt"),
        ({"labels.csv": b"x"}, r"give .*labels\.csv as DATA; see data\.images"),
        ({"train/0.png": b"x", "test/1.png": b"x"}, "test and train are taken for parts of a split, and hold none"),
        ({"0.png": b"x", "1.png": b"x"}, "has no folders of classes, and 2 images that no folder says anything of"),
    ],
)
def test_a_folder_without_images_says_what_is_expected(tmp_path: Path, files: dict[str, bytes], match: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=match):
        load_tiles(str(tmp_path), TEN_M, "gate")


def test_one_class_alone_teaches_nothing(tmp_path: Path) -> None:
    fill(tmp_path, water=5)
    with pytest.raises(BadInput, match="all 5 tiles are water"):
        load_tiles(str(tmp_path), TEN_M, "gate")


def test_a_class_without_a_tile_is_named(tmp_path: Path) -> None:
    fill(tmp_path, water=5, forest=2)
    with pytest.raises(BadInput, match=r"no tile is of ice \(tiles per class: water 5, forest 2, ice 0\)"):
        load_tiles(str(tmp_path), replace(TEN_M, classes={"water": (), "forest": (), "ice": ()}), "gate")


def test_without_a_pixel_size_the_setting_is_named(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=2)
    with pytest.raises(BadInput, match=r"data\.pixel_size, with data\.unit"):
        load_tiles(str(tmp_path), DataSettings(), "gate")


def test_numbers_of_colours_are_no_pixels(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(noise(i)).convert("P").save(tmp_path / "ab"[i % 2] / f"{i}.gif")
    with pytest.raises(BadInput, match=r"0\.gif has a palette"):
        load_tiles(str(tmp_path), TEN_M, "gate")


@pytest.mark.parametrize("palette", ["a/0.png", "a/1.png"])
def test_one_picture_with_a_palette_is_passed_over(tmp_path: Path, palette: str) -> None:
    fill(tmp_path, a=10, b=10)
    Image.fromarray(noise(77)).convert("P").save(tmp_path / palette)
    tiles = load_tiles(str(tmp_path), TEN_M, "gate")
    (skipped,) = tiles.skipped
    assert (len(tiles), skipped.name) == (19, palette)
    assert "bands are band1 (numbers of the colours of a palette), those of most images red" in skipped.why


def test_most_pictures_with_a_palette_are_refused_whichever_is_first(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=2)
    for path in [tmp_path / "a/1.png", *(tmp_path / "b").iterdir()]:
        Image.fromarray(noise(1)).convert("P").save(path)
    with pytest.raises(BadInput, match="has a palette"):
        load_tiles(str(tmp_path), TEN_M, "gate")


def test_values_no_model_takes_are_told(tmp_path: Path) -> None:
    for i in range(4):
        path = tmp_path / "ab"[i % 2] / f"{i}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="int64") as file:
            file.write(noise(i, 8, 1).astype(np.int64), 1)
    with pytest.raises(
        BadInput, match=r"0\.tif and most other images hold int64 values; a model takes uint8, .*Convert"
    ):
        load_tiles(str(tmp_path), TEN_M, "gate")


def test_values_models_take_are_those_of_a_bundle() -> None:
    assert get_args(Document.model_fields["tilegate_dtype"].annotation) == DTYPES


def test_most_images_have_the_pixels_of_one_of_them(tmp_path: Path) -> None:
    for i, size in enumerate((10, 30)):
        for name in "ab":
            path = tmp_path / name / f"{i}.tif"
            path.parent.mkdir(exist_ok=True)
            place = {"crs": "EPSG:32631", "transform": Affine(size, 0, 5e5, 0, -size, 4.7e6)}
            with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", **place) as file:
                file.write(noise(i, 8, 1), 1)
    with pytest.raises(BadInput, match=r"(?s)2 of 4 tiles.*its pixels are 30 x 30 m, those of most images 10 x 10 m"):
        load_tiles(str(tmp_path), DataSettings(), "gate")


def test_classes_that_differ_in_capitals_are_not_two(tmp_path: Path) -> None:
    fill(tmp_path, Wood=2, wood=2, water=2)
    with pytest.raises(BadInput, match="classes Wood, wood differ only in capital letters"):
        load_tiles(str(tmp_path), TEN_M, "gate")
    both = load_tiles(str(tmp_path), replace(TEN_M, classes={"w": ("Wood", "wood"), "water": ()}), "gate")
    assert both.labels.sum(axis=0).tolist() == [4, 2]


def test_a_coarser_plane_is_the_mean(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=2)
    tiles = load_tiles(str(tmp_path), replace(TEN_M, downsample=4), "gate")
    assert (tiles.tile_px, tiles.pixel_size.y) == (4, 40)
    first = np.asarray(Image.open(tmp_path / tiles.samples[0].name)).astype(float).transpose(2, 0, 1)
    theirs = first.reshape(3, 4, 4, 4, 4).mean((2, 4))
    np.testing.assert_allclose(tiles.pixels[0], theirs, atol=0.5)


def test_a_halo_lies_outside_of_a_patch(tmp_path: Path) -> None:
    fill(tmp_path, a=1, b=1)
    tiles = load_tiles(str(tmp_path), replace(TEN_M, halo_px=3), "gate")
    assert tiles.pixels.shape == (2, 3, 22, 22)
    assert tiles.valid[:, 3:-3, 3:-3].all()
    assert tiles.valid.sum() == 2 * SIZE * SIZE


def test_a_segmenter_may_learn_from_patches(tmp_path: Path) -> None:
    fill(tmp_path, **{"0": 1, "1": 1})
    put(tmp_path / "1/small.png", noise(5, SIZE - 2))
    settings = replace(TEN_M, classes={"idc": ("1",)}, halo_px=2, tile_px=SIZE)
    tiles = load_tiles(str(tmp_path), settings, "segmenter")
    assert tiles.masks is not None
    values = {s.name: np.unique(m, return_counts=True) for s, m in zip(tiles.samples, tiles.masks, strict=True)}
    halo = 20 * 20 - SIZE * SIZE
    assert [x.tolist() for x in values["0/0.png"]] == [[0, UNLABELLED], [SIZE * SIZE, halo]]
    assert [x.tolist() for x in values["1/0.png"]] == [[1, UNLABELLED], [SIZE * SIZE, halo]]
    assert [x.tolist() for x in values["1/small.png"]] == [[1, UNLABELLED], [14 * 14, 400 - 14 * 14]]


@pytest.mark.parametrize("words", [("0", "1"), ("no", "yes"), ("False", "True"), ("negative", "positive"),
                                   ("not water", "Water"), ("dry", "water")])  # fmt: skip
def test_a_bundle_of_one_class_knows_how_people_write_it(tmp_path: Path, words: tuple[str, str]) -> None:
    fill(tmp_path, **{words[0]: 2, words[1]: 1})
    tiles = load_tiles(str(tmp_path), DataSettings(), "gate", default=bundle())
    assert (tiles.classes, tiles.exclusive) == (("water",), False)
    for sample, label in zip(tiles.samples, tiles.labels, strict=True):
        assert label[0] == sample.name.startswith(f"{words[1]}/")
    assert any("no pixel size" in note and "10 x 10 m" in note for note in tiles.notes)


def test_a_bundle_says_what_it_cannot_find(tmp_path: Path) -> None:
    fill(tmp_path, cats=2, dogs=2)
    with pytest.raises(BadInput, match=r"none of what the data holds \(cats, dogs\) is a class of water-gate"):
        load_tiles(str(tmp_path), DataSettings(), "gate", default=bundle())


def test_a_bundles_labels_and_missing_classes(tmp_path: Path) -> None:
    fill(tmp_path, River=2, Forest=1)
    trained = bundle(
        classes=("water", "ice", "wood"), activation="softmax", labels={"water": ("River", "Sea"), "wood": ("Forest",)}
    )
    tiles = load_tiles(str(tmp_path), DataSettings(), "gate", default=trained)
    assert (tiles.classes, tiles.exclusive) == (("water", "ice", "wood"), True)
    assert tiles.labels.sum(0).tolist() == [2, 0, 1]
    assert "No tile is of ice." in tiles.notes


def test_links_that_go_in_circles_end(tmp_path: Path) -> None:
    put(tmp_path / "a/1.png", noise(1))
    (tmp_path / "a/loop").symlink_to(tmp_path / "a")
    assert [path.name for path in files_below(tmp_path / "a")] == ["1.png"]


def test_many_tiles_lie_in_a_file_that_has_no_name() -> None:
    sample = Sample(name="a", group="a")
    for room, kind in [(0, np.memmap), (2**20, np.ndarray)]:
        shelf = Shelf(9, 3, SIZE, "uint8", masks=True, room=room)
        for i in range(2):
            pixels, valid = noise(i).transpose(2, 0, 1), noise(i, bands=1) > 9
            shelf.put(Piece(sample=sample, pixels=pixels, valid=valid, fractions=np.zeros(1), mask=noise(i, bands=1)))
        arrays = shelf.arrays()
        for i in range(2):
            np.testing.assert_array_equal(arrays["pixels"][i], noise(i).transpose(2, 0, 1))
            np.testing.assert_array_equal(arrays["valid"][i], noise(i, bands=1) > 9)
            np.testing.assert_array_equal(arrays["masks"][i], noise(i, bands=1))
        assert len(arrays["pixels"]) == 2
        assert roots(arrays["pixels"]) is kind


def roots(array: NDArray[np.generic]) -> type:
    """What an array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return type(array)


def test_a_bundle_brings_bands_by_name_and_a_plane(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
    for name in ("0/a", "0/b", "1/c"):
        path = tmp_path / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(
            path, "w", driver="GTiff", count=4, height=SIZE, width=SIZE, dtype="uint8", crs="EPSG:32633",
            transform=Affine(10, 0, 5e5, 0, -10, 5e6), photometric="minisblack",
        ) as file:  # fmt: skip
            file.write(pixels)
            for i, band in enumerate(["NIR", "Red", "Green", "SWIR"], start=1):
                file.set_band_description(i, band)
    wants = bundle(bands=("green", "nir"), pixel_size=PixelSize(y=40, x=40, unit="m"))
    tiles = load_tiles(str(tmp_path), DataSettings(), "gate", default=wants)
    assert (tiles.bands, tiles.tile_px, tiles.pixel_size.text) == (("green", "nir"), 4, "40 x 40 m")
    theirs = pixels[[2, 0]].reshape(2, 4, 4, 4, 4).mean((2, 4))
    np.testing.assert_allclose(tiles.pixels[0], theirs, atol=0.5)
    assert any("4 times coarser" in note for note in tiles.notes)
    with pytest.raises(BadInput, match=r"needs the bands green, blue; those of most images are .*nir, red"):
        load_tiles(str(tmp_path), DataSettings(), "gate", default=bundle(bands=("green", "blue")))


def test_pixels_of_another_size_are_told_apart(tmp_path: Path) -> None:
    for i in range(20):
        size = 30 if i == 7 else 10
        path = tmp_path / f"{i % 2}" / f"{i}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(
            path, "w", driver="GTiff", count=1, height=SIZE, width=SIZE, dtype="uint8", crs="EPSG:32633",
            transform=Affine(size, 0, 5e5, 0, -size, 5e6),
        ) as file:  # fmt: skip
            file.write(noise(i, bands=1), 1)
    (odd,) = load_tiles(str(tmp_path), DataSettings(), "gate").skipped
    assert odd.name == "1/7.tif"
    assert odd.why == "its pixels are 30 x 30 m, those of most images 10 x 10 m"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tile_px": 4096}, r"data\.tile_px = 4,096, but most images have 16 px at most"),
        ({"downsample": 16.0}, r"data\.downsample = 16 leaves 1 px of images of 16 x 16 px"),
    ],
)
def test_tiles_of_next_to_nothing_are_refused(tmp_path: Path, settings: dict[str, Any], match: str) -> None:
    fill(tmp_path, a=2, b=2)
    with pytest.raises(BadInput, match=match):
        load_tiles(str(tmp_path), replace(TEN_M, **settings), "gate")
