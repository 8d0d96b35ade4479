"""Which Azure application a job comes with, in which cloud, and what is told of a refused token."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput, OutOfTime
from pam_scripts.core.fields import Record
from pam_scripts.core.http import Common, Session
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.issuers import azure_app, values
from pam_scripts.logins.azure import (
    CLOUDS,
    AppSecret,
    Cloud,
    HostIdentity,
    Identity,
    SdkCredential,
    TokenSource,
    find_identity,
    log_in,
)
from sandbox.faults import Rule, status
from sandbox.plant import Plant
from sandbox.services import entra as entra_service

ITS_OWN = azure_app.SHAPE
IDS = {"tenant_id": "plant.example.com", "application_client_id": "0fe1-app"}
OWN = {**IDS, "client_secret": "its own secret"}
ATTACHED = {"Tenant ID": "attached-tenant", "applicationClientId": "attached-app", "CLIENT_SECRET": "attached secret"}
GOVERNMENT = {"azure_cloud": "usgovernment"}
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
    """An attached record, then the record itself where it may be, then the PAM Configuration."""
    app = find_identity(given, ITS_OWN if its_own else values.SHAPE).app

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
    assert find_identity(given, values.SHAPE).app is None


def test_an_application_says_where_it_stands_and_not_what_its_secret_is() -> None:
    """The record's UID tells a caller whether the secret can be replaced where it was found."""
    app = find_identity(job(OWN), ITS_OWN).app

    assert app is not None
    assert ("USER", "plant.example.com", "its own secret") == (app.record_uid, app.tenant_id, app.secret.reveal())
    assert "its own secret" not in repr(app)


@pytest.mark.parametrize("value", ["a tenant", "t/../x", "t?x", "https://login", "t" * 254])
@pytest.mark.parametrize("label", ["tenant_id", "application_client_id"])
def test_what_cannot_be_an_id_is_refused(label: str, value: str) -> None:
    """What goes into an address is checked before it does, and named with its record."""
    with pytest.raises(BadInput, match=f"Admin 0.*'{label}'.*as the Azure portal shows it"):
        find_identity(job(None, None, {**OWN, label: value}), values.SHAPE)


# -- which cloud ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (job(), "public"),
        (
            job(None, {**CONFIGURED, "azure_cloud": "china"}, {**ATTACHED, "azure_cloud": "usgovernment"}),
            "usgovernment",
        ),
        (job(None, {**CONFIGURED, "azure_cloud": "china"}, GOVERNMENT), "china"),
        (job(None, {"azure_cloud": "china"}, {**ATTACHED, "azure_cloud": ""}), "china"),
        (job(None, {"Azure Cloud": "US Government"}), "usgovernment"),
        (job({**OWN, "azure_cloud": "china"}), "china"),
        (job({"azure_cloud": "china"}, CONFIGURED), "public"),
        (job(None, {"azure_cloud": "<public, usgovernment or china>"}), "public"),
    ],
    ids=[
        "default",
        "beside-the-credential",
        "not-in-a-record-of-another-purpose",
        "else-in-the-configuration",
        "any-spelling",
        "in-its-own-record-where-it-rotates-itself",
        "else-never-in-the-pam-user-record",
        "placeholder",
    ],
)
def test_the_cloud_is_named_beside_the_credential(given: Job, found: str) -> None:
    """In the credential's record, else in the PAM Configuration; else it is the public cloud."""
    assert CLOUDS[found] == find_identity(given, ITS_OWN).cloud


def test_an_unknown_cloud_is_refused() -> None:
    """The record and the clouds there are are named."""
    with pytest.raises(BadInput, match=r"'Plant'.*'azure_cloud' is 'moon'.*'public' or 'usgovernment' or 'china'"):
        find_identity(job(None, {"azure_cloud": "moon"}), ITS_OWN)


# -- logging in -----------------------------------------------------------------------------------

VAULTS = "vault.azure.net"


