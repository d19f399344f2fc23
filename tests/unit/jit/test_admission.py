from __future__ import annotations

from evmaot.jit.admission import (
    FIRST_PAUSE_AFTER_ACCIDENT_SECONDS,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    HotKeys,
    NegativeCache,
)

KEY, OTHER, THIRD = (b"1" * 32, "osaka"), (b"2" * 32, "osaka"), (b"3" * 32, "osaka")


def test_a_key_is_hot_at_the_threshold_and_then_counted_anew() -> None:
    hot = HotKeys(3)
    assert [hot.miss(KEY) for _ in range(7)] == [False, False, True, False, False, True, False]


def test_keys_are_counted_apart() -> None:
    hot = HotKeys(2)
    assert [hot.miss(key) for key in (KEY, OTHER, KEY, OTHER)] == [False, False, True, True]


def test_a_threshold_of_zero_or_one_is_hot_at_once() -> None:
    assert HotKeys(0).miss(KEY)
    assert HotKeys(1).miss(KEY)


def test_counts_are_bounded_and_the_oldest_is_forgotten() -> None:
    hot = HotKeys(3, capacity=2)
    for key in (KEY, OTHER, KEY, THIRD):
        hot.miss(key)
    assert len(hot) == 2
    assert hot.miss(KEY), "its last miss was younger than that of the one that was forgotten"
    assert not hot.miss(OTHER)
    hot.clear()
    assert len(hot) == 0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_failure_stands_until_its_pause_is_over_and_the_pause_doubles() -> None:
    clock = Clock()
    cache = NegativeCache(clock)
    pause = FIRST_PAUSE_SECONDS
    for attempt in (1, 2, 3):
        failure = cache.remember(KEY, "compile_timeout", "too long", is_repeatable=True)
        assert failure.attempts == attempt
        clock.now += pause - 0.001
        assert cache.standing(KEY) is failure
        clock.now += 0.002
        assert cache.standing(KEY) is None
        assert cache.failures[KEY] is failure, "look-ups still say that it failed"
        pause *= 2
    assert cache.standing(OTHER) is None


def test_an_accident_is_tried_again_sooner() -> None:
    clock = Clock()
    failure = NegativeCache(clock).remember(KEY, "compile_crash", "killed", is_repeatable=False)
    assert failure.retry_at == clock.now + FIRST_PAUSE_AFTER_ACCIDENT_SECONDS


def test_the_pause_has_a_limit() -> None:
    clock = Clock()
    cache = NegativeCache(clock)
    for _ in range(100):
        failure = cache.remember(KEY, "x", "y", is_repeatable=True)
    assert failure.retry_at == clock.now + LONGEST_PAUSE_SECONDS


def test_a_success_forgets_and_the_cache_is_bounded() -> None:
    cache = NegativeCache(Clock(), capacity=2)
    for key in (KEY, OTHER, THIRD):
        cache.remember(key, "x", "y", is_repeatable=True)
    assert set(cache.failures) == {OTHER, THIRD}
    cache.forget(THIRD)
    cache.forget(THIRD)
    assert set(cache.failures) == {OTHER}
    cache.clear()
    assert not cache.failures
