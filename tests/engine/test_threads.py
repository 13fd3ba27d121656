"""Work on threads: in order, bounded, stopping on errors."""

from __future__ import annotations

import threading
import time

import pytest

from smalti import InputError
from smalti.engine import threads


@pytest.fixture(autouse=True)
def default_threads():
    yield
    threads.set_threads(None)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order(count):
    threads.set_threads(count)

    def work(number):
        time.sleep(0.001 * (number % 3))
        return number

    assert list(threads.in_order(work, 3 * threads.WAVE + 1)) == list(range(3 * threads.WAVE + 1))


def test_an_error_stops_the_others():
    threads.set_threads(3)
    done = []

    def work(number):
        if number == 2:
            raise ValueError("no")
        time.sleep(0.005)
        done.append(number)

    with pytest.raises(ValueError, match="no"):
        list(threads.in_order(work, threads.WAVE))
    assert len(done) < 10


def test_several_threads_take_part():
    threads.set_threads(2)
    seen = set()
    meeting = threading.Barrier(2, timeout=10)

    def work(number):
        if number < 2:
            meeting.wait()
        seen.add(threading.get_ident())

    list(threads.in_order(work, 8))
    assert len(seen) == 2


def test_how_many(monkeypatch):
    monkeypatch.setenv("SMALTI_THREADS", "7")
    assert threads.get_threads() == 7
    threads.set_threads(3)
    assert threads.get_threads() == 3
    threads.set_threads(None)
    monkeypatch.setenv("SMALTI_THREADS", "none")
    with pytest.raises(InputError, match="SMALTI_THREADS"):
        threads.get_threads()
    with pytest.raises(InputError, match="at least 1"):
        threads.set_threads(0)
