"""How often one caller may ask."""

import threading
from typing import Any

import pytest
from limits import parse
from limits.strategies import FixedWindowRateLimiter

from serving.predictions.rate import SWEEP_S, Rate, Windows
from serving.predictions.replies import Refused


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def of(address: str) -> dict[str, Any]:
    return {"type": "http", "client": (address, 1)}


def test_each_caller_has_its_own_count() -> None:
    """One that asks too often keeps no one else waiting."""
    rate = Rate("2/hour")
    for _ in range(2):
        rate.check(of("10.0.0.1"))
    with pytest.raises(Refused, match="2 per 1 hour") as refused:
        rate.check(of("10.0.0.1"))
    assert refused.value.retry_after_s is not None
    assert 3_500 < refused.value.retry_after_s <= 3_601
    rate.check(of("10.0.0.2"))


def test_workers_share_the_rate() -> None:
    """Each counts for itself, so each lets its part through."""
    rate = Rate("4/hour", workers=2)
    for _ in range(2):
        rate.check(of("10.0.0.1"))
    with pytest.raises(Refused):
        rate.check(of("10.0.0.1"))


def test_no_limit_refuses_no_one() -> None:
    """With the word for it."""
    rate = Rate("none")
    for _ in range(2_000):
        rate.check(of("10.0.0.1"))


def test_window_begins_with_its_first_request_and_ends() -> None:
    """Then the caller may ask again."""
    clock = Clock()
    windows = Windows(clock=clock)
    limiter, item = FixedWindowRateLimiter(windows), parse("2/minute")
    assert [limiter.hit(item, "a") for _ in range(3)] == [True, True, False]
    stats = limiter.get_window_stats(item, "a")
    assert (stats.reset_time, stats.remaining) == (1_060.0, 0)
    clock.now += 59.9
    assert not limiter.hit(item, "a")
    clock.now += 0.1
    assert limiter.hit(item, "a")
    assert limiter.get_window_stats(item, "a").remaining == 1


def test_callers_that_went_are_forgotten() -> None:
    """Addresses that ask once must not fill the memory; whose window is not over is kept."""
    clock = Clock()
    windows = Windows(clock=clock)
    for number in range(500):
        windows.incr(f"gone {number}", 1)
    windows.incr("stays", 10 * SWEEP_S)
    assert len(windows) == 501
    clock.now += SWEEP_S
    windows.incr("new", 1)
    assert len(windows) == 2
    assert windows.get("stays") == 1


def test_windows_can_be_forgotten() -> None:
    """One, or all; what is not there has no count."""
    windows = Windows()
    windows.incr("a", 60)
    windows.incr("b", 60, amount=3)
    windows.clear("a")
    assert (windows.get("a"), windows.get("b")) == (0, 3)
    assert windows.reset() == 1
    assert windows.get("b") == 0
    assert windows.check()


def test_counting_starts_no_thread() -> None:
    """A thread for each hundredth of a second cost more than the answers."""
    before = set(threading.enumerate())
    started: list[str] = []
    threading.setprofile(lambda *_: started.append(threading.current_thread().name))
    try:
        rate = Rate("1000000/second")
        for _ in range(100):
            rate.check(of("10.0.0.1"))
    finally:
        threading.setprofile(None)
    assert not started
    assert set(threading.enumerate()) <= before


def test_threads_count_every_request() -> None:
    """None is lost where several count at once."""
    windows = Windows()

    def count() -> None:
        for _ in range(1_000):
            windows.incr("a", 600)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert windows.get("a") == 4_000