def cloud_of(plant: Plant) -> Cloud:
    """Return the cloud that the plant is in."""
    return next(cloud for cloud in CLOUDS.values() if cloud.authority == plant.cloud.authorities[0])


def as_application(plant: Plant, session: Session, **changes: str) -> TokenSource:
    """Return the login of the plant's application."""
    given = {"tenant_id": plant.tenant_id, "client_id": plant.azure_app.client_id, **changes}
    app = AppSecret(given["tenant_id"], given["client_id"], Secret(given.get("secret", plant.azure_secret)))
    return log_in(Identity(app, cloud_of(plant)), session)


def as_host(plant: Plant, session: Session, monkeypatch: pytest.MonkeyPatch, **changes: str) -> TokenSource:
    """Return the login of a host whose environment names the plant's application."""
    given = {"TENANT_ID": plant.tenant_id, "CLIENT_ID": plant.azure_app.client_id, "CLIENT_SECRET": plant.azure_secret}
    for name, value in {**given, **{name.upper(): value for name, value in changes.items()}}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    return log_in(Identity(None, cloud_of(plant)), session)


def test_an_application_logs_in_with_one_request_for_each_resource(wired: Session, plant: Plant) -> None:
    """However often and by however many threads it is asked for; it is the application that the token is made for."""
    login = as_application(plant, wired)
    asking = [VAULTS, VAULTS, plant.cloud.graph, VAULTS]

    with concurrently() as submit:
        made = [submit(partial(login.token, resource, "key vault", "log in")) for resource in asking]

    for resource, token in zip(asking, made, strict=True):
        claims = plant.entra.token_claims(token.result().value.reveal()) or {}
        assert (plant.azure_app.client_id, f"https://{resource}") == (claims["appid"], claims["aud"])
    assert [f"/{plant.tenant_id}/oauth2/v2.0/token"] * 2 == [request.path for request in plant.wire.log]
    assert as_application(plant, wired) is login, "whoever shares the session shares the login"


