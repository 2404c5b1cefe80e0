"""Images behind URLs, from a real S3 server on loopback."""

import boto3
import pytest


@pytest.fixture(scope="module")
def bucket(s3_url):
    """(endpoint host:port, S3 client) of a server that holds the bucket "scenes"."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3_url, **keys)
    client.create_bucket(Bucket="scenes", ACL="public-read-write")
    return s3_url.removeprefix("http://"), client


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
