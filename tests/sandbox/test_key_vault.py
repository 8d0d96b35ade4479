"""Microsoft's own Key Vault client, unmodified, against the sandbox's vaults."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

from sandbox.clock import Clock
from sandbox.services import Refusal
from sandbox.services.entra import App, Entra
from sandbox.services.key_vault import ALL, RETENTION, KeyVault, Right
from sandbox.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPIRY = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)


@dataclass
class Plant:
    """A vault named `plant` and an application that may do all in it, on the wire."""

    wire: Wire
    entra: Entra
    vaults: KeyVault
    clock: Clock
    tenant: str
    app: App
    secret: str

    def client(self, url: str = "https://plant.vault.azure.net", **options: Any) -> SecretClient:  # noqa: ANN401 - Microsoft's own
        """Make Microsoft's client, logged in as the application."""
        credential = ClientSecretCredential(self.tenant, self.app.client_id, self.secret)
        return SecretClient(url, credential, **options)

    def request(
        self,
        method: str,
        path: str,
        query: str = "api-version=7.4",
        scope: str = "https://vault.azure.net/.default",
        json: object = None,
    ) -> requests.Response:
        """Ask the vault as any HTTP client can, with a token."""
        credential = ClientSecretCredential(self.tenant, self.app.client_id, self.secret)
        headers = {"Authorization": f"Bearer {credential.get_token(scope).token}"}
        url = f"https://plant.vault.azure.net{path}?{query}"
        return requests.request(method, url, headers=headers, json=json, timeout=5)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Serve an Entra and a Key Vault for one test."""
    clock = Clock()
    entra = Entra(clock)
    vaults = KeyVault(clock, entra)
    wire = Wire(tmp_path)
    wire.serve(entra, vaults)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    tenant = entra.add_tenant()
    app = entra.add_application(tenant, "publisher")
    _, secret = entra.add_secret(app.client_id)
    vaults.add_vault("plant", tenant)
    vaults.grant("plant", app.client_id)
    yield Plant(wire, entra, vaults, clock, tenant, app, secret)
    wire.stop()


def inner_code(error: HttpResponseError) -> str | None:
    """Read the code of the inner error, as Microsoft's client hands it on."""
    found = error.error.innererror if error.error else None
    return str(found["code"]) if found else None


def test_a_first_request_is_answered_with_a_challenge_and_carries_no_value(plant: Plant) -> None:
    """The client first asks without token and body, and learns from the 401 whom to ask for a token."""
    # A vault of its own, because the client remembers challenges for the life of the process.
    url = plant.vaults.add_vault("new-plant", plant.tenant)
    plant.vaults.grant("new-plant", plant.app.client_id)
    plant.client(url).set_secret("line-1", "first")

    puts = [request for request in plant.wire.log if request.method == "PUT"]
    assert [(401, False), (200, True)] == [(put.status, b"first" in put.body) for put in puts]
    bare = requests.get(f"{url}/secrets/line-1?api-version=7.4", timeout=5)
    assert 401 == bare.status_code
    assert (
        f'Bearer authorization="https://login.microsoftonline.com/{plant.tenant}",'
        ' resource="https://vault.azure.net"' == bare.headers["WWW-Authenticate"]
    )


def test_what_is_set_can_be_read_with_all_its_properties(plant: Plant) -> None:
    """Value, tags, content type and times go in and come back; the version has 32 hexadecimal digits."""
    client = plant.client()

    written = client.set_secret("line-1", "first", tags={"key": "K1"}, content_type="text/plain", expires_on=EXPIRY)
    read = client.get_secret("line-1")

    assert "first" == read.value
    assert written.properties.version == read.properties.version
    assert 32 == len(read.properties.version or "")
    assert ({"key": "K1"}, "text/plain", EXPIRY, True) == (
        read.properties.tags,
        read.properties.content_type,
        read.properties.expires_on,
        read.properties.enabled,
    )
    assert ("Recoverable+Purgeable", 90) == (
        read.properties.recovery_level,
        read.properties.recoverable_days,
    )
    assert read.properties.created_on == read.properties.updated_on
    assert "first" == plant.vaults.value("plant", "line-1")


def test_a_newer_version_is_the_one_that_is_read(plant: Plant) -> None:
    """Reading a name gives its newest version, and an older one still by its id."""
    client = plant.client()
    first = client.set_secret("line-1", "first")
    client.set_secret("line-1", "second")

    assert "second" == client.get_secret("line-1").value
    assert "first" == client.get_secret("line-1", first.properties.version).value
    assert ["first", "second"] == [one.value for one in plant.vaults.versions("plant", "line-1")]


