"""A real Redis and Azurite, whose passwords and keys are those of the sandbox's Azure: what is published lets in there.

They are logged in to by redis-py and by Azure's own client, as an application is, with what the mirror holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import redis
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from sandbox.plant import VAULT, on_loopback
from sandbox.services.azure_resources import Kind
from sandbox.slots import SlotPlant
from tests.sandbox.foreign.conftest import INSTALLED
from tests.support.in_process import InProcess
from tests.support.invariants import in_keeper

STEM = "rotate_azure_resource_key"
AZURITE = INSTALLED / "node" / "node_modules" / ".bin" / "azurite-blob"
CONNECTION = "DefaultEndpointsProtocol=https;AccountName={login};AccountKey={value};EndpointSuffix=core.windows.net"

_SECONDS_TO_START = 30.0


@contextlib.contextmanager
def process(command: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have a server run for as long as the `with` statement lasts, and listen before that begins."""
    running = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + _SECONDS_TO_START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert running.poll() is None, f"{command[0]} has ended"
            assert time.monotonic() < until, f"{command[0]} did not start"
            time.sleep(0.02)
        yield
    finally:
        running.terminate()
        running.wait(10)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def real_redis(plant: SlotPlant, directory: Path) -> Iterator[int]:
    """Put a real Redis with TLS in the resource's place; both keys are passwords of its default user."""
    port, certificate, control = free_port(), directory / "redis.pem", directory / "redis.sock"
    plant.wire.certificate(plant.resource.host, certificate)
    command = [
        *("redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"),
        *(str(directory), "--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
        *("--tls-ca-cert-file", str(plant.wire.ca_file), "--tls-auth-clients", "no"),
        *("--unixsocket", str(control), "--user", "control", "on", "nopass", "~*", "&*", "+@all"),
    ]

    def set_passwords(values: list[str]) -> None:
        with redis.Redis(unix_socket_path=str(control), username="control", password="any") as server:
            server.acl_setuser("default", enabled=True, reset_passwords=True, passwords=[f"+{one}" for one in values])

    with process(command, port):
        set_passwords([value for value, _ in plant.resource.keys.values()])
        plant.resource.on_change = set_passwords
        plant.wire.lead(plant.resource.host, plant.resource.port, port)
        yield port


class RealAzurite:
    """Azurite, which learns of other keys by starting anew."""

    def __init__(self, plant: SlotPlant, directory: Path) -> None:
        self.port = free_port()
        self._plant, self._directory = plant, directory
        self._running = contextlib.ExitStack()
        plant.wire.certificate(plant.resource.host, directory / "azurite.pem")

    def start(self, values: list[str]) -> None:
        """Start it with these keys."""
        self.stop()
        certificate = str(self._directory / "azurite.pem")
        command = [
            *(str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location"),
            *(str(self._directory / "azurite"), "--cert", certificate, "--key", certificate, "--silent"),
            "--skipApiVersionCheck",
        ]
        accounts = {"AZURITE_ACCOUNTS": ":".join((self._plant.resource.name, *values))}
        self._running.enter_context(process(command, self.port, accounts))

    def stop(self) -> None:
        """Stop it, where it runs."""
        self._running.close()


@pytest.mark.parametrize("of", ["redis", "managed redis"])
def test_a_real_redis_lets_in_with_what_is_published_and_not_with_what_was(of: Kind, tmp_path: Path) -> None:
    """Twice in a row, each proven by the script itself before; a connection that is open survives, as in life."""
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server is installed here; Debian has one")
    with on_loopback(SlotPlant, of=of) as plant, real_redis(plant, tmp_path) as port:

        def client(password: str) -> redis.Redis:
            # The server's certificate is for its own name, and this goes past the proxy.
            trusted = str(plant.wire.ca_file)
            return redis.Redis(
                "127.0.0.1", port, password=password, ssl=True, ssl_check_hostname=False, ssl_ca_certs=trusted
            )

        for _ in range(2):
            before = in_keeper(plant)[1]
            with client(before) as opened:
                assert opened.ping()
                result = InProcess(STEM).run(plant)
                assert (0, "") == (result.returncode, result.stderr)
                assert "Verified: the new key logs in" in result.stdout

                assert opened.ping()
            with client(plant.key_vault.value(VAULT, plant.password_name) or "") as reader:
                assert reader.ping()
            with client(before) as late, pytest.raises(redis.AuthenticationError):
                late.ping()


def test_azurite_lets_azures_client_in_with_the_connection_string_that_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's own signature is taken by it, too, and the former key is refused."""
    if not AZURITE.exists():
        pytest.skip("Azurite is not installed here; `make foreign` installs it")
    with on_loopback(SlotPlant) as plant:
        azurite = RealAzurite(plant, tmp_path)
        try:
            azurite.start([value for value, _ in plant.resource.keys.values()])
            plant.resource.on_change = azurite.start
            plant.wire.lead(plant.resource.host, 443, azurite.port)
            plant.set_field("value_template", CONNECTION)
            result = InProcess(STEM).run(plant)
            assert (0, "") == (result.returncode, result.stderr)
            assert "Verified: the new key logs in" in result.stdout

            for name, value in plant.environment().items():
                monkeypatch.setenv(name, value)
            written = plant.key_vault.value(VAULT, plant.password_name) or ""
            with BlobServiceClient.from_connection_string(written, retry_total=0) as client:
                client.create_container("readings")
                assert ["readings"] == [one.name for one in client.list_containers()]
            former = written.replace(in_keeper(plant)[1], plant.old_password)
            with (
                BlobServiceClient.from_connection_string(former, retry_total=0) as client,
                pytest.raises(HttpResponseError) as caught,
            ):
                client.create_container("others")
            assert 403 == caught.value.status_code
        finally:
            azurite.stop()
