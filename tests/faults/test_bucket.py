"""Images and runs behind servers that fail: nothing is lost in silence, and what can be had is had."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import rasterio
import zarr
from broken_runs import UTM, contents, differences, plain_error, write_scene
from counts import COUNTS
from faulty import Faulty
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioIOError
from zygote import Ended, Zygote

from tiling.info import plane_at
from tiling.open import open_source
from tiling.source import SourceSpec
from tiling.window import Window

pytestmark = pytest.mark.faults

SMALL = ("tile.size_px=64", "tile.batch=2", "gate.downsample=4")
PASSING = ("500", "503", "429", "cut", "reset", "lost")
TALLY: Counter[str] = Counter()
SECRETS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@dataclass
class World:
    """An S3 server, the faulty one before it, and a faulty web server of a folder."""

    client: Any
    bucket: Faulty
    web: Faulty
    folder: Path
    zygote: Zygote

    @property
    def env(self) -> dict[str, str]:
        """Where GDAL and the storage find S3: behind the faulty server."""
        gdal = {"AWS_S3_ENDPOINT": self.bucket.host, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
        return SECRETS | gdal | {"AWS_ENDPOINT_URL": self.bucket.url, "AWS_DEFAULT_REGION": "us-east-1"}

    def call(self, *argv: object, **options: Any) -> Ended:
        return self.zygote.call(*argv, env=self.env, **options)

    def run(self, image: object, out: object, *changes: str, recipe: str = "water", **options: Any) -> Ended:
        words = [word for change in (*SMALL, *changes) for word in ("--set", change)]
        fixed = ("--engine", "local", "--workers", 2, "--json")
        return self.call("run", image, "--recipe", recipe, "--out", out, *fixed, *words, **options)

    def download(self, prefix: str, folder: Path) -> Path:
        """What lies in the bucket "runs" below a prefix, past the faulty server."""
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket="runs", Prefix=prefix + "/"):
            for item in page.get("Contents", []):
                path = folder / item["Key"].removeprefix(prefix + "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.client.get_object(Bucket="runs", Key=item["Key"])["Body"].read())
        return folder


@pytest.fixture(scope="module")
def world(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("web")
    with Faulty(s3_url) as bucket, Faulty(folder) as web, Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=s3_url, **keys)
        client.create_bucket(Bucket="scenes")
        client.create_bucket(Bucket="runs")
        yield World(client, bucket, web, folder, zygote)
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(TALLY.items()))
    COUNTS.append(f"bucket and web: {TALLY.total()} faults injected ({kinds}), 0 pixels and 0 bytes different")


@dataclass
class Truth:
    """The scene, what numpy says of it, and an unbroken run of the local file."""

    path: Path
    water: np.ndarray
    run: Path
    json: Any
    files: dict[str, str]


@pytest.fixture(scope="module")
def truth(world: World, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    path = write_scene(world.folder / "scene.tif", (400, 360))
    world.client.upload_file(str(path), "scenes", "scene.tif")
    with rasterio.open(path) as file:
        green, nir = file.read().astype(float)
    out = tmp_path_factory.mktemp("truth") / "run"
    seen = world.run(path, out)
    assert seen.code == 0, seen.err
    water = (green - nir) / (green + nir) > 0
    return Truth(path, water, out, seen.json, contents(out))


def address(world: World, form: str) -> str:
    return "s3://scenes/scene.tif" if form == "s3" else f"{world.web.url}/scene.tif"


def count(*servers: Faulty) -> Counter[str]:
    """Adds to the tally what was injected since the plans were set, and ends it."""
    found: Counter[str] = Counter()
    for server in servers:
        found.update(server.counts()["faults"])
        server.plan()
    TALLY.update(found)
    return found


def mask(folder: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(folder / "run.zarr" / "mask/0", mode="r")[...])


def pixels(folder: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(folder / "run.zarr", mode="r")
    return {name: np.asarray(group[name][...]) for name in ("mask/0", "pixels/fine", "pixels/gate")}


def require_same_pixels(folder: Path, truth: Truth) -> None:
    wanted = pixels(truth.run)
    for name, found in pixels(folder).items():
        np.testing.assert_array_equal(found, wanted[name], err_msg=name)


STORMS = [("http", (*PASSING, "slow")), ("http", ("cut",)), ("s3", PASSING)]


def areas(ended):
    """The summary's areas; the audit is drawn by the fingerprint, which holds the address, so other tiles are in it."""
    block = ended.json["area"]
    return block | {"audit": {key: value for key, value in block["audit"].items() if key != "chance"}}


