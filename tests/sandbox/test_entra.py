"""Microsoft's own login library, unmodified, against the sandbox's Entra."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential

from sandbox.clock import Clock
from sandbox.services.entra import App, Entra
from sandbox.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VAULT_SCOPE = "https://vault.azure.net/.default"


@dataclass
class Login:
    """An Entra on the wire, with one tenant and one application that has one secret."""

    entra: Entra
    clock: Clock
    tenant: str
    app: App
    secret_id: str
    secret: str

    def token(self, secret: str | None = None, scope: str = VAULT_SCOPE, **options: str) -> str:
        """Log in with Microsoft's library, and return the token."""
        settings = {"tenant_id": self.tenant, "client_id": self.app.client_id, **options}
        credential = ClientSecretCredential(client_secret=secret or self.secret, **settings)
        return credential.get_token(scope).token

    def post(self, **form: str) -> requests.Response:
        """Ask the token endpoint as any HTTP client can; an empty value leaves the parameter out."""
        whole = {
            "grant_type": "client_credentials",
            "client_id": self.app.client_id,
            "client_secret": self.secret,
            "scope": VAULT_SCOPE,
            **form,
        }
        sent = {key: value for key, value in whole.items() if value}
        return requests.post(f"https://{Entra.hosts[0]}/{self.tenant}/oauth2/v2.0/token", sent, timeout=5)


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Login]:
    """Serve an Entra for one test."""
    clock = Clock()
    entra = Entra(clock)
    wire = Wire(tmp_path)
    wire.serve(entra)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    tenant = entra.add_tenant()
    app = entra.add_application(tenant, "publisher")
    secret_id, secret = entra.add_secret(app.client_id)
    yield Login(entra, clock, tenant, app, secret_id, secret)
    wire.stop()


def test_a_valid_secret_gets_a_token_for_the_resource_and_the_service_principal(login: Login) -> None:
    """A login gives a token that says who it is for, who has it, and where it may be used."""
    claims = login.entra.token_claims(login.token())

    assert claims is not None
    assert (login.tenant, login.app.client_id, login.app.service_principal_id, "https://vault.azure.net") == (
        claims["tid"],
        claims["appid"],
        claims["oid"],
        claims["aud"],
    )


def test_a_token_ends_when_its_time_is_over(login: Login) -> None:
    """A token that was valid is not any more after its lifetime."""
    token = login.token()
    assert login.entra.token_claims(token) is not None

    login.clock.advance(hours=1)

    assert login.entra.token_claims(token) is None


def test_a_token_that_was_altered_is_not_valid(login: Login) -> None:
    """Only what was issued counts as a token."""
    head, _, signature = login.token().split(".")
    other_claims = login.token(scope="https://graph.microsoft.com/.default").split(".")[1]

    assert login.entra.token_claims(f"{head}.{other_claims}.{signature}") is None
    assert login.entra.token_claims("nonsense") is None


def test_a_token_outlives_the_secret_it_was_got_with(login: Login) -> None:
    """Removing a secret ends new logins, not the tokens that are out."""
    token = login.token()

    login.entra.remove_secret(login.app.client_id, login.secret_id)

    assert login.entra.token_claims(token) is not None
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        login.token()


def test_a_wrong_secret_is_refused_with_7000215(login: Login) -> None:
    """The library raises its authentication error, with Entra's code in the message."""
    with pytest.raises(ClientAuthenticationError, match=r"AADSTS7000215: Invalid client secret provided"):
        login.token("wrong")


def test_a_secret_id_in_place_of_its_value_is_refused_with_7000215(login: Login) -> None:
    """The mistake that the message warns of is refused like any other wrong secret."""
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        login.token(login.secret_id)


def test_an_expired_secret_is_refused_with_7000222(login: Login) -> None:
    """A secret is let in until it expires, and then refused with a code of its own."""
    _, value = login.entra.add_secret(login.app.client_id, expires_in_days=2)
    assert login.token(value)
    assert login.entra.logs_in(login.app.client_id, value)

    login.clock.advance(days=3)

    with pytest.raises(ClientAuthenticationError, match="AADSTS7000222"):
        login.token(value)
    assert not login.entra.logs_in(login.app.client_id, value)


def test_an_unknown_application_is_refused_with_700016(login: Login) -> None:
    """An application that is not in the tenant cannot log in there, also if another tenant has it."""
    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        login.token(client_id=str(uuid.uuid4()))
    stranger = login.entra.add_application(login.entra.add_tenant(), "stranger")
    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        login.token(client_id=stranger.client_id)