def test_names_are_compared_without_regard_to_case(plant: Plant) -> None:
    """Two spellings are one secret, kept under the first."""
    client = plant.client()
    client.set_secret("Line-1", "first")
    client.set_secret("line-1", "second")

    assert "second" == client.get_secret("LINE-1").value
    assert ["Line-1"] == plant.vaults.names("plant")


def test_a_missing_secret_is_404(plant: Plant) -> None:
    """A name or a version that is not there is told apart from everything else."""
    client = plant.client()
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound") as caught:
        client.get_secret("line-1")
    assert "A secret with (name/id) line-1 was not found in this key vault." in str(caught.value)

    client.set_secret("line-1", "first")
    with pytest.raises(ResourceNotFoundError, match="line-1/0123"):
        client.get_secret("line-1", "0123")


def test_properties_are_updated_in_place(plant: Plant) -> None:
    """An update changes what it names, of one version, and leaves the value and all else."""
    client = plant.client()
    first = client.set_secret("line-1", "first", tags={"key": "K1"}, content_type="text/plain")
    client.set_secret("line-1", "second", tags={"key": "K2"})
    plant.clock.advance(minutes=1)

    client.update_secret_properties("line-1", first.properties.version, tags={"old": "yes"}, expires_on=EXPIRY)
    client.update_secret_properties("line-1", content_type="application/json")

    older, newer = plant.vaults.versions("plant", "line-1")
    assert ("first", {"old": "yes"}, "text/plain", EXPIRY) == (
        older.value,
        older.tags,
        older.content_type,
        older.expires_on,
    )
    assert ("second", {"key": "K2"}, "application/json", None) == (
        newer.value,
        newer.tags,
        newer.content_type,
        newer.expires_on,
    )
    assert timedelta(minutes=1) <= older.updated_on - older.created_on < timedelta(minutes=2)


def test_a_disabled_newest_version_cannot_be_read_and_no_older_one_takes_its_place(plant: Plant) -> None:
    """Reading a name whose newest version is disabled is 403, until a newer one is written."""
    client = plant.client()
    client.set_secret("line-1", "first")
    second = client.set_secret("line-1", "second")
    client.update_secret_properties("line-1", second.properties.version, enabled=False)

    with pytest.raises(HttpResponseError, match="not allowed on a disabled secret") as caught:
        client.get_secret("line-1")
    assert (403, "SecretDisabled") == (caught.value.status_code, inner_code(caught.value))
    assert plant.vaults.value("plant", "line-1") is None

    client.set_secret("line-1", "first")
    assert "first" == client.get_secret("line-1").value


def test_an_expired_secret_can_still_be_read(plant: Plant) -> None:
    """The expiry of a secret informs; Key Vault does not enforce it."""
    client = plant.client()
    client.set_secret("line-1", "first", expires_on=datetime(2020, 1, 1, tzinfo=timezone.utc))

    assert "first" == client.get_secret("line-1").value


def test_versions_are_listed_in_the_order_of_their_ids(plant: Plant) -> None:
    """A list of versions is not a history: it is sorted by id, over all its pages, and has no value."""
    client = plant.client()
    for number in range(12):
        plant.vaults.set("plant", "line-1", f"value {number}")

    pages = list(client.list_properties_of_secret_versions("line-1", max_page_size=5).by_page())
    listed = [one.version for page in pages for one in page]

    written = [one.version for one in plant.vaults.versions("plant", "line-1")]
    assert sorted(written) == listed
    assert written != listed


def test_a_missing_secret_has_an_empty_list_of_versions(plant: Plant) -> None:
    """Asking for the versions of a name that is not there is no error."""
    assert [] == list(plant.client().list_properties_of_secret_versions("line-1"))


def test_secrets_are_listed_over_pages(plant: Plant) -> None:
    """A list gives each secret once, by name, with the properties of its newest version."""
    names = [f"line-{number:02}" for number in range(30)]
    for name in reversed(names):
        plant.vaults.set("plant", name, "old")
        plant.vaults.set("plant", name, "new", tags={"for": name}, expires_on=EXPIRY)

    listed = list(plant.client().list_properties_of_secrets())

    assert names == [one.name for one in listed]
    assert [{"for": name} for name in names] == [one.tags for one in listed]
    assert {EXPIRY} == {one.expires_on for one in listed}
    assert {None} == {one.version for one in listed}
    lists = [request for request in plant.wire.log if request.path == "/secrets" and request.status == 200]
    assert 2 == len(lists)


