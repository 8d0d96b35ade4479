"""Every answer ends, in size and in time as a whole; files that never end are not read."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from pam_scripts.consumers.health_pages import HealthPage
from pam_scripts.core import http
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.http import Session
from pam_scripts.gateway.request import CA_BUNDLE

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve whatever connects with this answer, in plain HTTP; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/health"


def drip(connection: socket.socket, first: bytes, piece: bytes) -> None:
    """Send a beginning, then a little every tenth of a second, without an end."""
    connection.sendall(first)
    while True:
        time.sleep(0.1)
        connection.sendall(piece)


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"1"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n1\r\n"),
        (HEAD + b"\r\n", b"1"),
        (HEAD, b"X-More: 1\r\n"),
        (b"HTTP/1.1 2", b"0"),
    ],
    ids=["body", "chunks", "until-it-closes", "headers", "status-line"],
)
def test_an_answer_that_drips_ends_with_the_calls_time(first: bytes, piece: bytes) -> None:
    """Each piece comes in time; the whole never would."""
    with server(lambda connection: drip(connection, first, piece)) as url:
        started = time.monotonic()
        with pytest.raises(ApiError, match="no answer in time"):
            http.call(Session(Deadline(2)), "GET", url, system="s", action="a", explain=lambda _: ("", ""))
        assert time.monotonic() - started < 4


def test_a_health_page_without_an_end_is_trouble_and_no_more() -> None:
    """The wait for it goes on, and so does the run."""
    with server(lambda connection: drip(connection, HEAD + b"\r\n", b" ")) as url:
        assert "health: GET" in HealthPage(url, Session(Deadline(2))).trouble()


def test_an_answer_of_gigabytes_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than anybody asked for, and the error says so."""
    monkeypatch.setattr(http, "_MOST_BYTES", 1_000_000)
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(HEAD + b"\r\n")
        while True:
            sent += connection.send(b" " * 65536)

    with server(flood) as url:
        with pytest.raises(requests.RequestException) as caught:
            Session(Deadline(30)).get(url)
        assert "more than 1 MB" in str(http.no_answer("s", "a", caught.value))
        assert sent < 20_000_000


def test_a_ca_file_that_is_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    """Reading it would never end."""
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    for path in (str(pipe), "/dev/zero"):
        with pytest.raises(BadInput, match=r"'ca_bundle'.*PEM file"):
            CA_BUNDLE.read(Record.from_flat({"ca_bundle": path}))


def test_a_ca_file_of_the_environment_that_is_a_pipe_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, for the variable that requests reads."""
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pipe))

    with pytest.raises(BadInput, match="REQUESTS_CA_BUNDLE"):
        Session(Deadline(30)).get("https://host.example.com/")
