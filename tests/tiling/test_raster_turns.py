"""Readers together, whoever is alone by itself: counted by the threads themselves."""

import threading
import time

import pytest

from tiling.raster_turns import Turns


def test_many_share_and_one_is_alone() -> None:
    turns, guard = Turns(), threading.Lock()
    now, most, wrong = {"shared": 0, "alone": 0}, {"shared": 0, "alone": 0}, []

    def work(kind: str, times: int) -> None:
        for _ in range(times):
            with getattr(turns, kind)():
                with guard:
                    now[kind] += 1
                    most[kind] = max(most[kind], now[kind])
                    if now["alone"] > 1 or (now["alone"] and now["shared"]):
                        wrong.append(dict(now))
                time.sleep(0.001)
                with guard:
                    now[kind] -= 1

    threads = [threading.Thread(target=work, args=(kind, 30)) for kind in ("shared",) * 4 + ("alone",) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert most["shared"] > 1


def test_an_error_gives_the_turn_back() -> None:
    turns = Turns()
    for kind in ("shared", "alone"):
        with pytest.raises(ZeroDivisionError), getattr(turns, kind)():
            _ = 1 / 0
    done = threading.Event()

    def both() -> None:
        with turns.alone():
            pass
        with turns.shared():
            done.set()

    threading.Thread(target=both, daemon=True).start()
    assert done.wait(10)
