"""Keeper's count of calls: runs begin in waves that it bears, and none of them waits in the middle of its order."""

from __future__ import annotations

import contextlib
import io
import itertools
import threading
import time

import pytest

from pam_scripts.cli import main as command
from pam_scripts.cli.fleet import pace
from pam_scripts.cli.fleet.pace import Pace
from pam_scripts.core import retry
from sandbox.log import Request
from tests.cli.fleet.conftest import MakeSite


def test_a_wave_has_as_many_as_fit_and_the_next_begins_after_silence() -> None:
    """Who is let in has room for all its calls; then everybody must have ended, and the silence have passed."""
    one = Pace(calls=3, allowed=25, silence=0.1)
    waits = [one.seconds() for _ in range(6)]
    assert [0.0] * 5 == waits[:5]
    assert waits[5] > 0
    with one.call("get secret"):
        assert one.seconds() > 0
    for _ in range(5):
        assert one.seconds() > 0, "the silence is not over"
        # It counts from here at the earliest.
        ended = time.monotonic()
        one.left()
    assert "Keeper's pause" in one.waits_for
    while one.seconds():
        time.sleep(0.01)
    assert time.monotonic() - ended >= 0.1
    assert 2 == one.wave


def test_who_has_called_before_is_not_known() -> None:
    """A first wave that is told to be silent waits as the others do."""
    one = Pace(calls=1, silence=0.05)
    one.be_silent_first()
    assert one.seconds() > 0
    time.sleep(0.06)
    assert 0.0 == one.seconds()


def test_calls_that_go_on_are_no_silence() -> None:
    """Each call begins the pause anew, from its end on; whoever is inside at a pause still counts for the next wave."""
    one = Pace(calls=5, allowed=20, silence=0.1)
    assert [0.0, 0.0] == [one.seconds(), one.seconds()]
    with one.call("get secret"):
        time.sleep(0.12)
        assert one.seconds() > 0, "a call is under way"
    assert one.seconds() > 0
    time.sleep(0.12)
    assert one.seconds() > 0, "two are inside still"
    one.left()
    assert 0.0 == one.seconds()


def test_nobody_begins_while_keeper_turns_calls_away() -> None:
    """Where others call with the same device: whoever is under way waits for silence, and nobody joins them."""
    quiet = [3.0]
    one = Pace(1, lambda: quiet[0])
    assert 3.0 == one.seconds()
    assert "Keeper, which turns calls away, 3 s" == one.waits_for
    quiet[0] = 0.0
    assert 0.0 == one.seconds()
    assert not one.waits_for


def test_a_call_beyond_what_is_served_waits_for_silence() -> None:
    """For what goes wrong too often there is a last net: that endpoint's calls wait, and are all served."""
    one = Pace(calls=1, allowed=3, silence=0.1)
    for _ in range(3):
        with one.call("get secret"):
            pass
    began = time.monotonic()
    with one.call("update secret"):
        assert time.monotonic() - began < 0.05, "another endpoint has a count of its own"
    ended: list[float] = []

    def call() -> None:
        with one.call("get secret"):
            ended.append(time.monotonic() - began)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == len(ended)
    assert min(ended) >= 0.1


def test_a_device_that_is_turned_away_is_left_alone_and_all_ends_well(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Gateway's device may be: those under way wait in silence, the others begin after it, and all are done."""
    site = make_site(3)
    monkeypatch.setattr(retry, "SILENCE", (0.5, 0.6))
    for target in site.targets:
        site.set_field("key_vault_name", "", target.user_uid)
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    refused: list[float] = []

    async def throttle_once(request: Request) -> None:
        if request.path.endswith("/generate-access-key") and not refused:
            refused.append(time.monotonic())
            site.keeper.throttle(1, 0)

    site.wire.gate = throttle_once
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = command.main(["rotate", "--all", "--yes", "--at-once", "1"])

    assert (0, "") == (status, err.getvalue()), out.getvalue()
    assert 1 == sum(request.status == 403 for request in site.wire.log)
    assert refused


def test_many_rotations_begin_in_waves_and_none_is_turned_away(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a short period: three waves, no refusal, no call beyond the three saves of each."""
    site = make_site(12)
    site.keeper.calls_allowed, site.keeper.silence = 25, 0.6
    monkeypatch.setattr(pace, "CALLS_ALLOWED", 25)
    monkeypatch.setattr(pace, "SILENCE", 0.6)
    # An SDK keeps for as long as its process lives what a vault has once said of its tenant.
    for target in site.targets:
        site.set_field("key_vault_name", "", target.user_uid)
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    calls: list[Request] = []

    async def note(request: Request) -> None:
        if "/rest/sm/" in request.path:
            calls.append(request)

    site.wire.gate = note
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = command.main(["rotate", "--all", "--yes", "--at-once", "4"])

    assert (0, "") == (status, err.getvalue()), out.getvalue()
    assert [] == [request for request in calls if request.status != 200]
    pauses = [after.started - before.ended for before, after in itertools.pairwise(calls)]
    assert 3 <= sum(pause >= 0.6 for pause in pauses), "one before the first wave, and one before each other"
    assert 3 * 12 == sum(request.path.endswith("/update_secret") for request in calls)