def test_an_unknown_tenant_has_no_configuration(login: Login) -> None:
    """The library cannot find where a tenant logs in that does not exist: 90002 on the wire."""
    unknown = str(uuid.uuid4())

    with pytest.raises(ClientAuthenticationError, match="Unable to get authority configuration"):
        login.token(tenant_id=unknown)
    answer = requests.get(f"https://{Entra.hosts[0]}/{unknown}/v2.0/.well-known/openid-configuration", timeout=5)
    assert (400, [90002]) == (answer.status_code, answer.json()["error_codes"])


def test_a_tenant_is_found_in_its_own_cloud_only(login: Login) -> None:
    """A US Government tenant logs in at its own authority, for its own vaults, and nowhere else."""
    tenant = login.entra.add_tenant(authority="login.microsoftonline.us")
    app = login.entra.add_application(tenant, "publisher")
    _, secret = login.entra.add_secret(app.client_id)
    scope = "https://vault.usgovcloudapi.net/.default"

    token = login.token(secret, scope, tenant_id=tenant, client_id=app.client_id, authority="login.microsoftonline.us")

    assert login.entra.token_claims(token)
    with pytest.raises(ClientAuthenticationError):
        login.token(secret, scope, tenant_id=tenant, client_id=app.client_id)


def test_a_new_secret_is_refused_until_it_has_spread(login: Login) -> None:
    """A secret that is still spreading is refused like a wrong one, first by time, then by chance."""
    _, value = login.entra.add_secret(login.app.client_id, visible_in=60, refuses_first=1)
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        login.token(value)
    assert not login.entra.logs_in(login.app.client_id, value)

    login.clock.advance(seconds=61)
    assert not login.entra.logs_in(login.app.client_id, value)
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        login.token(value)

    assert login.entra.logs_in(login.app.client_id, value)
    assert login.token(value)


def test_a_new_secret_may_flap(login: Login) -> None:
    """A secret that logged in once can be refused the next time, while replicas differ."""
    secret_id, value = login.entra.add_secret(login.app.client_id)
    secret = next(one for one in login.entra.client_secrets(login.app.client_id) if one.secret_id == secret_id)
    secret.answers.extend([True, False, True])

    statuses = [login.post(client_secret=value).status_code for _ in range(4)]

    assert [200, 401, 200, 200] == statuses


@pytest.mark.parametrize(
    ("form", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000216),
        ({"client_id": "nobody"}, 400, "unauthorized_client", 700016),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"scope": ""}, 400, "invalid_request", 900144),
        ({"scope": "https://vault.azure.net/read"}, 400, "invalid_scope", 1002012),
        ({"scope": "https://vault.example.com/.default"}, 400, "invalid_resource", 500011),
        ({"grant_type": "magic"}, 400, "unsupported_grant_type", 70003),
    ],
)
def test_a_refusal_has_entras_shape(login: Login, form: dict[str, str], status: int, error: str, code: int) -> None:
    """Each refusal has its OAuth error, its AADSTS code, and the ids that Microsoft's support asks for."""
    answer = login.post(**form)

    body = answer.json()
    assert (status, error, [code]) == (answer.status_code, body["error"], body["error_codes"])
    assert {
        "error",
        "error_description",
        "error_codes",
        "timestamp",
        "trace_id",
        "correlation_id",
        "error_uri",
    } == set(body)
    lines = body["error_description"].split("\r\n")
    assert re.match(rf"AADSTS{code}: .+", lines[0])
    assert [
        f"Trace ID: {body['trace_id']}",
        f"Correlation ID: {body['correlation_id']}",
        f"Timestamp: {body['timestamp']}",
    ] == lines[1:]


def test_an_unknown_instance_is_refused(login: Login) -> None:
    """Instance discovery vouches for Microsoft's own hosts and for no other."""
    url = f"https://{Entra.hosts[0]}/common/discovery/instance"
    hosts = [Entra.hosts[0], "login.example.com"]

    answers = [
        requests.get(
            url,
            {
                "api-version": "1.1",
                "authorization_endpoint": f"https://{host}/{login.tenant}/oauth2/v2.0/authorize",
            },
            timeout=5,
        )
        for host in hosts
    ]

    assert [200, 400] == [answer.status_code for answer in answers]
    assert "invalid_instance" == answers[1].json()["error"]


def test_every_secret_and_token_ever_issued_is_remembered(login: Login) -> None:
    """A test can look for any of them in what a program prints, removed ones too."""
    token = login.token()
    _, given = login.entra.add_secret(login.app.client_id, value="given-by-the-test")
    login.entra.remove_secret(login.app.client_id, login.secret_id)

    assert {login.secret, given, token} == login.entra.secrets()
    assert ["given-by-the-test"] == [one.value for one in login.entra.client_secrets(login.app.client_id)]


def test_a_secret_does_not_show_its_value(login: Login) -> None:
    """What a failing test prints of the state shows no value."""
    assert login.secret not in repr(login.entra.client_secrets(login.app.client_id))
    assert login.secret not in repr(login.app)
