"""Tables of labels: whole files, windows of an image, and a GeoPackage without geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifiers.labels.load import load_tiles
from classifiers.labels.sample import UNLABELLED, LabelledTiles
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput

MakeSlide = Callable[..., Path]
SETTINGS = DataSettings(pixel_size=10)
RNG = np.random.default_rng(11)


def table(root: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> str:
    """Also writes img/0.png … img/7.png."""
    (root / "img").mkdir(exist_ok=True)
    for i in range(8):
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / "img" / f"{i}.png")
    (root / name).write_text(text, encoding)
    return str(root / name)


def rows(tiles: LabelledTiles) -> dict[str, list[float]]:
    return {sample.name: label.tolist() for sample, label in zip(tiles.samples, tiles.labels, strict=True)}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Path,Label,Patient,Split\nimg/0.png,wood,p1,train\nimg/1.png,water,p1,val\nimg/2.png,wood,p2,test\n", "utf-8"),
        ("path;class;group;part\nimg/0.png;wood;p1;train\nimg/1.png;water;p1;val\n\nimg/2.png;wood;p2;test\n", "utf-8-sig"),
        ("file\tclass\tslide\tsplit\timg/é\nimg/0.png\twood\tp1\ttrain\tx\n"
         "img/1.png\twater\tp1\tVal\tx\nimg/2.png\twood\tp2\ttest\tx\n", "cp1252"),
    ],
)  # fmt: skip
def test_words_groups_and_parts(tmp_path: Path, text: str, encoding: str) -> None:
    tiles = load_tiles(table(tmp_path, text, encoding=encoding), SETTINGS, "gate")
    assert (tiles.classes, tiles.exclusive) == (("water", "wood"), True)
    assert rows(tiles) == {"img/0.png": [0, 1], "img/1.png": [1, 0], "img/2.png": [0, 1]}
    assert [(s.group, s.part) for s in tiles.samples] == [("p1", "train"), ("p1", "validation"), ("p2", "test")]
    np.testing.assert_array_equal(tiles.pixels[2], np.asarray(Image.open(tmp_path / "img/2.png")).transpose(2, 0, 1))


def test_images_may_be_anywhere(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    table(tmp_path, "")
    text = f"path,label\n..\\img\\0.png,wood\n{tmp_path}/img/1.png,water\n../img/2.png,wood\n"
    (tmp_path / "tables/labels.csv").write_text(text)
    tiles = load_tiles(str(tmp_path / "tables/labels.csv"), SETTINGS, "gate")
    for i, pixels in enumerate(tiles.pixels[np.argsort([s.name[-5] for s in tiles.samples])]):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(tmp_path / f"img/{i}.png")).transpose(2, 0, 1))


def test_several_words_are_several_labels(tmp_path: Path) -> None:
    text = "image,label\nimg/0.png,wood;water\nimg/1.png,water| ice\nimg/2.png,\nimg/3.png,wood\n"
    tiles = load_tiles(table(tmp_path, text), SETTINGS, "gate")
    assert (tiles.classes, tiles.exclusive) == (("ice", "water", "wood"), False)
    assert rows(tiles) == {
        "img/0.png": [0, 1, 1], "img/1.png": [1, 1, 0], "img/2.png": [0, 0, 0], "img/3.png": [0, 0, 1],
    }  # fmt: skip
    with pytest.raises(BadInput, match=r"2 tiles are of several classes, such as img/0\.png \(water, wood\)"):
        load_tiles(str(tmp_path / "labels.csv"), replace(SETTINGS, exclusive=True), "gate")


def test_rows_of_one_tile_are_joined(tmp_path: Path) -> None:
    text = "image,label\nimg/0.png,wood\nimg/0.png,water\nimg/1.png,water\n"
    tiles = load_tiles(table(tmp_path, text), SETTINGS, "gate")
    assert rows(tiles) == {"img/0.png": [1, 1], "img/1.png": [1, 0]}
    assert any("1 rows repeat" in note for note in tiles.notes)


def test_columns_of_0_and_1_are_classes(tmp_path: Path) -> None:
    text = "file,wood,water,comment\nimg/0.png,1,0,x\nimg/1.png,0,1.0,x\nimg/2.png,0,0,\nimg/3.png,True,true,y\n"
    tiles = load_tiles(table(tmp_path, text), SETTINGS, "gate")
    assert (tiles.classes, tiles.exclusive) == (("water", "wood"), False)
    assert [label.tolist() for label in tiles.labels] == [[0, 1], [1, 0], [0, 0], [1, 1]]
    assert any("Columns that were not used: comment" in note for note in tiles.notes)


def test_windows_of_a_slide_are_read_where_they_are(tiny_slide: MakeSlide, tmp_path: Path) -> None:
    rgb = RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    path = tiny_slide(rgb, mpp=(4.0, 4.0))
    corners = [(y, x) for y in range(0, 80, 20) for x in range(0, 120, 20)]
    lines = [f"{x},{y},20,20,{int(x > 50)}" for y, x in corners]
    csv = table(tmp_path, "x,y,w,h,idc\n" + "\n".join(lines))
    settings = DataSettings(images=(str(path),), block_tiles=2)
    tiles = load_tiles(csv, settings, "gate")
    assert (tiles.classes, tiles.tile_px, tiles.pixel_size.text) == (("idc",), 20, "4 x 4 um")
    assert len(tiles) == 24
    for (y, x), pixels, label in zip(corners, tiles.pixels, tiles.labels, strict=True):
        np.testing.assert_array_equal(pixels, rgb[y : y + 20, x : x + 20].transpose(2, 0, 1))
        assert label == (x > 50)
    assert [s.name for s in tiles.samples[:2]] == ["slide.tif y00000x00000", "slide.tif y00000x00020"]
    assert sorted(set(tiles.groups)) == [f"slide.tif block r00{r}c00{c}" for r in range(2) for c in range(3)]
    wide = load_tiles(csv, replace(settings, halo_px=5), "segmenter")
    around = np.pad(rgb, ((5, 15), (5, 5), (0, 0)), mode="edge").transpose(2, 0, 1)
    assert wide.masks is not None
    for (y, x), pixels, valid, mask in zip(corners, wide.pixels, wide.valid, wide.masks, strict=True):
        np.testing.assert_array_equal(pixels[:, valid], around[:, y : y + 30, x : x + 30][:, valid])
        assert set(np.unique(mask[5:-5, 5:-5])) == {int(x > 50)}
        assert (mask == UNLABELLED).sum() == 30 * 30 - 20 * 20
    assert wide.valid[0].sum() == 25 * 25


def test_a_window_beside_the_image_is_skipped(tiny_slide: MakeSlide, tmp_path: Path) -> None:
    path = tiny_slide(RNG.integers(0, 256, (64, 640, 3), dtype=np.uint8))
    lines = [f"{20 * i},0,20,20,{i % 2}" for i in range(30)] + ["5000,0,20,20,1"]
    csv = table(tmp_path, "x,y,w,h,idc\n" + "\n".join(lines))
    (lost,) = load_tiles(csv, DataSettings(images=(str(path),)), "gate").skipped
    assert lost.name == "slide.tif y00000x05000"
    assert "outside the image of (64, 640) px" in lost.why


def test_a_geopackage_without_geometry_is_a_table(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio")
    table(tmp_path, "")
    columns: dict[str, NDArray[np.object_]] = {
        "path": np.array([f"img/{i}.png" for i in range(8)], object),
        "label": np.array(["wood", "water"] * 4, object),
        "scene": np.array(["a", "a", "a", "b", "b", "b", "c", "c"], object),
    }
    pyogrio.raw.write(
        str(tmp_path / "labels.gpkg"),
        geometry=None,
        field_data=list(columns.values()),
        fields=list(columns),
        driver="GPKG",
    )
    tiles = load_tiles(str(tmp_path / "labels.gpkg"), SETTINGS, "gate")
    assert tiles.labels.sum(0).tolist() == [4, 4]
    assert tiles.groups.tolist() == list("aaabbbcc")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no rows"),
        ("path,label\n", "has no rows"),
        ("name of it,label\nimg/0.png,a\n", "none of them names images"),
        ("path,height\nimg/0.png,3\n", "none of them says what a tile is"),
        ("x,y,w,h,idc\n0,0,5,5,1\n", r"give it as data\.images"),
        ("path,label,split\nimg/0.png,a,holdout\n", "row 2: 'holdout' is no part of a split"),
        ("path,label\nimg/0.png,a\nimg/1.png,b\nimg/2.png,\n", "1 of 3 tiles cannot be used"),
        ("path,label\nimg/0.png,a\nimg/1.png,b\nimg/20.png,b\n", r"(?s)1 of 3 tiles.*20\.png does not exist"),
        ("path,label,x,y,w,h\nimg/0.png,a,0,0,8,8\nimg/1.png,b,0,0,8,\n", "its window cannot be read"),
    ],
)
def test_tables_that_say_too_little_are_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        load_tiles(table(tmp_path, text), SETTINGS, "gate")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_as_excel_and_old_macs_write_them(tmp_path: Path, ending: str, encoding: str) -> None:
    path = tmp_path / "labels.csv"
    table(tmp_path, "")
    lines = ["path;label", "img/0.png;Flußbach", "img/1.png;wood", ""]
    path.write_bytes(ending.join(lines).encode(encoding))
    assert rows(load_tiles(str(path), SETTINGS, "gate")) == {"img/0.png": [1, 0], "img/1.png": [0, 1]}


def test_whole_numbers_with_a_point_are_whole_numbers(tmp_path: Path) -> None:
    text = "path,label\nimg/0.png,0.0\nimg/1.png,1.0\nimg/2.png,1\n"
    tiles = load_tiles(table(tmp_path, text), SETTINGS, "gate")
    assert (tiles.classes, rows(tiles)) == (("1",), {"img/0.png": [0], "img/1.png": [1], "img/2.png": [1]})


@pytest.mark.parametrize("drive", ["C:\\scans\\", "D:/scans/"])
def test_paths_of_a_windows_machine_are_told(tmp_path: Path, drive: str) -> None:
    text = f"path,label\n{drive}0.png,wood\n{drive}1.png,water\n"
    with pytest.raises(BadInput, match=r"2 of 2 rows cannot be used.*(?s:.)*0\.png is a path of a Windows machine"):
        load_tiles(table(tmp_path, text), SETTINGS, "gate")


def test_rows_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    text = "path,label\nimg/0.png,wood\nimg/1.png,water\nimg/1.png,wood\nimg/2.png,wood\nimg/2.png,wood\n"
    tiles = load_tiles(table(tmp_path, text), SETTINGS, "gate")
    assert not tiles.exclusive
    told = " ".join(tiles.notes)
    assert "2 rows repeat" in told
    assert "1 tiles have several labels by that" in told


def test_a_table_that_is_none_is_told_in_letters(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\x1b[2J\x07path,kind\n" + bytes(range(256)))
    with pytest.raises(BadInput, match=r"has columns \?\[2J\?path, kind: none of them says what a tile is"):
        load_tiles(str(tmp_path / "labels.csv"), SETTINGS, "gate")
