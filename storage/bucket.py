"""A run on object storage: one PUT is whole or absent by itself. Credentials and endpoint come from the environment."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, GenericError
from obstore.store import from_url
from zarr.storage import ObjectStore

from storage.folder import LOCK, CannotStore, Folder
from storage.lease import renewing, take
from tiling.errors import BadInput

T = TypeVar("T")

RETRIES: Any = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"base": 2, "init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=10)},
}
"""object_store waits a random time between the last wait and twice that: backoff with jitter."""
ATTEMPTS = 5
"""Of what it does not repeat itself."""
RETRIES_MADE = re.compile(r"after (\d+) retries, max_retries")
LONG_S = 20.0


class BucketFolder:
    """A prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        """uri: s3://bucket/prefix. Raises BadInput when it is no such address."""
        self.uri = uri.rstrip("/")
        self._store = _connect(self.uri)

    def read(self, name: str) -> bytes | None:
        """See Folder. Raises CannotStore when the bucket does not answer."""
        with _told(f"{self.uri}/{name}", "read"):
            try:
                return again(lambda: bytes(obstore.get(self._store, name).bytes()))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def write(self, name: str, data: bytes, *, private: bool = False, durable: bool = True) -> None:  # noqa: ARG002
        """See Folder; who may read it is the bucket's own affair."""
        with _told(f"{self.uri}/{name}", "written"):
            obstore.put(self._store, name, data, use_multipart=False)

    def remove(self, name: str) -> None:
        """See Folder."""
        with _told(f"{self.uri}/{name}", "removed"):
            again(lambda: obstore.delete(self._store, name))

    def names(self, below: str = "") -> set[str]:
        """See Folder."""
        with _told(f"{self.uri}/{below}", "listed"):
            found = again(lambda: obstore.list_with_delimiter(self._store, below or None))
        return {path.rstrip("/").split("/")[-1] for path in (*found["common_prefixes"], *_paths(found["objects"]))}

    def damaged(self, files: Mapping[str, str]) -> set[str]:
        """See Folder: whether they are there; a bucket checks their bytes itself, and to fetch them all costs too much."""
        there: set[str] = set()
        with _told(self.uri, "listed"):
            for folder in {name.split("/c/")[0] for name in files}:
                there |= set(again(partial(self._all_below, folder)))
        return {name for name, sha256 in files.items() if (name in there) != bool(sha256)}

    def _all_below(self, folder: str) -> list[str]:
        return _paths(obstore.list(self._store, folder).collect())

    def zarr(self, name: str) -> ObjectStore[Any]:
        """See Folder."""
        return _ToldStore(_connect(f"{self.uri}/{name}"))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See Folder: a lease, renewed while this process lives."""
        with _told(f"{self.uri}/{LOCK}", "written"):
            tag = again(lambda: take(self._store, self.uri))
        try:
            with renewing(self._store, tag):
                yield
        finally:
            self.remove(LOCK)


class _ToldStore(ObjectStore[Any]):
    """zarr's object store, its errors in our words; and again what object_store gives up at once.

    That is a delete whose answer is lost, and an answer 404 that is cut in its text.
    """

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """One GET; None when there is nothing."""
        with _told(f"{self.store}/{key}", "read"):
            return await _again(lambda: ObjectStore.get(self, key, prototype, byte_range))

    async def exists(self, key: str) -> bool:
        """One HEAD."""
        with _told(f"{self.store}/{key}", "read"):
            return await _again(lambda: ObjectStore.exists(self, key))

    async def set(self, key: str, value: Any) -> None:
        """One PUT."""
        with _told(f"{self.store}/{key}", "written"):
            await _again(lambda: ObjectStore.set(self, key, value))

    async def delete(self, key: str) -> None:
        """One DELETE."""
        with _told(f"{self.store}/{key}", "removed"):
            await _again(lambda: ObjectStore.delete(self, key))


async def _again(do: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """As again, for zarr."""
    for wait_s in _waits():
        with _once_more():
            return await do()
        await asyncio.sleep(wait_s)
    return await do()


def _connect(uri: str) -> Any:
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    try:
        return from_url(uri, client_options={"allow_http": plain, "timeout": "60s"}, retry_config=RETRIES)
    except (BaseError, ValueError, TypeError) as error:
        raise BadInput(
            f"{uri} is no address of a bucket that can be used: {_first_lines(error)}. Write s3://BUCKET/PREFIX"
        ) from error


@contextmanager
def _told(what: str, done: str) -> Iterator[None]:
    """What object storage complains of, in our words."""
    try:
        yield
    except (BaseError, OSError) as error:
        reason = _first_lines(error)
        raise CannotStore(f"{what} cannot be {done}: {type(error).__name__}: {reason:.500}{_advice(reason)}") from error


def _first_lines(error: Exception) -> str:
    """What it says before it goes on for pages."""
    return " ".join(str(error).partition("Debug source")[0].split())


def _advice(reason: str) -> str:
    if "Expired" in reason or "403" in reason or "401" in reason:
        return ". Renew the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)"
    return ""


def again(do: Callable[[], T]) -> T:
    """What object_store leaves to its user: a list, a delete or a conditional PUT whose answer was lost, a 404 cut short."""
    for wait_s in _waits():
        with _once_more():
            return do()
        time.sleep(wait_s)
    return do()


def _waits() -> list[float]:
    """Seconds between attempts: anything up to a bound that doubles each time."""
    return [random.uniform(0, 0.2 * 2**attempt) for attempt in range(ATTEMPTS - 1)]  # noqa: S311 (no secret)


@contextmanager
def _once_more() -> Iterator[None]:
    """Swallow what another attempt may mend, unless object_store has made all of its own, or taken long over them."""
    started = time.monotonic()
    try:
        yield
    except GenericError as error:
        made = RETRIES_MADE.search(str(error))
        if (made and int(made[1]) >= RETRIES["max_retries"]) or time.monotonic() - started > LONG_S:
            raise


def _paths(objects: Any) -> list[str]:
    return [str(found["path"]) for found in objects]


_: type[Folder] = BucketFolder
