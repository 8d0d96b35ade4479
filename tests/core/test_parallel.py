"""What threads share: a TLS context is never changed while another thread uses it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
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
