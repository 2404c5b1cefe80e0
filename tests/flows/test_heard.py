"""Damage that GDAL only warns of, in runs after or over others that configure logging: a hole, never grey pixels."""

import logging
from collections.abc import Iterator

import pytest
import tifffile
from rasterio import _env, _err

NAMES = ("rasterio", "rasterio._err", "rasterio._env")
LOCAL = ("--recipe", "water", "--engine", "local", "--json", "--set", "gate.threshold=0", "--set", "tile.size_px=64")
TILE_M2 = 64 * 64 * 100 / 0.9996**2
"""A tile of 10 m pixels at the meridian of its UTM zone."""


@pytest.fixture(autouse=True)
def as_new(monkeypatch):
    """As in a process that has read nothing yet; all of it is put back."""
    level = logging.root.manager.disable
    for module in (_err, _env):
        monkeypatch.setattr(module, "log", logging.getLogger(module.__name__))
    for log in map(logging.getLogger, NAMES):
        for name, new in {"disabled": False, "filters": [], "propagate": True}.items():
            monkeypatch.setattr(log, name, new)
    yield
    logging.disable(level)


@pytest.fixture
def cut(make_scene):
    """The path of a scene of 5 x 5 JPEG blocks, of which the middle one ends in zeros."""
    path = make_scene(shape=(320, 320), compress="jpeg", interleave="pixel").path
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].dataoffsets[12], file.pages[0].databytecounts[12]
    raw = bytearray(path.read_bytes())
    raw[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(raw)
    return path


def require_one_hole(seen):
    assert seen.code == 3, seen.err
    assert seen.json["tiles"]["unreadable"] == 1
    assert seen.json["area"]["not_observed"] == pytest.approx(TILE_M2, rel=1e-6)


@pytest.mark.parametrize("prefix", ["http://", "/vsicurl/http://"])
def test_a_cut_block_behind_a_url_is_a_hole(tilegate, cut, tmp_path, host, prefix):
    cut.rename(tmp_path / "web/scene.tif")
    require_one_hole(tilegate("run", f"{prefix}{host}/scene.tif", *LOCAL, "--out", tmp_path / "run"))


def test_a_cut_block_of_a_file_is_a_hole_after_a_run_over_a_url(tilegate, make_scene, cut, tmp_path, host):
    make_scene(name="whole.tif").path.rename(tmp_path / "web/whole.tif")
    assert tilegate("run", f"http://{host}/whole.tif", *LOCAL, "--out", tmp_path / "first").code == 0
    require_one_hole(tilegate("run", cut, *LOCAL, "--out", tmp_path / "run"))


@pytest.fixture
def logging_of_prefect() -> Iterator[None]:
    """Prefect's handlers and levels for the time of a test; pytest's own are back after it."""
    from prefect.logging.configuration import setup_logging

    root, named = logging.getLogger(), list(logging.Logger.manager.loggerDict.values())
    loggers = [root, *(log for log in named if isinstance(log, logging.Logger))]
    before = [(log, log.level, log.disabled, log.propagate, [*log.handlers], [*log.filters]) for log in loggers]
    setup_logging(incremental=False)
    yield
    logging.disable(logging.NOTSET)
    for log, level, disabled, propagate, handlers, filters in before:
        log.setLevel(level)
        log.disabled, log.propagate, log.handlers, log.filters = disabled, propagate, handlers, filters


def test_a_cut_block_is_a_hole_after_prefect_has_set_up_logging(tilegate, cut, tmp_path, logging_of_prefect):
    logging.disable(logging.WARNING)
    require_one_hole(tilegate("run", cut, *LOCAL, "--out", tmp_path / "run"))
