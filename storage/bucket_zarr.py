"""zarr's object store: its errors in our words, and again what object_store gives up at once, a 404 cut in its text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from zarr.storage import ObjectStore

from storage.asking import once_more, told, waits

T = TypeVar("T")


class ToldStore(ObjectStore[Any]):
    """A store to read from."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """One GET; None when there is nothing."""
        with told(f"{self.store}/{key}", "read"):
            return await _again(lambda: ObjectStore.get(self, key, prototype, byte_range))

    async def exists(self, key: str) -> bool:
        """One HEAD."""
        with told(f"{self.store}/{key}", "read"):
            return await _again(lambda: ObjectStore.exists(self, key))


async def _again(do: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """As again, for zarr."""
    for wait_s in waits():
        with once_more():
            return await do()
        await asyncio.sleep(wait_s)
    return await do()
