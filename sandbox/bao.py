"""A real OpenBao server in a process of its own, for the sandbox to put on its wire; `make foreign` installs it."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path

from sandbox.services.openbao import Answer

INSTALLED = Path(__file__).parents[1] / ".foreign" / "openbao" / "bin" / "bao"

_SECONDS_TO_START = 30.0
_HEADERS = ("x-vault-token", "x-vault-namespace", "content-type", "x-vault-request")


class Bao:
    """A server that listens on loopback, and keeps all in memory."""

    def __init__(self, port: int, root_token: str) -> None:
        self.port = port
        self.root_token = root_token

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Have it answer one request."""
        sent = {name: text for name, text in headers.items() if name in _HEADERS and text}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, f"/v1/{path}", body, sent)
            answer = connection.getresponse()
            content = answer.read()
        return Answer(answer.status, json.loads(content) if content.strip() else None)


@contextlib.contextmanager
def running() -> Iterator[Bao]:
    """Have a server in dev mode run for as long as the `with` statement lasts: unsealed, with an engine at `secret`."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Bao(port, secrets.token_hex(16))
    command = [str(INSTALLED), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"]
    with tempfile.TemporaryDirectory(prefix="bao-") as home:
        environment = {"HOME": home, "BAO_DEV_ROOT_TOKEN_ID": server.root_token, "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(  # noqa: S603 - what the repository's own command has installed
            command, env=environment, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(server: Bao, process: subprocess.Popen[bytes]) -> None:
    """Wait until it has its engine, which comes a moment after it listens."""
    until = time.monotonic() + _SECONDS_TO_START
    while True:
        with contextlib.suppress(OSError, ValueError):
            found = server.answer("GET", "secret/config", {"x-vault-token": server.root_token}, b"")
            if found.status == 200:
                return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the OpenBao server did not start")
        time.sleep(0.05)