@pytest.mark.parametrize(("form", "kinds"), STORMS, ids=lambda x: x if isinstance(x, str) else "+".join(x))
def test_a_source_in_a_storm_gives_the_same_pixels(world, truth, tmp_path, form, kinds):
    server = world.bucket if form == "s3" else world.web
    server.plan(*kinds, rate=0.2, seed=7, delay_s=0.5)
    seen = world.run(address(world, form), tmp_path / "run")
    faults = count(server)
    assert seen.code == 0, seen.err
    assert faults.total() >= 3, faults
    assert areas(seen) == areas(truth)
    require_same_pixels(tmp_path / "run", truth)
    print(f"{form}: {faults.total()} faults {dict(faults)}, 0 pixels different, {seen.seconds:.1f} s")


def test_an_answer_that_stalls_is_given_up_and_asked_for_again(world, truth, tmp_path):
    world.web.plan("stall", limit=1, match="GET", from_request=4)
    seen = world.run(address(world, "http"), tmp_path / "run")
    assert count(world.web)["stall"] == 1
    assert seen.code == 0, seen.err
    assert 5 < seen.seconds < 30
    require_same_pixels(tmp_path / "run", truth)


def test_half_a_header_is_no_header(world):
    """GDAL opens what it got of it: an image without mask, nodata or place, whose holes would count as observed."""
    path = write_masked(world.folder / "masked.tif")
    wanted = looked_at(str(path))
    fooled, tries = 0, 0
    for first, share in product((0, 1), (0.02, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.99)):
        url = f"{world.web.url}/masked.tif?{first}{share}"
        plan = {"share": share, "limit": 4, "match": "GET /masked", "from_request": first}
        world.web.plan("cut", **plan)
        with suppress(RasterioIOError), rasterio.open(url + "x") as file:
            fooled += file.mask_flag_enums[0] != [MaskFlags.per_dataset] or file.crs is None
        world.web.plan("cut", **plan)
        found = looked_at(url)
        tries += count(world.web)["cut"] > 0
        assert found == wanted, (first, share)
    print(f"{tries} cut headers, of which GDAL alone takes {fooled} for whole; 0 taken here")
    assert fooled >= 3
    assert tries >= 14


def looked_at(uri: str) -> object:
    """All that is made of an image."""
    source = open_source(SourceSpec(uris=(uri,)))
    info = replace(source.info, uri="")
    seen = source.read(Window(y=0, x=0, height=256, width=256), plane_at(info, 1))
    source.close()
    return info, seen.data.tobytes(), seen.valid.tobytes()


def test_a_mask_beside_the_image_is_not_overlooked(world):
    """Whether there is one is asked with a request of its own; no answer is not "no"."""
    alone, path = (write_masked(world.folder / name, internal=False) for name in ("alone.tif", "beside.tif"))
    assert Path(f"{path}.msk").exists()
    plan = {"match": "HEAD .*msk", "limit": 6}
    with rasterio.Env(GDAL_HTTP_MAX_RETRY=2, GDAL_HTTP_RETRY_DELAY=0.1):
        world.web.plan("500", **plan)
        with rasterio.open(f"{world.web.url}/{alone.name}") as file:
            assert file.mask_flag_enums[0] == [MaskFlags.all_valid]  # so GDAL by itself
    world.web.plan("500", **plan)
    found = looked_at(f"{world.web.url}/{path.name}")
    assert count(world.web)["500"] == 6
    assert found == looked_at(str(path))


