"""The sandbox's Keycloak, asked by python-keycloak, unmodified: what it reads is what a server says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keycloak
import pytest

from sandbox.clock import Clock
from sandbox.services.keycloak import HOST, Keycloak, Policy
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


ROTATED = "client.secret.rotated"


def _read(admin: keycloak.KeycloakAdmin) -> tuple[str, dict[str, str]]:
    read = admin.get_client(str(admin.get_client_id("erp")))
    return read["secret"], read["attributes"]


def test_without_a_policy_a_regenerated_secret_ends_the_one_before(ca_file: str) -> None:
    """The answer carries it, and no rotated one is there; to end one all the same is answered as if there were."""
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))
    made = admin.generate_client_secrets(uuid)

    assert ("secret", _read(admin)[0]) == (made["type"], made["value"])
    assert made == admin.get_client_secrets(uuid)
    assert {"client.secret.creation.time"} == {*_read(admin)[1]}
    with pytest.raises(keycloak.KeycloakAuthenticationError):
        _token(ca_file, "of last year")
    rotated = f"admin/realms/{REALM}/clients/{uuid}/client-secret/rotated"
    assert [404, 204] == [
        admin.connection.raw_get(rotated).status_code,
        admin.connection.raw_delete(rotated).status_code,
    ]


def test_under_a_policy_the_former_secret_lives_on_until_it_is_ended(server: Keycloak, ca_file: str) -> None:
    """Both get a token; the former one is shown as an attribute and by a path of its own, which ends it, too."""
    server.realms[REALM].policy = Policy()
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))
    made = admin.generate_client_secrets(uuid)["value"]

    secret, attributes = _read(admin)
    assert (made, "of last year") == (secret, attributes[ROTATED])
    assert {_token(ca_file, one)[:3] for one in (made, "of last year")} == {"eyJ"}
    ends = {name: int(attributes[f"client.secret.{name}expiration.time"]) for name in ("", "rotated.")}
    assert 27 * 86400 == ends[""] - ends["rotated."]
    rotated = f"admin/realms/{REALM}/clients/{uuid}/client-secret/rotated"
    assert "of last year" == admin.connection.raw_get(rotated).json()["value"]
    assert 204 == admin.connection.raw_delete(rotated).status_code
    assert ROTATED not in _read(admin)[1]
    with pytest.raises(keycloak.KeycloakAuthenticationError):
        _token(ca_file, "of last year")
    assert _token(ca_file, made)


def test_under_a_policy_an_update_sets_a_secret_as_it_is_sent(server: Keycloak, ca_file: str) -> None:
    """The first one gives it an end; none rotates it, and attributes are taken as they are sent, empty ones away."""
    server.realms[REALM].policy = Policy()
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))
    admin.update_client(uuid, {"secret": "a new one"})
    secret, attributes = _read(admin)
    assert ("a new one", False) == (secret, ROTATED in attributes)
    assert int(attributes["client.secret.expiration.time"])

    admin.generate_client_secrets(uuid)
    gone = {name: "" for name in _read(admin)[1] if ".rotated" in name}
    admin.update_client(uuid, {"secret": "of last year", "attributes": gone})
    assert ("of last year", {*attributes}) == (_read(admin)[0], {*_read(admin)[1]})


def test_under_a_policy_an_update_after_the_end_makes_yet_another(server: Keycloak, ca_file: str) -> None:
    """The one that is sent becomes the rotated one; without a policy an update takes all of that away."""
    server.realms[REALM].policy = Policy()
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))
    admin.update_client(uuid, {"attributes": {"client.secret.expiration.time": "1700000000"}})
    secret, attributes = _read(admin)
    assert (True, "of last year") == (secret != "of last year", attributes[ROTATED])
    server.realms[REALM].policy = None
    admin.update_client(uuid, {"secret": "a new one"})

    assert ("a new one", {"client.secret.creation.time"}) == (_read(admin)[0], {*_read(admin)[1]})


def test_a_secret_that_has_ended_gets_no_token_nor_does_the_rotated_one(server: Keycloak, ca_file: str) -> None:
    """The server asks for the client's own end last."""
    server.realms[REALM].policy = Policy()
    server.regenerate(REALM, "erp")
    server.client(REALM, "erp")["attributes"]["client.secret.expiration.time"] = "1700000000"

    for one in (server.client(REALM, "erp")["secret"], "of last year"):
        with pytest.raises(keycloak.KeycloakAuthenticationError):
            _token(ca_file, one)


def test_a_rotated_secret_is_hidden_from_who_may_only_look(server: Keycloak, ca_file: str) -> None:
    """Who may not end it is told so by a 500: the server stumbles over its own refusal there."""
    server.realms[REALM].policy = Policy()
    server.regenerate(REALM, "erp")
    server.allow(REALM, ADMIN, REALM, "view-clients")
    admin = _admin(ca_file)
    uuid = str(admin.get_client_id("erp"))

    assert "*" * 10 == _read(admin)[1][ROTATED]
    with pytest.raises(keycloak.KeycloakPostError) as refused:
        admin.generate_client_secrets(uuid)
    assert 403 == refused.value.response_code
    rotated = f"admin/realms/{REALM}/clients/{uuid}/client-secret/rotated"
    assert [403, 500] == [
        admin.connection.raw_get(rotated).status_code,
        admin.connection.raw_delete(rotated).status_code,
    ]