def test_the_size_of_a_page_can_be_chosen_up_to_25(plant: Plant) -> None:
    """`maxresults` cuts the pages; the last one has no link, and more than 25 is refused."""
    for number in range(4):
        plant.vaults.set("plant", f"line-{number}", "value")

    first = plant.request("GET", "/secrets", "api-version=7.4&maxresults=3").json()
    link = first["nextLink"]
    second = plant.request("GET", "/secrets", link.partition("?")[2]).json()

    assert link.startswith("https://plant.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=")
    assert [3, 1] == [len(first["value"]), len(second["value"])]
    assert second["nextLink"] is None
    assert 400 == plant.request("GET", "/secrets", "api-version=7.4&maxresults=26").status_code


def test_a_deleted_secret_can_be_recovered_with_all_its_versions(plant: Plant) -> None:
    """Deleting hides a secret, its name stays taken, and recovering brings every version back."""
    client = plant.client()
    client.set_secret("line-1", "first")
    client.set_secret("line-1", "second")

    deleted = client.begin_delete_secret("line-1").result()

    assert "https://plant.vault.azure.net/deletedsecrets/line-1" == deleted.recovery_id
    assert deleted.deleted_date is not None
    assert deleted.deleted_date + RETENTION == deleted.scheduled_purge_date
    assert ["line-1"] == [one.name for one in client.list_deleted_secrets()]
    assert "line-1" == client.get_deleted_secret("line-1").name
    assert ([], [], None) == (
        plant.vaults.names("plant"),
        plant.vaults.versions("plant", "line-1"),
        plant.vaults.value("plant", "line-1"),
    )
    with pytest.raises(ResourceNotFoundError):
        client.get_secret("line-1")

    client.begin_recover_deleted_secret("line-1").wait()

    assert "second" == client.get_secret("line-1").value
    assert 2 == len(plant.vaults.versions("plant", "line-1"))
    with pytest.raises(ResourceNotFoundError, match="Deleted Secret not found"):
        client.get_deleted_secret("line-1")


def test_the_name_of_a_deleted_secret_cannot_be_written(plant: Plant) -> None:
    """Writing a soft-deleted name is a conflict that says it can be recovered."""
    client = plant.client()
    client.set_secret("line-1", "first")
    plant.vaults.delete("plant", "line-1")

    with pytest.raises(ResourceExistsError) as caught:
        client.set_secret("line-1", "second")

    assert (409, "ObjectIsDeletedButRecoverable") == (caught.value.status_code, inner_code(caught.value))
    with pytest.raises(Refusal, match="deleted but recoverable"):
        plant.vaults.set("plant", "line-1", "second")


def test_a_purged_secret_is_gone_and_its_name_free(plant: Plant) -> None:
    """After a purge the name starts anew, without the old versions."""
    client = plant.client()
    client.set_secret("line-1", "first")
    client.begin_delete_secret("line-1").wait()

    client.purge_deleted_secret("line-1")

    with pytest.raises(ResourceNotFoundError):
        client.get_deleted_secret("line-1")
    client.set_secret("line-1", "second")
    assert ["second"] == [one.value for one in plant.vaults.versions("plant", "line-1")]


def test_a_deleted_secret_is_gone_after_its_retention(plant: Plant) -> None:
    """What nobody recovers in 90 days can be written anew."""
    plant.vaults.set("plant", "line-1", "first")
    plant.vaults.delete("plant", "line-1")

    plant.clock.advance(days=91)
    plant.vaults.set("plant", "line-1", "second")

    assert "second" == plant.vaults.value("plant", "line-1")


def test_a_deletion_and_a_recovery_take_their_time(plant: Plant) -> None:
    """Until one has settled, the secret is in neither list, and writing it is a conflict."""
    client = plant.client()
    client.set_secret("line-1", "first")
    plant.vaults.settling = 60

    plant.vaults.delete("plant", "line-1")
    with pytest.raises(ResourceNotFoundError):
        client.get_deleted_secret("line-1")
    with pytest.raises(ResourceExistsError, match="currently being deleted") as caught:
        client.set_secret("line-1", "second")
    assert "ObjectIsBeingDeleted" == inner_code(caught.value)

    plant.clock.advance(seconds=61)
    assert 200 == plant.request("POST", "/deletedsecrets/line-1/recover").status_code
    with pytest.raises(ResourceNotFoundError):
        client.get_secret("line-1")
    with pytest.raises(ResourceExistsError, match="currently being recovered"):
        client.set_secret("line-1", "second")

    plant.clock.advance(seconds=61)
    assert "first" == client.get_secret("line-1").value