def write_masked(path: Path, *, internal: bool = True) -> Path:
    """All water; half of it is masked, and the mask lies at the end of the file, or in one of its own."""
    bands = np.stack([np.full((256, 256), 90), np.full((256, 256), 40)]).astype("uint8")
    profile = {"width": 256, "height": 256, "count": 2, "dtype": "uint8", "crs": "EPSG:32633", "transform": UTM}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=64, blockysize=64, **profile) as file,
    ):
        file.write(bands)
        file.descriptions = ("green", "nir")
        file.write_mask(np.arange(256)[None] >= np.full((256, 1), 128))
    return path


def lost_bytes(path: Path, row: int) -> list[list[int]]:
    """Where the first two blocks of a row of blocks lie, in every band."""
    spans = []
    with rasterio.open(path) as file:
        for band in file.indexes:
            for col in (0, 1):
                start = int(file.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band))
                spans.append([start, start + int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band))])
    return spans


@pytest.mark.parametrize(("form", "kind", "named"), [("http", "416", "HTTP 416"), ("s3", "403", "HTTP 403")])
def test_a_part_that_cannot_be_had_costs_its_own_tiles(world, truth, tmp_path, form, kind, named):
    server = world.bucket if form == "s3" else world.web
    server.plan(kind, byte_ranges=lost_bytes(truth.path, 4), match="scene")
    seen = world.run(address(world, form), tmp_path / "run", timeout_s=200)
    print(f"{form} {kind}: {seen.seconds:.1f} s, {count(server).total()} faults")
    assert seen.code == 3, seen.err
    lost = unreadable(tmp_path / "run")
    assert all(named in reason for reason in lost.values()), set(lost.values())
    gone = np.zeros(truth.water.shape, bool)
    for row, col in lost:
        gone[row * 64 : row * 64 + 64, col * 64 : col * 64 + 64] = True
    assert gone[256:320, :128].all()  # the lost blocks
    assert gone[:192].sum() + gone[384:].sum() == 0  # blocks that share nothing with them
    assert seen.json["area"]["not_observed"] == pytest.approx(gone.sum() * 100 / 0.9996**2)
    np.testing.assert_array_equal(mask(tmp_path / "run"), np.where(gone, 0, mask(truth.run)))


def unreadable(folder: Path) -> dict[tuple[int, int], str]:
    import pyarrow.parquet as pq

    tiles = pq.read_table(folder / "tiles.parquet").to_pylist()
    return {(t["row"], t["col"]): t["reason"] for t in tiles if t["state"] == "unreadable"}


@pytest.mark.parametrize("kind", ["expired", "403"])
def test_credentials_that_are_refused_at_the_start(world, truth, tmp_path, kind):
    world.bucket.plan(kind)
    seen = world.run(address(world, "s3"), tmp_path / "run")
    count(world.bucket)
    assert seen.code == 2
    assert plain_error(seen.err, "s3://scenes/scene.tif", "expired"), seen.err


@pytest.mark.parametrize("kind", ["expired", "reset"])
def test_a_source_that_goes_for_good_is_finished_later(world, truth, tmp_path, kind):
    """Credentials that expire, or a server that dies: no zeros for water, no hours of waiting."""
    world.bucket.plan(kind, from_request=30)
    seen = world.run(address(world, "s3"), tmp_path / "run", timeout_s=200)
    print(f"{kind}: exit {seen.code} after {seen.seconds:.1f} s, {count(world.bucket).total()} faults")
    assert seen.code == 3, seen.err
    assert seen.seconds < 120
    assert "Traceback" not in seen.err
    assert unreadable(tmp_path / "run")
    assert seen.json["area"]["not_observed"] > 0
    again = world.call("resume", tmp_path / "run", "--workers", 2, "--json")
    assert again.code == 0, again.err
    assert areas(again) == areas(truth)
    require_same_pixels(tmp_path / "run", truth)


