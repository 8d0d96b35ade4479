"""A real RabbitMQ server in a process of its own, for the sandbox to put on its wire; Debian's `rabbitmq-server`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path

from sandbox.services.rabbitmq import FIRST, Answer, basic

# The script itself: the one on the path changes to the user that the package has made.
INSTALLED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

_SECONDS_TO_START = 60.0
_HEADERS = ("authorization", "content-type")


class Rabbit:
    """A server that listens on loopback. port: of its management plug-in. amqp_port: of its clients."""

    def __init__(self, port: int, amqp_port: int) -> None:
        self.port = port
        self.amqp_port = amqp_port

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Have it answer one request."""
        sent = {name: text for name, text in headers.items() if name in _HEADERS and text}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
        return Answer(answer.status, json.loads(content) if content.strip() else None)


@contextlib.contextmanager
def running() -> Iterator[Rabbit]:
    """Have a server run for as long as the `with` statement lasts, with a node, ports and files of its own."""
    amqp_port, port, distribution, mapper = _free_ports(4)
    with tempfile.TemporaryDirectory(prefix="rabbit-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp_port}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n"
        )
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "HOME": directory,
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"sandbox-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_MNESIA_BASE": f"{home / 'data'}",
            "RABBITMQ_LOG_BASE": f"{home / 'log'}",
            "RABBITMQ_CONFIG_FILE": f"{home / 'rabbitmq.conf'}",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home / 'enabled_plugins'}",
            "RABBITMQ_DIST_PORT": f"{distribution}",
            # The mapper of node names: one of its own, for this host alone.
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": f"{mapper}",
        }
        # The server would begin a mapper that goes on without it.
        with (
            _process("epmd", "-port", f"{mapper}", environment=environment),
            _process(str(INSTALLED), environment=environment) as process,
        ):
            server = Rabbit(port, amqp_port)
            _wait_for(server, process)
            yield server


@contextlib.contextmanager
def _process(*command: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program run, with all that it begins, for as long as the `with` statement lasts."""
    process = subprocess.Popen(  # noqa: S603 - of Debian's packages
        command,
        env=environment,
        cwd=environment["HOME"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; they are looked for together, so that each is another."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _wait_for(server: Rabbit, process: subprocess.Popen[bytes]) -> None:
    """Wait until its plug-in lets the first administrator in, and its clients' port is open."""
    until = time.monotonic() + _SECONDS_TO_START
    while True:
        with contextlib.suppress(OSError, ValueError):
            found = server.answer("GET", "/api/whoami", {"authorization": basic(*FIRST)}, b"")
            if found.status == 200:
                socket.create_connection(("127.0.0.1", server.amqp_port), 5).close()
                return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the RabbitMQ server did not start")
        time.sleep(0.1)