@pytest.mark.parametrize(
    ("missing", "method", "path", "action"),
    [
        ("get", "GET", "/secrets/line-1", "getSecret/action"),
        ("list", "GET", "/secrets", "readMetadata/action"),
        ("list", "GET", "/secrets/line-1/versions", "readMetadata/action"),
        ("set", "PUT", "/secrets/line-1", "setSecret/action"),
        ("set", "PATCH", "/secrets/line-1/", "update/action"),
        ("delete", "DELETE", "/secrets/line-1", "delete"),
        ("recover", "POST", "/deletedsecrets/gone/recover", "recover/action"),
        ("purge", "DELETE", "/deletedsecrets/gone", "purge/action"),
    ],
)
def test_each_right_is_asked_for(plant: Plant, missing: Right, method: str, path: str, action: str) -> None:
    """An operation whose right is missing is 403 and names the action; with the right it goes through."""
    plant.vaults.set("plant", "line-1", "first")
    plant.vaults.set("plant", "gone", "first")
    plant.vaults.delete("plant", "gone")
    body = {"value": "second"} if method == "PUT" else None

    plant.vaults.grant("plant", plant.app.client_id, ALL - {missing})
    refused = plant.request(method, path, json=body)
    plant.vaults.grant("plant", plant.app.client_id, {missing})
    allowed = plant.request(method, path, json=body)

    assert (403, "Forbidden", {"code": "ForbiddenByRbac"}) == (
        refused.status_code,
        refused.json()["error"]["code"],
        refused.json()["error"]["innererror"],
    )
    message = refused.json()["error"]["message"]
    assert f"Action: 'Microsoft.KeyVault/vaults/secrets/{action}'" in message
    assert f"appid={plant.app.client_id};oid={plant.app.service_principal_id}" in message
    assert allowed.ok


def test_an_application_without_a_grant_may_nothing(plant: Plant) -> None:
    """Microsoft's client raises 403 where its application has no right in the vault."""
    plant.vaults.add_vault("other", plant.tenant)

    with pytest.raises(HttpResponseError) as caught:
        plant.client("https://other.vault.azure.net").set_secret("line-1", "first")

    assert (403, "ForbiddenByRbac") == (caught.value.status_code, inner_code(caught.value))
    assert [] == plant.vaults.names("other")


def test_a_token_for_another_resource_is_401(plant: Plant) -> None:
    """A token must be meant for Key Vault."""
    answer = plant.request("GET", "/secrets", scope="https://graph.microsoft.com/.default")

    assert 401 == answer.status_code
    assert "AKV10022: Invalid audience." in answer.json()["error"]["message"]


def test_a_token_that_is_no_token_is_401_with_the_challenge(plant: Plant) -> None:
    """A bad token is answered like none, so that a client can get a better one."""
    answer = requests.get(
        "https://plant.vault.azure.net/secrets?api-version=7.4",
        headers={"Authorization": "Bearer nonsense"},
        timeout=5,
    )

    assert 401 == answer.status_code
    assert f"/{plant.tenant}" in answer.headers["WWW-Authenticate"]


def test_a_vault_of_another_tenant_takes_no_token_of_ours(plant: Plant) -> None:
    """A vault trusts its own tenant's tokens; Microsoft's client does not even ask for another's."""
    tenant = plant.entra.add_tenant()
    plant.vaults.add_vault("theirs", tenant)
    plant.vaults.grant("theirs", plant.app.client_id)
    credential = ClientSecretCredential(plant.tenant, plant.app.client_id, plant.secret)
    token = credential.get_token("https://vault.azure.net/.default").token

    answer = requests.get(
        "https://theirs.vault.azure.net/secrets?api-version=7.4",
        headers={"Authorization": f"Bearer {token}"},
        timeout=5,
    )

    assert 401 == answer.status_code
    assert "AKV10032: Invalid issuer." in answer.json()["error"]["message"]
    with pytest.raises(ClientAuthenticationError, match="not configured to acquire tokens for tenant"):
        plant.client("https://theirs.vault.azure.net").get_secret("line-1")


