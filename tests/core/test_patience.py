"""Time: the run's deadline, asking again, and times as systems write them."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from pam_scripts.core import patience
from pam_scripts.core.errors import ApiError, OutOfTime
from pam_scripts.core.patience import Deadline, anything, iso, parse_iso, patiently


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits out, but not their number."""
    monkeypatch.setattr(patience, "WAITS", (0.001, 0.001, 0.001, 0.001))


def failing(times: int, **how: float) -> tuple[list[int], ApiError]:
    """Return a list that counts calls down, and the error that they raise meanwhile."""
    return [times], ApiError("system", "ask", "failed", **how)  # type: ignore[arg-type]  # code or retry_after


def ask(state: tuple[list[int], ApiError]) -> str:
    """Fail as often as the state says, then answer."""
    left, error = state
    left[0] -= 1
    if left[0] >= 0:
        raise error
    return "answer"


# -- the deadline ---------------------------------------------------------------------------------


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


# -- asking again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [None, 408, 429, 500, 502, 503, 504])
def test_what_may_go_better_is_asked_again(code: int | None) -> None:
    """No answer, throttling and a server's own trouble are worth four more tries."""
    state = failing(4, **({"code": code} if code else {}))

    assert "answer" == patiently(Deadline(60), lambda: ask(state))


def test_after_the_fifth_failure_the_error_is_raised() -> None:
    """Patience is bounded."""
    state = failing(99, code=503)

    with pytest.raises(ApiError):
        patiently(Deadline(60), lambda: ask(state))
    assert 5 == 99 - state[0][0]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409])
def test_what_was_refused_is_not_asked_again(code: int) -> None:
    """An answer that says no is believed the first time."""
    state = failing(99, code=code)

    with pytest.raises(ApiError):
        patiently(Deadline(60), lambda: ask(state))
    assert 98 == state[0][0]


def test_where_giving_up_is_worst_any_error_is_tried_again() -> None:
    """Steps that only go forward repeat after a refusal too."""
    state = failing(4, code=403)

    assert "answer" == patiently(Deadline(60), lambda: ask(state), retry=anything)


def test_the_wait_that_a_system_asks_for_is_kept() -> None:
    """Retry-After is honoured where it is longer than our own wait."""
    state = failing(1, code=429, retry_after=0.3)
    started = time.monotonic()

    assert "answer" == patiently(Deadline(60), lambda: ask(state))
    assert time.monotonic() - started >= 0.3


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """A system that asks to be left alone for longer than the run lasts ends it at once, with its own error."""
    state = failing(1, code=503, retry_after=3600)
    started = time.monotonic()

    with pytest.raises(ApiError, match="failed"):
        patiently(Deadline(60), lambda: ask(state))
    assert time.monotonic() - started < 1


# -- times as systems write them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T05:50:00Z", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        ("2026-11-22T05:50:00", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        ("2026-11-22T05:50:00.123456789Z", datetime(2026, 11, 22, 5, 50, 0, 123456, timezone.utc)),
        ("2026-11-22T05:50:00.5Z", datetime(2026, 11, 22, 5, 50, 0, 500000, timezone.utc)),
        ("2026-11-22T07:50:00+02:00", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        ("2026-11-22T07:50:00.1+0200", datetime(2026, 11, 22, 5, 50, 0, 100000, timezone.utc)),
        ("2026-11-21T21:50:00-08:00", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        (" 2026-11-22T05:50:00Z\n", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
    ],
)
def test_times_are_read_as_systems_write_them(text: str, expected: datetime) -> None:
    """Nanoseconds, any offset with or without colon, `Z`, and no zone at all, which means UTC."""
    found = parse_iso(text)

    assert expected == found
    assert found.tzinfo is not None


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-22", "22.11.2026 05:50", "2026-13-01T00:00:00Z", "2026-11-22T25:00:00Z", "1795326600"]
)
def test_what_is_no_time_is_an_error(text: str) -> None:
    """Anything else is refused by ValueError, whatever it looks like."""
    with pytest.raises(ValueError, match=r".+"):
        parse_iso(text)


def test_times_are_written_in_utc_to_the_second() -> None:
    """What is written can be read back, whatever zone it was in."""
    moment = datetime(2026, 11, 22, 7, 50, 0, 999999, timezone(timedelta(hours=2)))

    assert "2026-11-22T05:50:00Z" == iso(moment)
    assert moment.replace(microsecond=0) == parse_iso(iso(moment))
