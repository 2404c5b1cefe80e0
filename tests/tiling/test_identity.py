"""Same bytes, same image; a name says nothing."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiling.identity
from tiling.identity import file_digest, image_identity
from tiling.source import SourceSpec

MakeRaster = Callable[..., Path]
GREY = np.random.default_rng(2).integers(1, 256, (600, 600), dtype=np.uint8)


def identity(*paths: object) -> str:
    return image_identity(SourceSpec(uris=tuple(map(str, paths))))


def test_a_moved_copy_is_the_same_image(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    path = tiny_raster(GREY)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "other.tif"
    copy.write_bytes(path.read_bytes())
    assert identity(copy) == identity(path) == identity(f"file://{path}")
    assert len(identity(path)) == 64


def test_one_other_byte_under_the_same_name_is_another_image(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(GREY)
    before = identity(path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert identity(path) != before


def test_the_order_of_files_counts(tiny_raster: MakeRaster) -> None:
    a, b = tiny_raster(GREY, "a.tif"), tiny_raster(GREY[::-1], "b.tif")
    assert len({identity(a, b), identity(b, a), identity(a), identity(b)}) == 4


def test_a_file_that_points_elsewhere_counts_by_what_it_shows(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    vrt = tmp_path / "v.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="600" rasterYSize="600"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{tiny_raster(GREY, "part.tif").name}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    before = identity(vrt)
    assert identity(vrt) == before
    changed = GREY.copy()
    changed[300:310, 300:310] = 0
    tiny_raster(changed, "part.tif")
    assert identity(vrt) != before


@pytest.mark.parametrize("suffix", [".msk", ".ovr"])
def test_a_side_file_that_changes_what_is_read_counts(tiny_raster: MakeRaster, suffix: str) -> None:
    path = tiny_raster(GREY)
    before = identity(path)
    path.with_name(path.name + suffix).write_bytes(tiny_raster(GREY[:300, :300], "side.tif").read_bytes())
    assert identity(path) != before


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling.identity, "PIECE_BYTES", 1024)
    monkeypatch.setattr(tiling.identity, "READ_BYTES", 256)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5000])
def test_a_digest_is_that_of_the_pieces_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    small_pieces(monkeypatch)
    raw = np.random.default_rng(1).bytes(size)
    (tmp_path / "a").write_bytes(raw)
    pieces = [hashlib.sha256(raw[at : at + 1024]).digest() for at in range(0, size, 1024)]
    assert file_digest(tmp_path / "a") == hashlib.sha256(struct.pack("<Q", size) + b"".join(pieces)).digest()


@given(st.data())
def test_any_other_bytes_are_another_image(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """One changed, added, taken away, or two pieces exchanged."""
    path = tmp_path_factory.mktemp("a") / "a"
    raw = np.random.default_rng(1).bytes(4096)
    at = data.draw(st.integers(0, 4095))
    other = data.draw(
        st.sampled_from(
            [
                raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :],
                raw[:at],
                raw + bytes(at + 1),
                raw[1024:2048] + raw[:1024] + raw[2048:],
            ]
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        path.write_bytes(raw)
        before = file_digest(path)
        path.write_bytes(other)
        assert file_digest(path) != before
