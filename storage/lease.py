"""One process at a time in a bucket: an object that says who, until when; put under a condition, renewed, deleted."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PreconditionError

from storage.folder import LOCK
from tiling.errors import BadInput

LEASE_S = 60.0
"""A lease that was not renewed for so long has lost its holder."""


def take(store: Any, uri: str) -> str:
    """Write a lease where there is none, or a dead one. Returns its entity tag.

    Raises BadInput while another process holds one, obstore's errors when the bucket does not answer.
    """
    try:
        return _put(store, "create")
    except AlreadyExistsError:
        lease, tag = _read(store)
    holder = _holder(lease)
    if not _is_dead(holder):
        until = time.strftime("%H:%M:%S UTC", time.gmtime(holder["until"]))
        raise BadInput(
            f"another process is working on {uri} (process {holder['pid']} on {holder['host']}, lease until {until}); "
            "wait for it, or stop it first"
        )
    try:
        return _put(store, {"e_tag": tag})
    except PreconditionError:
        raise BadInput(f"another process has just begun to work on {uri}; wait for it") from None


@contextmanager
def renewing(store: Any, tag: str) -> Iterator[None]:
    """Keep a lease alive meanwhile. tag: of its object."""
    done = threading.Event()
    keeper = threading.Thread(target=_renew, args=(store, tag, done), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def _renew(store: Any, tag: str, done: threading.Event) -> None:
    """Three times per lease. A renewal that fails does no harm: two processes of one plan write the same bytes."""
    while not done.wait(LEASE_S / 3):
        try:
            tag = _put(store, {"e_tag": tag})
        except (BaseError, OSError):
            continue


def _put(store: Any, mode: Any) -> str:
    """A new lease under a condition. A lost answer looks like a lost race: what is there then tells them apart."""
    lease = _lease()
    try:
        return str(obstore.put(store, LOCK, lease, mode=mode)["e_tag"])
    except (AlreadyExistsError, PreconditionError, GenericError) as error:
        found, tag = _read(store)
        if found != lease:
            raise error from None
        return tag


def _read(store: Any) -> tuple[bytes, str]:
    """(the lease, its entity tag); (nothing, "") when there is none."""
    try:
        found = obstore.get(store, LOCK)
    except FileNotFoundError:
        return b"", ""
    return bytes(found.bytes()), str(found.meta["e_tag"])


def _lease() -> bytes:
    who = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    return json.dumps(who | {"until": time.time() + LEASE_S}).encode()


def _holder(lease: bytes) -> dict[str, Any]:
    """Whoever wrote it; a lease nobody can read is over."""
    try:
        plain = json.loads(lease)
        return {"host": str(plain["host"]), "pid": int(plain["pid"]), "until": float(plain["until"])}
    except (ValueError, KeyError, TypeError):
        return {"host": "?", "pid": 0, "until": 0.0}


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Its time is up, or it ran on this very machine and is gone (with its number given to us, perhaps)."""
    if holder["until"] < time.time():
        return True
    if holder["host"] != socket.gethostname():
        return False
    return holder["pid"] == os.getpid() or not _is_alive(holder["pid"])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
