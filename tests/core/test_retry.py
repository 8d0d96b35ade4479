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


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """A system that asks to be left alone for longer than the run lasts ends it at once, with its own error."""
    state = failing(1, code=503, retry_after=3600)
    started = time.monotonic()

    with pytest.raises(ApiError, match="failed"):
        retrying(Deadline(60), lambda: ask(state))
    assert time.monotonic() - started < 1