# a run that lies in a bucket


def require_same_run(world: World, name: str, truth: Truth, tmp_path: Path) -> None:
    found = world.download(name, tmp_path / "found")
    assert differences(found, truth.files) == []
    assert len(truth.files) > 50


@pytest.mark.parametrize("kinds", [("cut",), (*PASSING, "slow")], ids="+".join)
def test_a_run_in_a_bucket_in_a_storm_is_the_local_run(world, truth, tmp_path, kinds):
    name = f"storm-{len(kinds)}-{kinds[0]}"
    world.bucket.plan(*kinds, rate=0.15, seed=11, delay_s=0.3)
    seen = world.run(truth.path, f"s3://runs/{name}")
    requests, faults = world.bucket.counts()["requests"], count(world.bucket)
    assert seen.code == 0, seen.err
    assert faults.total() >= 10, faults
    require_same_run(world, name, truth, tmp_path)
    print(f"{kinds}: {faults.total()} faults in {requests} requests, 0 bytes different, {seen.seconds:.1f} s")


def test_a_run_in_a_bucket_survives_kill_9(world, truth, tmp_path):
    out = "s3://runs/killed"
    killed = 0
    for after in (0.5, 0.9, 1.3, 1.7):
        world.bucket.plan("slow", "500", rate=0.3, seed=13, delay_s=0.2)
        killed += world.run(truth.path, out, kill_after_s=after).code == -9
        count(world.bucket)
    ended = world.run(truth.path, out)
    assert ended.code == 0, ended.err
    require_same_run(world, "killed", truth, tmp_path)
    assert killed >= 3
    TALLY["kill -9"] += killed


def test_a_second_process_is_refused(world, truth, tmp_path):
    world.bucket.plan("slow", rate=1.0, delay_s=0.15, match="PUT")
    first: list[Ended] = []
    thread = threading.Thread(target=lambda: first.append(world.run(truth.path, "s3://runs/two")))
    thread.start()
    try:
        wait_until(lambda: "two/.lock" in keys(world, "two/"))
        with Zygote(tmp_path / "zygote") as other:
            second = World(world.client, world.bucket, world.web, world.folder, other).run(truth.path, "s3://runs/two")
    finally:
        thread.join()
        count(world.bucket)
    assert second.code == 2
    assert plain_error(second.err, "another process"), second.err
    assert first[0].code == 0, first[0].err
    require_same_run(world, "two", truth, tmp_path)


def keys(world: World, prefix: str) -> set[str]:
    found = world.client.list_objects_v2(Bucket="runs", Prefix=prefix).get("Contents", [])
    return {item["Key"] for item in found}


def wait_until(there: Any) -> None:
    for _ in range(300):
        if there():
            return
        time.sleep(0.05)
    pytest.fail("it never came")


@pytest.mark.parametrize(
    ("kind", "match", "words"),
    [
        ("403", "PUT .*/mask/0/c/", ("mask/0/c/", "403")),
        ("500", "PUT .*/mask/0/c/", ("mask/0/c/", "500")),
        ("expired", "", ("Expired",)),
    ],
    ids=["no permission", "broken", "expired"],
)
def test_a_bucket_that_takes_no_more_ends_the_run_clearly(world, truth, tmp_path, kind, match, words):
    name = f"full-{kind}"
    world.bucket.plan(kind, match=match, from_request=0 if match else 60)
    seen = world.run(truth.path, f"s3://runs/{name}", timeout_s=200)
    print(f"{kind}: exit {seen.code} after {seen.seconds:.1f} s, {count(world.bucket).total()} faults")
    assert seen.code == 1, seen.err
    assert plain_error(seen.err, *words), seen.err
    again = world.call("resume", f"s3://runs/{name}", "--workers", 2, "--json")
    assert again.code == 0, again.err
    require_same_run(world, name, truth, tmp_path)
