"""Images behind a network: what GDAL and curl say of them, and how long to ask again."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TypeVar

import rasterio
from rasterio import DatasetReader
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError, RasterioIOError

from tiling.errors import BadData
from tiling.raster_turns import Turns
from tiling.raster_voice import heard_by
from tiling.retry import GaveUp, Line, Patience, retrying

T = TypeVar("T")

_NETWORKED = re.compile(
    r"(?!file:)[a-z][a-z0-9+.-]+://|.*/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)", re.IGNORECASE
)
_SAID = re.compile(
    r"(?:response_code=|HTTP error code *: |HTTP response code(?: on \S+)?: )(\d+)(?:, msg=(\S.*))?|CURL error: (.+)"
)
"""How GDAL passes on what a server answered, and what curl says when no answer came, or not all of it."""
_CUT = re.compile(
    r"response_code=2\d\d, msg=\S|IO error during reading|Failed to read directory"
    r"|GetFileSize\(.*response_code=(?:0|429|5\d\d)\b"
)
"""An answer that ended early, or did not come: GDAL takes a header without its end for one without mask, nodata or
place, and a mask beside the image that it was not told of for none."""
_HALF = re.compile(r"Parse error at EOF|elements have been closed|doesn't have matching")
"""The XML with which S3 says why it refuses, cut: of an answer that is not whole its status says nothing for good."""
_PASSING = {408, 425, 429}
"""Statuses of 400 and more, less than 500, that may be another one the next time."""
PATIENCE = Patience()
QUICK = Patience(attempts=3, first_delay_s=0.1)
"""For a file that is opened again within an attempt."""
ATTEMPTS = 4
"""After GDAL itself has repeated a request; one that was cut it has not, that may be tried more often."""
ONCE = Patience(attempts=1)
HASTE = {
    "GDAL_HTTP_MAX_RETRY": 0,
    "GDAL_HTTP_CONNECTTIMEOUT": 3,
    "GDAL_HTTP_LOW_SPEED_TIME": 3,
    "GDAL_HTTP_TIMEOUT": 10,
}
"""GDAL's options for a server that has been down for a while."""
ERRORS = (RasterioError, BadData, CPLE_BaseError)
"""What a read may raise; rasterio lets GDAL's own errors through where it asks for masks and overviews."""
_mine = threading.local()
_turns = Turns()


def networked(uri: str) -> bool:
    """True for what travels over a network: URLs and GDAL's file systems of that kind."""
    return _NETWORKED.match(uri) is not None


def patiently(uris: Sequence[str], do: Callable[[], T], forget: Callable[[], object] = lambda: None) -> T:
    """do(), more than once where one of the files is behind a network; forget() after each failure.

    Raises RasterioIOError that names the last status, or what do() raises where no network is in between.
    """
    if not any(map(networked, uris)):
        return _once(do, forget)
    if getattr(_mine, "patient", False):  # the call around this one does the waiting
        return _quickly(lambda: _attempt(do, forget))
    line = _line(tuple(uris))
    if line.dead(any(_line((uri,)).closed for uri in uris)):
        raise RasterioIOError(f"{line.complaint}; not tried again so soon")
    _mine.patient = True
    try:
        with rasterio.Env(**(HASTE if line.tired() else {})):
            answer = retrying(lambda: _attempt(do, forget), _may_pass, ONCE if line.tired() else PATIENCE)
    except GaveUp as end:
        if isinstance(end.__cause__, _Failed):
            line.failed(f"{end.__cause__}; {end}")
            raise RasterioIOError(line.complaint) from None
        raise end.__cause__ or end from None
    finally:
        _mine.patient = False
    line.worked()
    return answer


class _Failed(RasterioIOError):  # type: ignore[misc]
    """An attempt that failed, in the words of the network."""

    def __init__(self, text: str, status: int) -> None:
        """status: of HTTP; 0 when there was none."""
        super().__init__(text)
        self.status = status