@pytest.mark.parametrize(
    ("authority", "suffix"),
    [
        ("login.microsoftonline.us", "vault.usgovcloudapi.net"),
        ("login.chinacloudapi.cn", "vault.azure.cn"),
    ],
)
def test_the_other_clouds_work_alike(plant: Plant, authority: str, suffix: str) -> None:
    """A vault at another suffix is reached with a login at that cloud's authority."""
    tenant = plant.entra.add_tenant(authority=authority)
    app = plant.entra.add_application(tenant, "publisher")
    _, secret = plant.entra.add_secret(app.client_id)
    url = plant.vaults.add_vault("far", tenant, suffix)
    plant.vaults.grant("far", app.client_id)

    client = SecretClient(url, ClientSecretCredential(tenant, app.client_id, secret, authority=authority))
    client.set_secret("line-1", "first")

    assert f"https://far.{suffix}" == url
    assert "first" == plant.vaults.value("far", "line-1")


def test_a_vault_is_not_made_in_another_cloud_than_its_tenant(plant: Plant) -> None:
    """A set-up that cannot be in the world is an error of the test that asks for it."""
    with pytest.raises(ValueError, match="another cloud"):
        plant.vaults.add_vault("far", plant.tenant, "vault.azure.cn")


def test_a_vault_that_does_not_exist_is_a_failed_connection(plant: Plant) -> None:
    """A name without a vault gives no HTTP answer."""
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        plant.client("https://nowhere.vault.azure.net", retry_total=0).get_secret("line-1")


def test_a_throttled_request_is_sent_again_after_the_time_that_was_named(plant: Plant) -> None:
    """Microsoft's client waits for Retry-After, and then gets through."""
    client = plant.client()
    client.set_secret("line-1", "first")
    plant.vaults.throttle(1, retry_after=1)
    before = len(plant.wire.log)
    started = time.monotonic()

    assert "first" == client.get_secret("line-1").value

    assert time.monotonic() - started >= 1
    assert [429, 200] == [request.status for request in plant.wire.log[before:]]


def test_a_throttled_request_says_so(plant: Plant) -> None:
    """The answer is 429 with Key Vault's code and the seconds to wait."""
    plant.vaults.throttle(1, retry_after=7)

    answer = plant.request("GET", "/secrets")

    assert (429, "7", "Throttled") == (
        answer.status_code,
        answer.headers["Retry-After"],
        answer.json()["error"]["code"],
    )


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("under_score", {"value": "first"}),
        ("x" * 128, {"value": "first"}),
        ("line-1", {"value": "x" * (25 * 1024 + 1)}),
        ("line-1", {"value": "first", "tags": {str(number): "" for number in range(16)}}),
        ("line-1", {"value": "first", "tags": {"key": "x" * 257}}),
        ("line-1", {"value": "first", "contentType": "x" * 256}),
        ("line-1", {"attributes": {}}),
        ("line-1", ["value"]),
    ],
)
def test_what_is_out_of_bounds_is_a_bad_parameter(plant: Plant, name: str, body: object) -> None:
    """Names, values, tags and content types have their limits, and nothing is written beyond them."""
    answer = plant.request("PUT", f"/secrets/{name}", json=body)

    assert (400, "BadParameter") == (answer.status_code, answer.json()["error"]["code"])
    assert [] == plant.vaults.names("plant")


def test_what_is_just_within_bounds_is_written(plant: Plant) -> None:
    """The limits themselves are allowed."""
    tags = {f"{number}".rjust(256, "x"): "y" * 256 for number in range(15)}

    written = plant.client().set_secret("x" * 127, "v" * 25 * 1024, tags=tags)

    assert (25 * 1024, tags) == (len(written.value or ""), written.properties.tags)


@pytest.mark.parametrize("query", ["", "api-version=1.0"])
def test_an_api_version_must_be_named(plant: Plant, query: str) -> None:
    """A request without a version of the API, or with an unknown one, is refused."""
    assert 400 == plant.request("GET", "/secrets", query).status_code


def test_a_version_does_not_show_its_value(plant: Plant) -> None:
    """What a failing test prints of the state shows no value."""
    plant.vaults.set("plant", "line-1", "quite-secret")

    assert "quite-secret" not in repr(plant.vaults.versions("plant", "line-1"))
