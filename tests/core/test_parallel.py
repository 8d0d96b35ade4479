"""Calls side by side, and what threads share: a TLS context is never changed while another thread uses it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import concurrently
from sandbox.wire import Wire

HOSTS = [f"host{number}.example.com" for number in range(8)]


async def _page(_request: Request) -> Response:
    return PlainTextResponse("here")


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Serve several hosts, which a run connects to at the same time."""
    made = Wire(tmp_path)
    for host in HOSTS:
        made.add(host, Starlette(routes=[Route("/", _page)]))
    made.start()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


class _Watch:
    """Who is at work on a context, and what was done while somebody else was."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._lock = threading.Lock()
        self._busy: dict[int, list[str]] = {}
        self.clashes: set[str] = set()
        self.loads: dict[int, int] = {}
        for name in ("load_verify_locations", "set_alpn_protocols", "wrap_socket"):
            patch.setattr(ssl.SSLContext, name, self._watched(name, getattr(ssl.SSLContext, name)))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(context: ssl.SSLContext, *arguments: object, **named: object) -> object:
            with self._lock:
                busy = self._busy.setdefault(id(context), [])
                if busy and {name, *busy} != {"wrap_socket"}:
                    self.clashes.add(f"{name} during {busy[0]}")
                busy.append(name)
                self.loads[id(context)] = self.loads.get(id(context), 0) + (name == "load_verify_locations")
            try:
                # So long that what could happen at the same time does.
                time.sleep(0.005)
                return call(context, *arguments, **named)
            finally:
                with self._lock:
                    busy.remove(name)

        return watched


def test_no_thread_changes_a_context_that_another_one_connects_with(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL guards neither the CAs nor the protocols of a context: some hundred connections, eight at a time."""
    assert wire.ca_file.exists()
    watch, sessions = _Watch(monkeypatch), []
    for ahead in (True, False) * 8:
        session = Session(Deadline(60))
        sessions.append(session)
        if ahead:
            for host in HOSTS:
                session.connect(f"https://{host}")
        with concurrently() as submit:
            answers = [submit(lambda host=host, session=session: session.get(f"https://{host}/")) for host in HOSTS]  # type: ignore[misc]  # a lambda's defaults have no types
        assert [200] * 8 == [answer.result().status_code for answer in answers]

    assert set() == watch.clashes
    assert [1] * len(sessions) == list(watch.loads.values()), "the CAs are read once for each session"


def test_the_last_call_is_made_by_whoever_waits_and_the_others_by_threads_that_are_there() -> None:
    """Three calls are three threads, the caller among them, however often; no thread is started for a single call."""

    def three_at_a_time() -> list[int]:
        met = threading.Barrier(3)

        def meet() -> int:
            met.wait(10)
            return threading.get_ident()

        with concurrently() as submit:
            calls = [submit(meet) for _ in range(3)]
        return [call.result() for call in calls]

    before = threading.active_count()
    with concurrently() as submit:
        alone = submit(threading.get_ident)
    assert (threading.get_ident(), before) == (alone.result(), threading.active_count())

    made_by = [three_at_a_time() for _ in range(20)]
    assert [threading.get_ident()] * 20 == [idents[-1] for idents in made_by]
    assert threading.active_count() <= before + 2


def test_so_many_calls_are_made_at_a_time_and_no_more() -> None:
    """Twelve calls, three at a time: the one that the caller makes counts, too."""
    lock, under_way, most = threading.Lock(), 0, 0

    def call() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.02)
        with lock:
            under_way -= 1

    with concurrently(3) as submit:
        for _ in range(12):
            submit(call)

    assert (0, 3) == (under_way, most)


def test_calls_that_make_calls_do_not_wait_for_each_others_threads() -> None:
    """Thirty calls at a time, each of which makes three: there is a thread for each that is under way."""
    met = threading.Barrier(30)

    def inner() -> None:
        with concurrently() as submit:
            for _ in range(3):
                submit(partial(time.sleep, 0.001))

    def outer() -> None:
        met.wait(10)
        inner()

    with concurrently(30) as submit:
        for _ in range(30):
            submit(outer)


def test_the_first_error_is_raised_when_all_calls_have_ended() -> None:
    """Whoever puts things back is alone; the first is that of the call that was submitted first."""
    ended = []

    def fail(seconds: float, error: Exception) -> None:
        time.sleep(seconds)
        ended.append(seconds)
        raise error

    def all_fail() -> None:
        with concurrently() as submit:
            submit(partial(fail, 0.05, KeyError("first")))
            submit(partial(fail, 0.01, ValueError("second")))
            submit(partial(fail, 0.0, ValueError("last")))

    with pytest.raises(KeyError, match="first"):
        all_fail()
    assert [0.0, 0.01, 0.05] == ended


def test_what_was_not_begun_when_the_statement_failed_is_not_begun() -> None:
    """An error of the statement itself: calls that are under way end first, the one that waits for its end is left."""
    ended: list[str] = []

    def fail() -> None:
        with concurrently() as submit:
            submit(partial(ended.append, "first"))
            submit(partial(ended.append, "last"))
            raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        fail()
    assert ["first"] == ended
