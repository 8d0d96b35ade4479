"""Asking again: what is worth it, how often, and how long between."""

from __future__ import annotations

import time

import pytest

from pam_scripts.core import retry
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError
from pam_scripts.core.retry import any_error, retrying


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits out, but not their number."""
    monkeypatch.setattr(retry, "WAITS", (0.001, 0.001, 0.001, 0.001))


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


@pytest.mark.parametrize("code", [None, 408, 429, 500, 502, 503, 504])
def test_what_may_go_better_is_asked_again(code: int | None) -> None:
    """No answer, throttling and a server's own trouble are worth four more tries."""
    state = failing(4, **({"code": code} if code else {}))

    assert "answer" == retrying(Deadline(60), lambda: ask(state))


def test_after_the_fifth_failure_the_error_is_raised() -> None:
    """Patience is bounded."""
    state = failing(99, code=503)

    with pytest.raises(ApiError):
        retrying(Deadline(60), lambda: ask(state))
    assert 5 == 99 - state[0][0]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409])
def test_what_was_refused_is_not_asked_again(code: int) -> None:
    """An answer that says no is believed the first time."""
    state = failing(99, code=code)

    with pytest.raises(ApiError):
        retrying(Deadline(60), lambda: ask(state))
    assert 98 == state[0][0]


def test_where_giving_up_is_worst_any_error_is_tried_again() -> None:
    """Steps that only go forward repeat after a refusal too."""
    state = failing(4, code=403)

    assert "answer" == retrying(Deadline(60), lambda: ask(state), on=any_error)


def test_the_wait_that_a_system_asks_for_is_kept() -> None:
    """Retry-After is honoured where it is longer than our own wait."""
    state = failing(1, code=429, retry_after=0.3)
    started = time.monotonic()

    assert "answer" == retrying(Deadline(60), lambda: ask(state))
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("retry_after", [None, 0.002])
def test_a_system_that_counts_by_ten_seconds_is_given_them_once(
    retry_after: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the waits of 7.6 s together comes one more that outlasts the count; not where the system names a time."""
    monkeypatch.setattr(retry, "RATE_WINDOW", 0.05)
    state = failing(99, code=429, **({"retry_after": retry_after} if retry_after else {}))
    started = time.monotonic()

    with pytest.raises(ApiError):
        retrying(Deadline(60), lambda: ask(state))
    assert (5 if retry_after else 6) == 99 - state[0][0]
    assert retry_after or time.monotonic() - started >= 0.05


def test_the_last_wait_outlasts_what_is_counted() -> None:
    """Key Vault, as most systems, counts by ten seconds."""
    assert retry.RATE_WINDOW > 10


def quiet(left: int) -> tuple[list[int], ApiError]:
    """Return as `failing` an error after which nobody must ask for a hundredth of a second."""
    return [left], ApiError("system", "ask", "throttled", code=403, quiet=True, retry_after=0.01)


def test_silence_is_kept_as_often_as_there_is_time() -> None:
    """Where only silence helps, it uses up none of the waits."""
    state = quiet(20)

    assert "answer" == retrying(Deadline(60), lambda: ask(state))
    assert -1 == state[0][0]


def test_silence_ends_with_the_time_that_there_is() -> None:
    """What is kept in reserve, for putting things back, is not spent on it."""
    deadline = Deadline(1)
    state = quiet(10_000)

    with pytest.raises(ApiError, match="throttled"):
        retrying(deadline, lambda: ask(state))
    assert deadline.elapsed < 1
    deadline.enter_reserve()
    assert deadline.left() > 0.2


def test_silence_lasts_eleven_to_fifteen_seconds_and_ends_for_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever somebody was turned away, at the fourth wait at the latest all come back within half a second."""
    moments = [1_790_000_000 + tenth / 10 for tenth in range(150)]
    for _ in range(4):
        waits = []
        for moment in moments:
            monkeypatch.setattr(time, "time", lambda moment=moment: moment)
            waits.append(retry.silence())
        assert all(11 <= wait <= 15 for wait in waits)
        moments = [moment + wait for moment, wait in zip(moments, waits, strict=True)]
    assert all(moment % 15 <= 0.5 for moment in moments)


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """A system that asks to be left alone for longer than the run lasts ends it at once, with its own error."""
    state = failing(1, code=503, retry_after=3600)
    started = time.monotonic()

    with pytest.raises(ApiError, match="failed"):
        retrying(Deadline(60), lambda: ask(state))
    assert time.monotonic() - started < 1
