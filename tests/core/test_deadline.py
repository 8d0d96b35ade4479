"""The run's one deadline."""

from __future__ import annotations

import threading
import time

import pytest

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import OutOfTime


def test_a_part_of_the_time_is_kept_for_putting_back() -> None:
    """Going forward has seven tenths of the run's time; in the reserve the whole of it counts."""
    deadline = Deadline(100)

    assert 69 < deadline.left() <= 70
    deadline.enter_reserve()
    assert 99 < deadline.left() <= 100


@pytest.mark.parametrize(("seconds", "call"), [(10, 1.25), (120, 15), (3600, 15), (1, 1)])
def test_one_call_takes_a_part_of_the_run_and_never_long(seconds: float, call: float) -> None:
    """A single call's share shrinks with the run, between one second and fifteen."""
    assert call == Deadline(seconds).call_seconds


def test_a_call_never_outlasts_the_run() -> None:
    """The timeout of the last call is what time is left."""
    assert Deadline(1).call_timeout() <= 0.7


def test_past_the_deadline_nothing_starts() -> None:
    """With no time left, check, call and wait all say so."""
    deadline = Deadline(0)

    for late in (deadline.check, deadline.call_timeout, lambda: deadline.wait(0)):
        with pytest.raises(OutOfTime, match="the run's time of 0 s is used up"):
            late()


def test_a_wait_longer_than_the_time_left_ends_at_once() -> None:
    """There is no use in sleeping up to the deadline."""
    started = time.monotonic()

    with pytest.raises(OutOfTime):
        Deadline(10).wait(8)
    assert time.monotonic() - started < 1


def test_a_stop_ends_a_wait_and_gives_its_reason() -> None:
    """A run that is told to stop wakes up, and everything after says why."""
    deadline = Deadline(60)
    threading.Timer(0.05, deadline.stop, ["stopped by SIGTERM"]).start()

    with pytest.raises(OutOfTime, match="stopped by SIGTERM"):
        deadline.wait(30)
    with pytest.raises(OutOfTime, match="stopped by SIGTERM"):
        deadline.check()


def test_in_the_reserve_a_stop_has_no_effect() -> None:
    """What must be brought to an end is, also where a stop came just before or comes now."""
    deadline = Deadline(60)
    deadline.stop("stopped by SIGTERM")
    deadline.enter_reserve()
    assert deadline.left() > 0

    deadline.stop("stopped by SIGTERM")
    assert deadline.left() > 0


def test_a_host_that_slept_wakes_up_past_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the monotonic clock stands still during sleep, the wall clock tells."""
    deadline = Deadline(100)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)

    assert 0 == deadline.left()
