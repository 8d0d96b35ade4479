"""Which Azure application a job comes with, in which cloud, and what is told of a refused token."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential, DefaultAzureCredential

from pam_scripts.core.entra import CLOUDS, find_app, find_cloud, new_credential, no_token
from pam_scripts.core.errors import BadInput, OutOfTime
from pam_scripts.core.fields import Record
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline

IDS = {"tenant_id": "plant.example.com", "application_client_id": "0fe1-app"}
OWN = {**IDS, "client_secret": "its own secret"}
ATTACHED = {"Tenant ID": "attached-tenant", "applicationClientId": "attached-app", "CLIENT_SECRET": "attached secret"}
CONFIGURED = {"Tenant Id": "configured-tenant", "Client Id": "configured-app", "Client Secret": "configured secret"}


def job(
    user: dict[str, Any] | None = None, configuration: dict[str, Any] | None = None, *attached: dict[str, Any]
) -> Job:
    """Make a job of flat records."""
    records = [
        Record.from_flat({"uid": f"ATTACHED{n}", "title": f"Admin {n}", **one}) for n, one in enumerate(attached)
    ]
    return Job(
        Record.from_flat({"uid": "USER", "title": "Rotated", **(user or {})}),
        Record.from_flat({"uid": "CONFIGURATION", "title": "Plant", **configuration}) if configuration else None,
        records,
    )


@pytest.fixture
def session() -> Session:
    """Return a session with time left."""
    return Session(Deadline(60))


# -- which application ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "its_own", "found"),
    [
        (job(OWN, CONFIGURED, ATTACHED), True, "attached-app"),
        (job(OWN, CONFIGURED, {"login": "seeq.admin"}, ATTACHED), True, "attached-app"),
        (job(OWN, CONFIGURED), True, "0fe1-app"),
        (job(OWN, CONFIGURED), False, "configured-app"),
        (job(IDS, CONFIGURED), True, "configured-app"),
        (job(None, CONFIGURED, IDS), False, "configured-app"),
        (
            job(None, {"tenantId": "t", "clientId": "spelled-otherwise", "clientSecret": "s"}),
            False,
            "spelled-otherwise",
        ),
    ],
    ids=[
        "an-attached-record-comes-first",
        "whichever-of-them-has-the-fields",
        "then-the-record-itself",
        "but-only-where-it-may-be",
        "and-only-with-a-secret",
        "an-attached-record-without-a-secret-does-not-count",
        "the-configuration-in-another-spelling",
    ],
)
def test_the_first_place_with_all_three_fields_is_taken(given: Job, its_own: bool, found: str) -> None:
    """An attached record, then the record itself where it may be, then the PAM configuration."""
    app = find_app(given, its_own=its_own)

    assert app is not None
    assert found == app.client_id


@pytest.mark.parametrize(
    "given",
    [
        job(),
        job(OWN),
        job(None, {"Tenant Id": "t", "Client Id": "c", "Client Secret": ""}),
        job(None, {"Tenant Id": "t", "Client Id": "c", "Client Secret": "<the client secret>"}),
        # An attached record calls the application by the longer label: `client_id` alone is another system's.
        job(None, None, {"tenant_id": "t", "client_id": "c", "client_secret": "s"}),
    ],
    ids=["nothing", "only-the-record-itself", "no-secret", "a-placeholder", "another-systems-record"],
)
def test_without_all_three_the_host_has_its_own_identity(given: Job) -> None:
    """None stands for whatever identity the host has."""
    assert find_app(given) is None


def test_an_application_says_where_it_stands_and_not_what_its_secret_is() -> None:
    """The record's UID tells a caller whether the secret can be replaced where it was found."""
    app = find_app(job(OWN), its_own=True)

    assert app is not None
    assert ("USER", "plant.example.com", "its own secret") == (app.record_uid, app.tenant_id, app.secret.reveal())
    assert "its own secret" not in repr(app)


@pytest.mark.parametrize("value", ["a tenant", "t/../x", "t?x", "https://login", "t" * 254])
@pytest.mark.parametrize("label", ["tenant_id", "application_client_id"])
def test_what_cannot_be_an_id_is_refused(label: str, value: str) -> None:
    """What goes into an address is checked before it does, and named with its record."""
    with pytest.raises(BadInput, match=f"Admin 0.*'{label}'.*as the Azure portal shows it"):
        find_app(job(None, None, {**OWN, label: value}))


