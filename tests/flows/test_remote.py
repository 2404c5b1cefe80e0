"""Images behind URLs, from a real S3 server on loopback."""

import subprocess
import sys
import time
import urllib.request

import boto3
import pytest


@pytest.fixture(scope="module")
def bucket():
    """(endpoint host:port, S3 client) of a server that holds the bucket "scenes".

    A process of its own: rasterio keeps the GIL while it opens a URL, so a thread here could never answer.
    """
    port = 5000 + time.time_ns() % 1000
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/moto-api/")
        yield from serve("127.0.0.1", port)
    finally:
        server.kill()
        server.wait()


def wait_for(url):
    for _ in range(150):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"no server at {url}")


def serve(host, port):
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="scenes", ACL="public-read-write")
    yield f"{host}:{port}", client


@pytest.fixture
def online(bucket, make_scene, monkeypatch):
    """(host, scene) with the scene uploaded and GDAL told where S3 is."""
    host, client = bucket
    scene = make_scene()
    client.upload_file(str(scene.path), "scenes", "scene.tif", ExtraArgs={"ACL": "public-read"})
    for name, value in {
        "AWS_S3_ENDPOINT": host,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return host, scene


@pytest.mark.parametrize("form", ["s3://scenes/scene.tif", "/vsicurl/http://{host}/scenes/scene.tif", "http://{host}/scenes/scene.tif"])  # fmt: skip
def test_a_scene_behind_a_url(online, tilegate, tmp_path, form):
    host, scene = online
    uri = form.format(host=host)
    options = ["--out", tmp_path / "run", "--engine", "local", "--json", "--set", "gate.threshold=0"]
    seen = tilegate("run", uri, "--recipe", "water", *options)
    assert seen.code == 0, seen.err
    assert seen.json["area"]["classes"][0]["pixels"] == scene.water.sum()
    again = tilegate("run", uri, "--recipe", "water", *options)
    assert again.code == 0  # the same image is the same run


def test_a_key_that_is_not_there(online, tilegate, tmp_path):
    seen = tilegate("run", "s3://scenes/gone.tif", "--recipe", "water", "--out", tmp_path / "run", "--engine", "local")
    assert seen.code == 2
    assert "s3://scenes/gone.tif cannot be opened" in seen.err
