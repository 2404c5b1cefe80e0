"""GDAL's warnings arrive whatever logging was told before: by us, by Prefect, by any library in the same process."""

from __future__ import annotations

import base64
import io
import logging
import logging.config
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio import _env, _err

from tiling import raster_damage, raster_voice
from tiling.errors import BadData, TilegateError
from tiling.info import native_plane
from tiling.open import open_source
from tiling.raster_damage import listening
from tiling.raster_remote import hearing
from tiling.source import SourceSpec
from tiling.window import Window

MakeRaster = Callable[..., Path]
NAMES = ("rasterio", "rasterio._err", "rasterio._env")
NOISE = np.random.default_rng(5).integers(0, 256, (64, 64), np.uint8)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Logging is the process's: back to what it was for the tests that follow."""
    loggers = [logging.getLogger(name) for name in ("", *NAMES)]
    kept = [(log, log.level, log.disabled, log.propagate, [*log.filters], [*log.handlers]) for log in loggers]
    level, spoken = logging.root.manager.disable, (_err.log, _env.log)
    yield
    logging.disable(level)
    _err.log, _env.log = spoken
    for log, *state in kept:
        log.setLevel(state[0])
        log.disabled, log.propagate, log.filters[:], log.handlers[:] = state[1:]


@pytest.fixture
def cut(tiny_raster: MakeRaster) -> Path:
    """64 x 64 px in one JPEG block, of which the second half is zeros."""
    path = tiny_raster(NOISE, compress="jpeg", tiled=True, blockxsize=64, blockysize=64)
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    raw = bytearray(path.read_bytes())
    raw[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(raw)
    return path


def read(path: Path) -> None:
    source = open_source(SourceSpec(uris=(str(path),)))
    source.read(Window(y=0, x=0, height=64, width=64), native_plane(source.info))


def remote_before() -> None:
    """What the command line does, then what every opening of a URL does, before a pixel is read."""
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    with hearing():
        pass


def remote_after() -> None:
    with listening():
        pass
    remote_before()


def as_prefect_does() -> None:
    """dictConfig, which disables every logger that is there already and not named."""
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True, "root": {"level": "ERROR"}})


def drop_all() -> None:
    for name in NAMES:
        logging.getLogger(name).filters.insert(0, lambda _: False)


def no_level_passes() -> None:
    for name in NAMES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def logging_is_off() -> None:
    logging.disable(logging.CRITICAL)


def disable_each() -> None:
    for name in NAMES:
        logging.getLogger(name).disabled = True


def another_logger() -> None:
    _err.log = _env.log = logging.getLogger("elsewhere")
    _err.log.setLevel(logging.CRITICAL)


@pytest.mark.parametrize(
    "spoil",
    [
        remote_before,
        remote_after,
        as_prefect_does,
        drop_all,
        no_level_passes,
        logging_is_off,
        disable_each,
        another_logger,
    ],
)
def test_no_setting_of_logging_hides_a_loss(cut: Path, spoil: Callable[[], None]) -> None:
    spoil()
    for _ in range(2):
        with pytest.raises(BadData, match=r"pixels are lost: .*Premature end of JPEG"):
            read(cut)


@pytest.mark.parametrize("spoil", [remote_before, as_prefect_does, logging_is_off])
def test_nor_in_another_thread_or_inside_of_an_environment_of_the_callers(cut: Path, spoil: Callable[[], None]) -> None:
    found = list[str]()

    def in_thread() -> None:
        with rasterio.Env(CPL_DEBUG=False), pytest.raises(BadData) as caught:
            read(cut)
        found.append(str(caught.value))

    spoil()
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert len(found) == 1
    assert "Premature end of JPEG" in found[0]


def test_reading_changes_nothing_that_others_configured(cut: Path) -> None:
    def settings() -> list[Any]:
        loggers = [logging.getLogger(name) for name in NAMES]
        return [(log.level, log.disabled, log.propagate, [*log.filters], [*log.handlers]) for log in loggers]

    before = settings()
    with pytest.raises(BadData), hearing():
        read(cut)
    assert settings() == before


@pytest.mark.parametrize(("level", "logged"), [(logging.WARNING, 1), (logging.ERROR, 0)])
def test_what_nobody_listens_for_is_logged_as_it_was_to_be(
    cut: Path, caplog: pytest.LogCaptureFixture, level: int, logged: int
) -> None:
    """The loss itself is raised, not logged; the same warning to someone else's read is theirs."""
    logging.getLogger("rasterio").setLevel(level)
    with pytest.raises(BadData):
        read(cut)
    assert not caplog.records
    with rasterio.open(cut) as file:
        file.read()
    assert len(caplog.records) == logged


def test_an_ear_around_another_hears_as_well(cut: Path) -> None:
    with pytest.raises(BadData), listening(), rasterio.open(cut) as file, pytest.raises(BadData), listening():
        file.read()


def in_new_thread(do: Callable[[], None]) -> list[Exception]:
    """What do() raises in a thread that has heard nothing yet."""
    raised = list[Exception]()

    def guarded() -> None:
        try:
            do()
        except Exception as error:  # handed on
            raised.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    return raised


def test_a_rasterio_that_speaks_in_another_way_is_not_read_with(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read rather than grey: an error that is not the tile's, so the run ends."""
    monkeypatch.setattr(raster_voice, "_SPEAKERS", ())
    monkeypatch.setattr(_err, "log", logging.getLogger("rasterio._err"))
    monkeypatch.setattr(_env, "log", logging.getLogger("rasterio._env"))
    [error] = in_new_thread(lambda: read(cut))
    assert type(error) is TilegateError
    assert rasterio.__version__ in str(error)
    assert "without a word" in str(error)
    monkeypatch.undo()
    [error] = in_new_thread(lambda: read(cut))
    assert isinstance(error, BadData)


def test_the_block_it_is_tried_on_is_cut_as_others_see_it() -> None:
    raw = zlib.decompress(base64.b85decode(raster_damage._CUT))
    with tifffile.TiffFile(io.BytesIO(raw)) as file:
        page = file.pages[0]
        assert (page.shape, page.compression, len(page.dataoffsets)) == ((16, 16), 7, 1)
        stored = raw[page.dataoffsets[0] : page.dataoffsets[0] + page.databytecounts[0]]
    assert stored.startswith(b"\xff\xd8")
    assert b"\xff\xd9" not in stored
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(stored)).load()