# -- which cloud ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (job(), "public"),
        (job(None, {"azure_cloud": "china"}, {"azure_cloud": "usgovernment"}), "usgovernment"),
        (job(None, {"azure_cloud": "china"}, {"azure_cloud": ""}), "china"),
        (job(None, {"Azure Cloud": "US Government"}), "usgovernment"),
        (job({"azure_cloud": "china"}), "china"),
        (job({"azure_cloud": "china"}, {"azure_cloud": "PUBLIC"}), "public"),
        (job(None, {"azure_cloud": "<public, usgovernment or china>"}), "public"),
    ],
    ids=["default", "attached-first", "then-the-configuration", "any-spelling", "own-last", "not-first", "placeholder"],
)
def test_the_first_place_that_names_a_cloud_decides(given: Job, found: str) -> None:
    """An attached record, the PAM configuration, the record itself; else the public cloud."""
    assert CLOUDS[found] == find_cloud(given)


def test_an_unknown_cloud_is_refused() -> None:
    """The record and the clouds there are are named."""
    with pytest.raises(BadInput, match=r"'Plant'.*'azure_cloud' is 'moon'.*public or usgovernment or china"):
        find_cloud(job(None, {"azure_cloud": "moon"}))


# -- logging in -----------------------------------------------------------------------------------


def test_an_application_logs_in_as_itself(session: Session) -> None:
    """A given application is never exchanged for the host's identity."""
    app = find_app(job(None, CONFIGURED))

    assert isinstance(new_credential(app, CLOUDS["public"].authority, session), ClientSecretCredential)


def test_the_hosts_identity_is_never_a_developers(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an application: environment, workload and managed identity; no login of a tool on the host."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "plant.example.com")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "token")

    credential = new_credential(None, CLOUDS["public"].authority, session)

    assert isinstance(credential, DefaultAzureCredential)
    tried = [type(one).__name__ for one in credential.credentials]
    assert ["EnvironmentCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"] == tried


# -- a refused token ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        ("AADSTS7000215", "its value, not its id"),
        ("AADSTS7000222", "has expired"),
        ("AADSTS700016", "'application_client_id' and 'tenant_id'"),
        ("AADSTS90002", "check 'tenant_id'"),
        ("AADSTS50034", "attached record, PAM configuration, or managed identity"),
    ],
)
def test_of_a_refusal_the_code_is_told(code: str, way_out: str, session: Session) -> None:
    """Entra's code and the field to look at; never its text, which repeats what was sent."""
    refused = ClientAuthenticationError(f"Authentication failed: {code}: value 'hunter2' is no good. Trace ID: 1")

    error = no_token(session, "entra", "read application", refused)

    assert f"entra: read application: no token from Entra ({code})" == error.cause
    assert way_out in error.next_step
    assert "hunter2" not in str(error)
    assert (401, code, False) == (error.code, error.name, error.transient)


def test_a_tenant_that_is_not_the_services_is_told(session: Session) -> None:
    """What azure-identity itself refuses to do points to the tenant."""
    words = "The current credential is not configured to acquire tokens for tenant 0fe1"

    error = no_token(session, "key vault", "read secret", ClientAuthenticationError(words))

    assert "the service belongs to another tenant" in error.next_step
    assert not error.transient


def test_a_tenant_that_does_not_exist_is_told(session: Session) -> None:
    """Entra is first asked where the tenant's tokens come from; what is made of its refusal has no code."""
    words = (
        "Authentication failed: Unable to get authority configuration for https://login.microsoftonline.com/0fe1. "
        "Also please double check your tenant name or GUID is correct."
    )

    error = no_token(session, "entra", "read application", ClientAuthenticationError(words))

    assert "check 'tenant_id'" in error.next_step


def test_a_refusal_without_a_code_may_be_asked_again(session: Session) -> None:
    """What says nothing of a reason may have been the way there."""
    error = no_token(session, "entra", "read application", ClientAuthenticationError("no identity endpoint"))

    assert error.transient
    assert "managed identity" in error.next_step


def test_a_refusal_at_the_end_of_the_time_is_the_end_of_the_time(session: Session) -> None:
    """azure-identity makes a refusal of whatever stops it, the run's deadline too."""
    session.deadline.stop("stopped by SIGTERM")

    with pytest.raises(OutOfTime, match="stopped by SIGTERM"):
        no_token(session, "entra", "read application", ClientAuthenticationError("no answer"))
