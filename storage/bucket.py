"""A run on object storage: one PUT is whole or absent by itself. Credentials and endpoint come from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from storage.asking import RETRIES, again, first_lines, told
from storage.folder import LOCK, Folder
from storage.lease import renewing, take
from tiling.errors import BadInput


class BucketFolder:
    """A prefix of a bucket."""

    readers = 16  # each waits for an answer, not for a processor

    def __init__(self, uri: str) -> None:
        """uri: s3://bucket/prefix. Raises BadInput when it is no such address."""
        self.uri = uri.rstrip("/")
        self._store = _connect(self.uri)

    def read(self, name: str) -> bytes | None:
        """See Folder. Raises CannotStore when the bucket does not answer."""
        with told(f"{self.uri}/{name}", "read"):
            try:
                return again(lambda: bytes(obstore.get(self._store, name).bytes()))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def write(self, name: str, data: bytes, *, private: bool = False, durable: bool = True) -> None:  # noqa: ARG002
        """See Folder; who may read it is the bucket's own affair."""
        with told(f"{self.uri}/{name}", "written"):
            again(lambda: obstore.put(self._store, name, data, use_multipart=False))

    def remove(self, name: str) -> None:
        """See Folder."""
        with told(f"{self.uri}/{name}", "removed"):
            again(lambda: obstore.delete(self._store, name))

    def clear(self, below: str) -> None:
        """See Folder."""
        with told(f"{self.uri}/{below}", "removed"):
            found = again(partial(self._all_below, below))
            again(lambda: obstore.delete(self._store, found))

    def names(self, below: str = "") -> set[str]:
        """See Folder."""
        with told(f"{self.uri}/{below}", "listed"):
            found = again(lambda: obstore.list_with_delimiter(self._store, below or None))
        return {path.rstrip("/").split("/")[-1] for path in (*found["common_prefixes"], *_paths(found["objects"]))}

    def damaged(self, files: Mapping[str, str]) -> set[str]:
        """See Folder: whether they are there; a bucket checks their bytes itself, and to fetch them all costs too much."""
        there: set[str] = set()
        with told(self.uri, "listed"):
            for folder in {name.split("/c/")[0] for name in files}:
                there |= set(again(partial(self._all_below, folder)))
        return {name for name, sha256 in files.items() if (name in there) != bool(sha256)}

    def _all_below(self, folder: str) -> list[str]:
        return _paths(obstore.list(self._store, folder).collect())

    def zarr(self, name: str) -> Any:
        """See Folder."""
        from storage.bucket_zarr import ToldStore

        return ToldStore(_connect(f"{self.uri}/{name}"), read_only=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See Folder: a lease, renewed while this process lives."""
        with told(f"{self.uri}/{LOCK}", "written"):
            tag = again(lambda: take(self._store, self.uri))
        try:
            with renewing(self._store, tag):
                yield
        finally:
            self.remove(LOCK)


def _connect(uri: str) -> Any:
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    try:
        return from_url(uri, client_options={"allow_http": plain, "timeout": "60s"}, retry_config=RETRIES)
    except (BaseError, ValueError, TypeError) as error:
        raise BadInput(
            f"{uri} is no address of a bucket that can be used: {first_lines(error)}. Write s3://BUCKET/PREFIX"
        ) from error


def _paths(objects: Any) -> list[str]:
    return [str(found["path"]) for found in objects]


_: type[Folder] = BucketFolder