def _once(do: Callable[[], T], forget: Callable[[], object]) -> T:
    try:
        return do()
    except ERRORS:
        forget()
        raise


def _attempt(do: Callable[[], T], forget: Callable[[], object]) -> T:
    """Once. Raises _Failed."""
    with hearing() as heard:
        try:
            return do()
        except _Failed:
            raise
        except ERRORS as error:
            failed = _Failed(*_complaint(heard, error))
    forget()
    raise failed


def _quickly(attempt: Callable[[], T]) -> T:
    try:
        return retrying(attempt, _was_cut, QUICK)
    except GaveUp as end:
        raise end.__cause__ or end from None


def _was_cut(error: Exception, _: int = 0) -> bool:
    return isinstance(error, _Failed) and 200 <= error.status < 300


def _may_pass(error: Exception, attempts: int) -> bool:
    if not isinstance(error, _Failed) or (400 <= error.status < 500 and error.status not in _PASSING):
        return False
    return _was_cut(error) or attempts < ATTEMPTS


def open_patiently(uri: str, open_it: Callable[[], DatasetReader]) -> DatasetReader:
    """open_it(); for a file behind a network also all of its header, whole or not at all. Raises RasterioIOError."""
    if not networked(uri):
        return open_it()
    line = _line((uri,))
    line.closed = True
    dataset = patiently((uri,), lambda: _open_whole(open_it))
    line.closed = False
    return dataset


@contextmanager
def reading(uris: Sequence[str]) -> Iterator[None]:
    """Around what reads pixels: beside other readers, and while no file behind a network is opened or closed."""
    with _turns.shared() if any(map(networked, uris)) else nullcontext():
        yield


@contextmanager
def closing(uris: Sequence[str]) -> Iterator[None]:
    """Around what closes files: alone where one of them is behind a network."""
    with _turns.alone() if any(map(networked, uris)) else nullcontext():
        yield


def _open_whole(open_it: Callable[[], DatasetReader]) -> DatasetReader:
    with _turns.alone(), hearing() as heard:
        dataset = open_it()
        if dataset.count:
            _ = dataset.overviews(1), dataset.mask_flag_enums  # GDAL looks for them now, not later
    cut = next(filter(_CUT.search, heard), None)
    if cut:
        with _turns.alone():
            dataset.close()
        raise _Failed(f"its header came incomplete: {_complaint([cut], RasterioError(cut))[0]}", 206)
    return dataset


@cache
def _line(uris: tuple[str, ...]) -> Line:  # noqa: ARG001
    """One per process, for all threads and spans that read the same image."""
    return Line()


def _complaint(heard: Sequence[str], error: Exception) -> tuple[str, int]:
    """(what went wrong last, its status): "HTTP 503" or "end of response with 99 bytes missing (HTTP 206)"."""
    if _HALF.search(str(error)):
        return f"an answer ended early: {error}", 206
    for found in filter(None, map(_SAID.search, reversed(heard))):
        status, text = int(found[1] or 0), (found[2] or found[3] or "").strip(" '")
        if status >= 400 and not text and not re.search(rf"{status}|^Read failed", str(error)):
            text = str(error)  # S3 says why
        if text or status >= 400:
            return (f"{text} (HTTP {status})" if status and text else text or f"HTTP {status}"), status
    return str(error.__cause__ or error), 0


@contextmanager
def hearing() -> Iterator[list[str]]:
    """What GDAL says in this thread meanwhile, with every status: its exceptions do not name them."""
    heard: list[str] = []

    def ear(message: str) -> bool:
        """True for talk of requests that are made again."""
        heard.append(message)
        return bool(_SAID.search(message) or _CUT.search(message))

    with heard_by(ear), rasterio.Env(CPL_DEBUG="VSICURL,S3,GS,AZURE,ADLS,OSS,SWIFT,WEBHDFS"):
        yield heard
