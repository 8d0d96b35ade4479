"""The sandbox's Keycloak, asked by python-keycloak, unmodified: what it reads is what a server says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keycloak
import pytest

from sandbox.clock import Clock
from sandbox.services.keycloak import HOST, Keycloak
from sandbox.wire import Wire

REALM, ADMIN = "plant", "rotation.admin"


@pytest.fixture
def server() -> Keycloak:
    """Make a server with a client that may manage clients, and one whose secret it is."""
    server = Keycloak(Clock())
    server.add_realm(REALM)
    server.add_client(REALM, ADMIN, "of the admin")
    server.add_client(REALM, "erp", "of last year")
    server.allow(REALM, ADMIN, REALM, "manage-clients")
    return server


@pytest.fixture
def ca_file(server: Keycloak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve it, lead this process to it, and return the CA that it is trusted by."""
    wire = Wire(tmp_path)
    wire.serve(server)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    yield str(wire.ca_file)
    wire.stop()


def _admin(ca_file: str) -> keycloak.KeycloakAdmin:
    connection = keycloak.KeycloakOpenIDConnection(
        server_url=f"https://{HOST}",
        realm_name=REALM,
        client_id=ADMIN,
        client_secret_key="of the admin",
        verify=ca_file,
    )
    return keycloak.KeycloakAdmin(connection=connection)


def _token(ca_file: str, secret: str) -> str:
    client = keycloak.KeycloakOpenID(f"https://{HOST}", REALM, "erp", secret, verify=ca_file)
    return str(client.token(grant_type="client_credentials")["access_token"])


def test_a_secret_is_set_with_the_client_as_it_is(ca_file: str) -> None:
    """A client is found by its client id, read, and sent back with another secret; nothing else of it changes."""
    admin = _admin(ca_file)
    uuid = admin.get_client_id("erp")
    assert uuid
    before = admin.get_client(uuid)
    admin.update_client(uuid, {**before, "secret": "a new one"})

    assert {**before, "secret": "a new one"} == admin.get_client(uuid)
    assert _token(ca_file, "a new one").startswith("eyJ")
    with pytest.raises(keycloak.KeycloakAuthenticationError, match="unauthorized_client"):
        _token(ca_file, "of last year")


def test_a_client_that_is_sent_without_its_secret_keeps_it(ca_file: str) -> None:
    """And its attributes are merged with those that are sent."""
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))
    admin.update_client(uuid, {"attributes": {"team": "erp"}})

    read = admin.get_client(uuid)
    assert "of last year" == read["secret"]
    assert {"client.secret.creation.time", "team"} == {*read["attributes"]}


def test_who_may_only_look_sees_stars(server: Keycloak, ca_file: str) -> None:
    """And changes nothing; who has no role is refused."""
    server.allow(REALM, ADMIN, REALM, "view-clients")
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))

    assert "*" * 10 == admin.get_client(uuid)["secret"]
    with pytest.raises(keycloak.KeycloakPutError) as caught:
        admin.update_client(uuid, {"secret": "a new one"})
    assert 403 == caught.value.response_code
    server.allow(REALM, ADMIN, REALM)
    with pytest.raises(keycloak.KeycloakGetError) as denied:
        admin.get_clients()
    assert 403 == denied.value.response_code
