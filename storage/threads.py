"""Threads for what leaves the interpreter free: compression and hashes."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache


def threads() -> Executor:
    """One per core, kept: to start them for every batch costs a quarter more. Nothing there may wait for another."""
    return _threads_of(os.getpid())  # a forked process has none of its parent's threads


@cache
def _threads_of(process: int) -> Executor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix=f"storage-{process}")
