"""Processes in which Seeq's spy is imported: one takes the two seconds for that, and forks itself for each.

spy changes logging and warnings wherever it is imported, so that none of the tests' own processes does. What a process
is to run stands here: it imports nothing of the tests but this.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["seeq.spy", "azure.identity", "azure.keyvault.secrets", "boto3"])


class Process:
    """A process that runs a function of this module, whose first argument is a connection to the test.

    environment: the whole of it. directory: an empty one, where its output is kept.
    """

    def __init__(
        self, function: Callable[..., None], *arguments: object, environment: Mapping[str, str], directory: Path
    ) -> None:
        self._output = directory / "output of spy"
        self.connection, theirs = _FORKS.Pipe()
        self._process = _FORKS.Process(
            target=_begin, args=(str(self._output), dict(environment), function, theirs, *arguments)
        )
        self._process.start()
        theirs.close()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def answer(self) -> str:
        """Wait for what it says next; empty where it has ended."""
        try:
            return str(self.connection.recv())
        except EOFError:
            return ""

    def stop(self) -> tuple[int, str]:
        """Let it come to its end; return its exit status and all that it wrote to stdout and stderr."""
        self.connection.close()
        self._process.join(60)
        self._process.kill()
        self._process.join()
        return self._process.exitcode or 0, self._output.read_text(encoding="utf-8")


def _begin(output: str, environment: Mapping[str, str], function: Callable[..., None], *arguments: object) -> None:
    """Become a process with this output and this environment, then run the function."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [environment[name] for name in ("PYTHONPATH",) if name in environment]
    function(*arguments)


def ask_utils(connection: Connection, name: str) -> None:
    """Say what a function of `spy.utils` returns."""
    from seeq import spy  # noqa: PLC0415 - in this process alone

    connection.send(getattr(spy.utils, name)())


def log_in(connection: Connection, key_id: str, password: str, ca_file: str) -> None:
    """Log in to https://seeq.example.com with a key, say as whom, and where, and log out."""
    from seeq import spy  # noqa: PLC0415 - in this process alone

    spy.session.client_configuration.ssl_ca_cert = ca_file
    spy.login(
        access_key=key_id,
        password=password,
        url="https://seeq.example.com",
        quiet=True,
        request_origin_label="conformance",
    )
    connection.send(f"{spy.user.name} {spy.session.server_version} {spy.session.my_folder.name}")
    spy.logout(quiet=True)


def notebook(connection: Connection, url: str, seconds_between: float) -> None:
    """Be a notebook's kernel: import the example once, and run the cell that logs in each time that it is told to."""
    from seeq import spy  # noqa: PLC0415 - in this process alone

    example: Any = importlib.import_module("seeq_credential")
    example.SECONDS_BETWEEN = seconds_between
    key = example.SeeqKey.from_file()
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        session = spy.Session()
        session.client_configuration.ssl_ca_cert = os.environ["REQUESTS_CA_BUNDLE"]
        try:
            key.login(url, session)
            said = f"in as {session.user.name}"
            spy.logout(session=session, quiet=True)
        except example.CredentialError as error:
            traceback.print_exc(file=sys.stderr)
            said = f"refused: {error}"
        connection.send(said)
