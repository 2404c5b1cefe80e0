"""S3 says in XML why it refuses; when that comes cut, it has not refused yet."""

import pytest
from rasterio import _err
from rasterio.errors import RasterioIOError

from tiling.raster_remote import patiently


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Line 1: </I> doesn't have matching <I>.", 2),
        ("Parse error at EOF, not all elements have been closed, starting with RequestId", 2),
        ("The specified key does not exist.", 1),
    ],
)
def test_a_refusal_counts_when_it_is_whole(said: str, asked: int) -> None:
    calls: list[str] = []

    def opening() -> str:
        calls.append(said)
        if len(calls) == 1:
            _err.log.info("HTTP response code on s3://a/b.tif: 404")
            raise RasterioIOError(said)
        return "open"

    if asked == 1:
        with pytest.raises(RasterioIOError, match="404"):
            patiently((f"s3://half/{len(said)}.tif",), opening)
    else:
        assert patiently((f"s3://half/{len(said)}.tif",), opening) == "open"
    assert len(calls) == asked
