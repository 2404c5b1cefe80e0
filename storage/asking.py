"""How object storage is asked: again where that may help, and what it complains of in our words."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from obstore.exceptions import BaseError, GenericError

from storage.folder import CannotStore

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


@contextmanager
def told(what: str, done: str) -> Iterator[None]:
    """What object storage complains of, in our words."""
    try:
        yield
    except (BaseError, OSError) as error:
        reason = first_lines(error)
        raise CannotStore(f"{what} cannot be {done}: {type(error).__name__}: {reason:.500}{_advice(reason)}") from error


def first_lines(error: Exception) -> str:
    """What it says before it goes on for pages."""
    return " ".join(str(error).partition("Debug source")[0].split())


def _advice(reason: str) -> str:
    if "Expired" in reason or "403" in reason or "401" in reason:
        return ". Renew the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)"
    return ""


def again(do: Callable[[], T]) -> T:
    """What object_store leaves to its user: a list, a delete or a conditional PUT whose answer was lost, a 404 cut short."""
    for wait_s in waits():
        with once_more():
            return do()
        time.sleep(wait_s)
    return do()


def waits() -> list[float]:
    """Seconds between attempts: anything up to a bound that doubles each time."""
    return [random.uniform(0, 0.2 * 2**attempt) for attempt in range(ATTEMPTS - 1)]  # noqa: S311 (no secret)


@contextmanager
def once_more() -> Iterator[None]:
    """Swallow what another attempt may mend, unless object_store has made all of its own, or taken long over them."""
    started = time.monotonic()
    try:
        yield
    except GenericError as error:
        made = RETRIES_MADE.search(str(error))
        if (made and int(made[1]) >= RETRIES["max_retries"]) or time.monotonic() - started > LONG_S:
            raise