def test_a_token_near_its_end_is_asked_for_anew(wired: Session, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has five minutes left would end under way."""
    monkeypatch.setattr(entra_service, "TOKEN_LIFETIME", timedelta(seconds=240))
    login = as_application(plant, wired)

    first, second = (login.token(VAULTS, "key vault", "log in").value for _ in range(2))

    assert first != second


def test_azures_sdks_get_the_same_token(wired: Session, plant: Plant) -> None:
    """They name a resource by its scope, and count a token's life in whole seconds."""
    login = as_application(plant, wired)

    made = SdkCredential(login, "key vault", "log in").get_token(
        f"https://{VAULTS}/.default", tenant_id=plant.tenant_id
    )

    own = login.token(VAULTS, "key vault", "log in")
    assert (own.value.reveal(), int(own.expires_at)) == (made.token, made.expires_on)
    assert own.value.reveal() not in repr(own)


def test_a_tenant_by_its_name_is_not_held_against_an_id(wired: Session, plant: Plant) -> None:
    """A vault names its tenant by an id; where the record has a name, Entra and the vault decide."""
    login = as_application(plant, wired, tenant_id="plant.example.com")

    with pytest.raises(ApiError, match="AADSTS90002"):
        login.token(VAULTS, "key vault", "log in", plant.tenant_id)


def test_the_secret_goes_to_its_own_tenant_only(wired: Session, plant: Plant) -> None:
    """Whatever tenant a service says it belongs to, nothing is asked of that one."""
    with pytest.raises(ApiError, match="the service belongs to another tenant") as caught:
        as_application(plant, wired).token(VAULTS, "key vault", "log in", plant.entra.add_tenant())

    assert not caught.value.transient
    assert not plant.wire.log


def test_an_answer_without_a_token_is_none(wired: Session, plant: Plant) -> None:
    """A proxy's own page in Entra's place proves nothing, and may be asked again."""
    plant.wire.rules.append(Rule(status(200)))

    with pytest.raises(ApiError, match="the answer carries no token") as caught:
        as_application(plant, wired).token(VAULTS, "key vault", "log in")

    assert caught.value.transient


def test_the_hosts_identity_is_never_a_developers(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an application: environment, workload and managed identity; no login of a tool on the host."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "plant.example.com")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "token")

    credential = HostIdentity(CLOUDS["public"].authority, session).credential

    tried = [type(one).__name__ for one in credential.credentials]
    assert ["EnvironmentCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"] == tried


@pytest.mark.parametrize("value", ["https://[::1", "https://evil.example.com", "//:443", "https://a..b"])
def test_the_hosts_identity_is_shown_to_no_authority_of_the_environment(
    value: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not it is an address at all: the variable is named."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", value)

    with pytest.raises(BadInput, match="AZURE_AUTHORITY_HOST would send the host's own identity to another host"):
        _ = HostIdentity(CLOUDS["public"].authority, session).credential


# -- a refused token ------------------------------------------------------------------------------

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("whose", ["application", "host"])
@pytest.mark.parametrize(
    ("changes", "code", "way_out"),
    [
        ({"secret": "hunter2-hunter2"}, "AADSTS7000215", "its value, not its id"),
        ({"secret": "expired"}, "AADSTS7000222", "has expired"),
        ({"client_id": UNKNOWN}, "AADSTS700016", "'application_client_id' and 'tenant_id'"),
        ({"tenant_id": UNKNOWN}, "AADSTS90002", "check 'tenant_id'"),
    ],
    ids=["wrong-secret", "expired-secret", "unknown-application", "unknown-tenant"],
)
def test_of_a_refusal_the_code_is_told(  # noqa: PLR0913, PLR0917 - one case's facts
    whose: str,
    changes: dict[str, str],
    code: str,
    way_out: str,
    wired: Session,
    plant: Plant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Entra's code and the field to look at; never its text, which repeats what was sent."""
    if changes.get("secret") == "expired":
        changes = {"secret": plant.entra.add_secret(plant.azure_app.client_id, expires_in_days=-1)[1]}
    if whose == "host":
        changes = {("client_secret" if name == "secret" else name): value for name, value in changes.items()}
        login = as_host(plant, wired, monkeypatch, **changes)
    else:
        login = as_application(plant, wired, **changes)

    with pytest.raises(ApiError) as caught:
        login.token(VAULTS, "key vault", "log in to plant-vault")

    error = caught.value
    assert error.cause.startswith("key vault: log in to plant-vault: no token from Entra: ")
    assert way_out in str(error)
    assert error.next_step
    assert not re.search(r"Trace|hunter2|check that", str(error))
    assert not error.transient
    # Where the tenant is unknown azure-identity asks for its configuration first, and makes no code of the refusal.
    if (whose, code) != ("host", "AADSTS90002"):
        assert code in error.cause
        assert code == error.name


@pytest.mark.parametrize(
    ("stands_in_the_way", "code", "parts"),
    [
        ({"has_principal": False}, "AADSTS7000229", ("no enterprise application", "az ad sp create")),
        ({"is_enabled": False}, "AADSTS7000112", ("is disabled", "enabled for users to sign in")),
        ({"is_blocked": True}, "AADSTS53003", ("Conditional Access blocks", "let this host's address in")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("whose", ["application", "host"])
def test_what_no_wait_mends_is_told_with_its_way_out(  # noqa: PLR0913, PLR0917 - one case's facts
    whose: str,
    stands_in_the_way: dict[str, bool],
    code: str,
    parts: tuple[str, ...],
    wired: Session,
    plant: Plant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a wrong secret nor slowness: the line names what keeps the application out, and asks once."""
    for name, value in stands_in_the_way.items():
        setattr(plant.azure_app, name, value)
    login = as_host(plant, wired, monkeypatch) if whose == "host" else as_application(plant, wired)

    with pytest.raises(ApiError) as caught:
        login.token(VAULTS, "key vault", "log in")

    assert code == caught.value.name
    assert [] == [part for part in parts if part not in str(caught.value)], str(caught.value)
    assert caught.value.refused
    assert [400 if code != "AADSTS7000229" else 401] == [r.status for r in plant.wire.log if r.path.endswith("/token")]


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"tenant_id": "common-tenant"}, "AADSTS900023", "neither an id nor a domain"),
        ({"resource": "vault.azure.cn"}, "AADSTS500011", "does not know the service"),
    ],
    ids=["no-tenant", "another-cloud"],
)
def test_a_wrong_tenant_or_cloud_is_told(
    changes: dict[str, str], code: str, part: str, wired: Session, plant: Plant
) -> None:
    """Each with the fields to look at."""
    resource = changes.pop("resource", VAULTS)

    with pytest.raises(ApiError, match=part) as caught:
        as_application(plant, wired, **changes).token(resource, "key vault", "log in")

    assert code == caught.value.name
    assert "'tenant_id'" in caught.value.next_step


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t\n"])
def test_what_was_copied_behind_a_secret_is_not_of_it(end: str) -> None:
    """Entra's secrets have no blank in them."""
    app = find_identity(job({**OWN, "client_secret": f"its-own-secret{end}"}), ITS_OWN).app

    assert app
    assert "its-own-secret" == app.secret.reveal()


def test_of_a_refusal_in_any_other_words_only_the_status_is_told(wired: Session, plant: Plant) -> None:
    """What is not a name, such as a proxy's own words, could carry anything; the places to look at are named."""
    plant.wire.rules.append(Rule(status(400)))

    with pytest.raises(ApiError) as caught:
        as_application(plant, wired).token(VAULTS, "key vault", "log in")

    assert "key vault: log in: no token from Entra: 400 Bad Request" == caught.value.cause
    assert "attached record, PAM Configuration, or managed identity" in caught.value.next_step
    assert not caught.value.transient


def test_a_tenant_that_is_not_the_services_is_told(
    wired: Session, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What azure-identity itself refuses to do points to the tenant."""
    with pytest.raises(ApiError, match="the service belongs to another tenant") as caught:
        as_host(plant, wired, monkeypatch).token(VAULTS, "key vault", "log in", plant.entra.add_tenant())

    assert not caught.value.transient


def test_a_refusal_without_a_code_may_be_asked_again(wired: Session, plant: Plant) -> None:
    """Where the host has no identity, that may have been the way to the one it has."""
    with pytest.raises(ApiError, match="attached record, PAM Configuration, or managed identity") as caught:
        log_in(Identity(None, cloud_of(plant)), wired).token(VAULTS, "key vault", "log in")

    assert caught.value.transient


def test_a_refusal_at_the_end_of_the_time_is_the_end_of_the_time(
    wired: Session, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-identity makes a refusal of whatever stops it, the run's deadline too."""
    login = as_host(plant, wired, monkeypatch)
    wired.deadline.stop("stopped by SIGTERM")

    with pytest.raises(OutOfTime, match="stopped by SIGTERM"):
        login.token(VAULTS, "key vault", "log in")


def test_runs_that_share_connections_share_each_token(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request for each identity and resource, however many runs need it at once; another identity has its own."""
    for name, value in plant.wire.environment().items():
        monkeypatch.setenv(name, value)
    common = Common()
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))
    other_app, other_secret = plant.add_azure_app("Another")
    other = AppSecret(plant.tenant_id, other_app.client_id, Secret(other_secret))
    with concurrently() as submit:
        asked = [
            submit(partial(log_in(Identity(one, CLOUDS["public"]), Session(Deadline(60), common=common)).token, *words))
            for one in (app, app, app, other)
            for words in [("vault.azure.net", "key vault", "read")]
        ]
    tokens = [each.result().value.reveal() for each in asked]

    assert 2 == len({*tokens})
    assert 1 == len({*tokens[:3]})
    assert 2 == sum("oauth2" in request.path for request in plant.wire.log)
