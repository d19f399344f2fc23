from __future__ import annotations

import threading

from evmaot.runtime.statistics import ExactCounter


def test_a_counter_is_exact_whatever_threads_count() -> None:
    counter = ExactCounter()
    start = threading.Barrier(8)

    def count() -> None:
        start.wait()
        for _ in range(5000):
            counter.add()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    readings = [counter.value for _ in range(100)]
    for thread in threads:
        thread.join()
    assert readings == sorted(readings)
    assert counter.value == 40_000


def test_reading_does_not_count() -> None:
    counter = ExactCounter()
    assert [counter.value for _ in range(3)] == [0, 0, 0]
    counter.add()
    assert [counter.value for _ in range(3)] == [1, 1, 1]
