"""Microsoft's own Graph client, unmodified, and plain requests, against the sandbox's Graph."""

from __future__ import annotations

import asyncio
import importlib
import re
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential

from sandbox.clock import Clock
from sandbox.services.entra import App, Entra
from sandbox.services.graph import Graph, Role
from sandbox.wire import Wire

# Of Microsoft's client about itself, while it is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:.*(QueryParameters|RequestConfiguration):DeprecationWarning")

SCOPE = "https://graph.microsoft.com/.default"
CREDENTIAL = {
    "customKeyIdentifier",
    "displayName",
    "endDateTime",
    "hint",
    "keyId",
    "secretText",
    "startDateTime",
}


@dataclass
class Plant:
    """A Graph on the wire, an application to rotate, and one that may change every application."""

    clock: Clock
    entra: Entra
    graph: Graph
    tenant: str
    target: App
    old_id: str
    admin: App
    admin_secret: str

    def credential(self, value: str | None = None, app: App | None = None) -> ClientSecretCredential:
        """Make Microsoft's login of an application, the admin's where none is named."""
        client_id = (app or self.admin).client_id
        return ClientSecretCredential(self.tenant, client_id, value or self.admin_secret)

    def logs_in(self, value: str) -> bool:
        """Say whether the target gets a token with a secret, as Microsoft's library finds."""
        try:
            return bool(self.credential(value, self.target).get_token(SCOPE))
        except ClientAuthenticationError as refused:
            if "AADSTS7000215" not in str(refused):
                raise
            return False

    def request(self, method: str, path: str, json: object = None, **more: Any) -> requests.Response:  # noqa: ANN401 - handed on
        """Ask Graph as any HTTP client can, with a fresh token of the admin."""
        headers = {"Authorization": f"Bearer {self.credential().get_token(SCOPE).token}", **more.pop("headers", {})}
        url = path if path.startswith("https:") else f"https://graph.microsoft.com/v1.0{path}"
        return requests.request(method, url, headers=headers, json=json, timeout=5, **more)

    def add(self, **credential: str) -> requests.Response:
        """Add a secret to the target."""
        path = f"/applications/{self.target.object_id}/addPassword"
        return self.request("POST", path, {"passwordCredential": credential})

    def remove(self, key_id: str) -> requests.Response:
        """Remove a secret of the target."""
        return self.request("POST", f"/applications/{self.target.object_id}/removePassword", {"keyId": key_id})

    def listed(self) -> set[str]:
        """Ask which secrets the target has."""
        answer = self.request("GET", f"/applications/{self.target.object_id}")
        return {one["keyId"] for one in answer.json()["passwordCredentials"]}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Serve an Entra and a Graph for one test."""
    clock = Clock()
    entra = Entra(clock)
    graph = Graph(clock, entra)
    wire = Wire(tmp_path)
    wire.serve(entra, graph)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", str(wire.ca_file))  # where Microsoft's Graph client looks
    tenant = entra.add_tenant()
    target = entra.add_application(tenant, "reports")
    old_id, _ = entra.add_secret(target.client_id, display_name="made by hand")
    admin = entra.add_application(tenant, "PAM Gateway")
    _, admin_secret = entra.add_secret(admin.client_id)
    graph.grant(admin.client_id, "Application.ReadWrite.All")
    yield Plant(clock, entra, graph, tenant, target, old_id, admin, admin_secret)
    wire.stop()


# -- Microsoft's own client ---------------------------------------------------------------------


@dataclass
class Microsoft:
    """Microsoft's Graph client, made anew for each call, as each call has an event loop of its own.

    It is loaded by name, so that the type checker does not read its sixteen thousand modules.
    """

    plant: Plant

    @property
    def client(self) -> Any:  # noqa: ANN401 - not to be read by the type checker, see above
        """Make the client, logged in as the admin."""
        return importlib.import_module("msgraph").GraphServiceClient(self.plant.credential(), [SCOPE])

    @property
    def refusal(self) -> type[Exception]:
        """Give what the client raises where Graph answers with an error."""
        module = importlib.import_module("msgraph.generated.models.o_data_errors.o_data_error")
        kind: type[Exception] = module.ODataError
        return kind

    def body(self, operation: str, **content: Any) -> Any:  # noqa: ANN401 - not to be read by the type checker, see above
        """Make the body of `add_password` or `remove_password`."""
        words = operation.title().replace("_", "")
        module = importlib.import_module(
            f"msgraph.generated.applications.item.{operation}.{operation}_post_request_body"
        )
        return getattr(module, f"{words}PostRequestBody")(**content)

    def password(self, **content: Any) -> Any:  # noqa: ANN401 - not to be read by the type checker, see above
        """Make the wish for a secret."""
        return importlib.import_module("msgraph.generated.models.password_credential").PasswordCredential(**content)


@pytest.fixture
def microsoft(plant: Plant) -> Microsoft:
    """Give Microsoft's client."""
    return Microsoft(plant)


def run(call: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what Microsoft's client answers
    """Wait for one call of Microsoft's client."""
    return asyncio.run(call)


def test_microsofts_client_adds_a_secret_that_logs_in(plant: Plant, microsoft: Microsoft) -> None:
    """The secret that the client gets has the wished name and end, and is good for a token."""
    end = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    wish = microsoft.password(display_name="rotation 7", end_date_time=end)
    body = microsoft.body("add_password", password_credential=wish)

    made = run(microsoft.client.applications.by_application_id(plant.target.object_id).add_password.post(body))

    assert ("rotation 7", end, made.secret_text[:3]) == (made.display_name, made.end_date_time, made.hint)
    assert plant.logs_in(made.secret_text)


def test_microsofts_client_lists_secrets_without_their_values(plant: Plant, microsoft: Microsoft) -> None:
    """Both keys of an application lead to it, and what it shows of its secrets are not their values."""
    client = microsoft.client

    async def both() -> tuple[Any, Any]:
        return (
            await client.applications.by_application_id(plant.target.object_id).get(),
            await client.applications_with_app_id(plant.target.client_id).get(),
        )

    answers = run(both())

    for found in answers:
        assert (plant.target.object_id, plant.target.client_id) == (found.id, found.app_id)
        (shown,) = found.password_credentials
        assert (plant.old_id, "made by hand", None) == (str(shown.key_id), shown.display_name, shown.secret_text)


def test_microsofts_client_removes_a_secret(plant: Plant, microsoft: Microsoft) -> None:
    """A removed secret is gone from the list, and does not log in any more."""
    key_id, value = plant.entra.add_secret(plant.target.client_id)
    body = microsoft.body("remove_password", key_id=uuid.UUID(key_id))

    run(microsoft.client.applications.by_application_id(plant.target.object_id).remove_password.post(body))

    assert {plant.old_id} == plant.listed()
    assert not plant.logs_in(value)


def test_microsofts_client_follows_the_pages(plant: Plant, microsoft: Microsoft) -> None:
    """Page by page, the client sees each application once."""
    for number in range(5):
        plant.entra.add_application(plant.tenant, f"app {number}")
    client = microsoft.client
    builder = importlib.import_module("msgraph.generated.applications.applications_request_builder")
    options = builder.ApplicationsRequestBuilder.ApplicationsRequestBuilderGetQueryParameters(top=2)
    configuration = importlib.import_module("kiota_abstractions.base_request_configuration").RequestConfiguration

    async def pages() -> list[list[str]]:
        page = await client.applications.get(configuration(query_parameters=options))
        found = [[one.id for one in page.value]]
        while page.odata_next_link:
            page = await client.applications.with_url(page.odata_next_link).get()
            found.append([one.id for one in page.value])
        return found

    found = run(pages())

    assert [2, 2, 2, 1] == [len(page) for page in found]
    assert sorted(app.object_id for app in plant.entra.applications()) == sorted(one for page in found for one in page)


def test_microsofts_client_reads_a_refusal(plant: Plant, microsoft: Microsoft) -> None:
    """The client finds status, code, message and the ids where it looks for them."""
    with pytest.raises(microsoft.refusal) as caught:
        run(microsoft.client.applications.by_application_id(plant.target.client_id).get())

    refusal: Any = caught.value
    assert (404, "Request_ResourceNotFound") == (refusal.response_status_code, refusal.error.code)
    assert plant.target.client_id in refusal.error.message
    assert refusal.error.inner_error.request_id
    assert refusal.error.inner_error.date


def test_microsofts_client_waits_when_it_is_throttled(plant: Plant, microsoft: Microsoft) -> None:
    """The client asks again after the time it was told, by itself."""
    plant.graph.throttle(1, 1)
    started = datetime.now(timezone.utc)

    found = run(microsoft.client.applications.by_application_id(plant.target.object_id).get())

    assert plant.target.client_id == found.app_id
    assert timedelta(seconds=1) <= datetime.now(timezone.utc) - started


# -- adding and removing ------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["/{object}", "(appId='{client}')", "(appId=%27{client}%27)"])
def test_either_key_leads_to_every_operation(plant: Plant, key: str) -> None:
    """Reading, owners, adding and removing take the object id and the client id alike."""
    path = "/applications" + key.format(object=plant.target.object_id, client=plant.target.client_id)

    made = plant.request("POST", f"{path}/addPassword", {"passwordCredential": {"displayName": "new"}}).json()
    statuses = [
        plant.request("POST", f"{path}/removePassword", {"keyId": plant.old_id}).status_code,
        plant.request("GET", f"{path}/owners").status_code,
    ]

    assert [204, 200] == statuses
    shown = plant.request("GET", path).json()["passwordCredentials"]
    assert [made["keyId"]] == [one["keyId"] for one in shown]


def test_a_new_secret_is_shown_once_and_ends_after_two_years(plant: Plant) -> None:
    """An empty wish is granted with the defaults, and only its answer has the value."""
    before = plant.clock.now()

    made = plant.request("POST", f"/applications/{plant.target.object_id}/addPassword", {}).json()

    assert CREDENTIAL | {"@odata.context"} == set(made)
    assert made["displayName"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{7})?Z", made["startDateTime"])
    assert (before.year + 2, made["startDateTime"][4:]) == (int(made["endDateTime"][:4]), made["endDateTime"][4:])
    shown = plant.request("GET", f"/applications/{plant.target.object_id}").json()["passwordCredentials"]
    (listed,) = (one for one in shown if one["keyId"] == made["keyId"])
    assert {**made, "secretText": None} == {**listed, "@odata.context": made["@odata.context"]}
    assert made["secretText"] in plant.entra.secrets()


def test_a_secret_starts_and_ends_when_asked(plant: Plant) -> None:
    """A secret is refused before its start and after its end; other zones are turned into UTC."""
    today = plant.clock.now().replace(microsecond=0)
    start = (today + timedelta(days=10)).astimezone(timezone(timedelta(hours=2)))
    end = today + timedelta(days=20)

    made = plant.add(startDateTime=start.isoformat(), endDateTime=end.isoformat()).json()

    expected = [f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in (start.astimezone(timezone.utc), end)]
    assert expected == [made["startDateTime"], made["endDateTime"]]
    assert not plant.logs_in(made["secretText"])
    plant.clock.advance(days=11)
    assert plant.logs_in(made["secretText"])
    plant.clock.advance(days=11)
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000222"):
        plant.credential(made["secretText"], plant.target).get_token(SCOPE)


def test_a_fraction_of_a_second_has_seven_digits(plant: Plant) -> None:
    """Dates come as Graph writes them, which the standard library of Python 3.10 cannot read."""
    made = plant.add(endDateTime="2040-02-03T04:05:06.25Z").json()

    assert "2040-02-03T04:05:06.2500000Z" == made["endDateTime"]


@pytest.mark.parametrize(
    ("operation", "sent", "code"),
    [
        ("addPassword", {"json": {"passwordCredential": {"endDateTime": "tomorrow"}}}, "BadRequest"),
        ("addPassword", {"json": {"passwordCredential": {"endDateTime": "2040-02-31T00:00:00Z"}}}, "BadRequest"),
        ("addPassword", {"json": {"passwordCredential": {"endDateTime": "2040-01-01T00:00:00"}}}, "BadRequest"),
        ("addPassword", {"json": {"passwordCredential": {"startDateTime": 5}}}, "BadRequest"),
        (
            "addPassword",
            {"json": {"passwordCredential": {"endDateTime": "2020-01-01T00:00:00Z"}}},
            "Request_BadRequest",
        ),
        (
            "addPassword",
            {
                "json": {
                    "passwordCredential": {
                        "startDateTime": "2019-01-01T00:00:00Z",
                        "endDateTime": "2020-01-01T00:00:00Z",
                    }
                }
            },
            "Request_BadRequest",
        ),
        ("addPassword", {"json": {"passwordCredential": {"secretText": "mine"}}}, "Request_BadRequest"),
        ("addPassword", {"json": {"passwordCredential": "mine"}}, "BadRequest"),
        ("addPassword", {"json": {"displayName": "new"}}, "BadRequest"),
        ("addPassword", {"json": []}, "BadRequest"),
        ("addPassword", {"data": b"{}"}, "BadRequest"),
        ("addPassword", {"data": b"{", "headers": {"Content-Type": "application/json"}}, "BadRequest"),
        ("removePassword", {"json": {"keyId": "first"}}, "BadRequest"),
        ("removePassword", {"json": {}}, "BadRequest"),
        ("removePassword", {"json": {"keyId": str(uuid.UUID(int=7))}}, "Request_BadRequest"),
    ],
)
def test_a_bad_change_is_refused_and_changes_nothing(
    plant: Plant, operation: str, sent: dict[str, Any], code: str
) -> None:
    """What cannot be read or granted is a 400, and the secrets stay as they were."""
    answer = plant.request("POST", f"/applications/{plant.target.object_id}/{operation}", **sent)

    assert (400, code) == (answer.status_code, answer.json()["error"]["code"])
    assert [plant.old_id] == [one.secret_id for one in plant.entra.client_secrets(plant.target.client_id)]


def test_a_secret_of_another_application_is_not_removed(plant: Plant) -> None:
    """A key id is looked for in the named application alone."""
    (other,) = plant.entra.client_secrets(plant.admin.client_id)

    answer = plant.remove(other.secret_id)

    assert (400, "Request_BadRequest") == (answer.status_code, answer.json()["error"]["code"])
    assert other.secret_id in answer.json()["error"]["message"]
    assert [other] == plant.entra.client_secrets(plant.admin.client_id)


# -- reading ------------------------------------------------------------------------------------


def test_a_list_is_filtered_by_client_id(plant: Plant) -> None:
    """A filter finds the one application, or none."""
    answers = [
        plant.request("GET", f"/applications?$filter=appId eq '{client_id}'&$select=id,appId")
        for client_id in (plant.target.client_id, str(uuid.uuid4()))
    ]

    found = [answer.json()["value"] for answer in answers]
    assert [[{"id": plant.target.object_id, "appId": plant.target.client_id}], []] == found


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("startswith(displayName,'Rep')", {"reports"}),
        ("displayName eq 'Ed''s and Al''s'", {"Ed's and Al's"}),
        ("startswith(displayName,'ed') and displayName eq 'ed''s and al''s'", {"Ed's and Al's"}),
        ("displayName eq 'reports' and appId eq '00000000-0000-0000-0000-000000000000'", set()),
        ("identifierUris/any(s:s eq 'api://reports')", set()),
    ],
)
def test_a_list_is_filtered_by_what_microsofts_commands_ask(plant: Plant, clause: str, names: set[str]) -> None:
    """The beginning of a name, an address of an application, several conditions at once; case means nothing."""
    plant.entra.add_application(plant.tenant, "Ed's and Al's")

    answer = plant.request("GET", "/applications", params={"$filter": clause})

    assert names == {one["displayName"] for one in answer.json()["value"]}


@pytest.mark.parametrize(
    "clause", ["servicePrincipalNames/any(c:c eq '{id}')", "appId eq '{id}'", "displayName eq 'reports'"]
)
def test_service_principals_are_filtered_too(plant: Plant, clause: str) -> None:
    """By their names, as `az ad sp show` asks, of which the client id is one; what has none of it is not there."""
    client_id, other = plant.target.client_id, str(uuid.uuid4())
    found = [
        plant.request("GET", "/servicePrincipals", params={"$filter": clause.replace("{id}", wanted)}).json()["value"]
        for wanted in (client_id, other)
    ]

    assert [client_id] == [one["appId"] for one in found[0]]
    assert client_id in found[0][0]["servicePrincipalNames"]
    assert ("{id}" in clause) == (found[1] == [])
    refused = plant.request("GET", "/servicePrincipals", params={"$filter": "identifierUris/any(c:c eq 'x')"})
    assert 400 == refused.status_code


def test_a_list_is_counted_on_its_first_page_for_who_asks_rightly(plant: Plant) -> None:
    """The number is of all that the filter leaves; without the header of the directory's index there is none."""
    for number in range(3):
        plant.entra.add_application(plant.tenant, f"app {number}")
    path = "/applications?$count=true&$top=2&$filter=startswith(displayName,'app')"
    eventual = {"ConsistencyLevel": "eventual"}

    first = plant.request("GET", path, headers=eventual).json()
    second = plant.request("GET", first["@odata.nextLink"], headers=eventual).json()
    plain = plant.request("GET", path).json()

    assert (3, 2) == (first["@odata.count"], len(first["value"]))
    assert (1, False) == (len(second["value"]), "@odata.count" in second)
    assert "@odata.count" not in plain


# -- many requests in one -----------------------------------------------------------------------


def test_microsofts_client_sends_a_batch(plant: Plant, microsoft: Microsoft) -> None:
    """Each request has its own answer, found by its id: an application, and one that is not there."""
    client = microsoft.client
    item, content, builder = (
        getattr(importlib.import_module(f"msgraph_core.requests.batch_request_{name.lower()}"), f"BatchRequest{name}")
        for name in ("Item", "Content", "Builder")
    )
    asked = {
        name: item(client.applications.by_application_id(one).to_get_request_information(), name)
        for name, one in (("there", plant.target.object_id), ("missing", str(uuid.uuid4())))
    }

    answer = run(builder(client.request_adapter).post(content(asked)))

    assert {"there": 200, "missing": 404} == answer.get_response_status_codes()


def test_a_batch_may_change_things_in_an_order(plant: Plant) -> None:
    """What depends on a refused request is not tried; the answers come in another order than the requests."""
    path = f"/applications/{plant.target.object_id}"
    json = {"Content-Type": "application/json"}
    asked: list[dict[str, Any]] = [
        {"id": "add", "method": "POST", "url": f"{path}/addPassword", "body": {}, "headers": json},
        {"id": "read", "method": "GET", "url": f"{path}?$select=id", "dependsOn": ["add"]},
        {"id": "bad", "method": "POST", "url": f"{path}/removePassword", "body": {"keyId": "x"}, "headers": json},
        {
            "id": "never",
            "method": "POST",
            "url": f"{path}/addPassword",
            "body": {},
            "headers": json,
            "dependsOn": ["bad"],
        },
    ]

    answers = plant.request("POST", "/$batch", {"requests": asked}).json()["responses"]

    assert {"add": 200, "read": 200, "bad": 400, "never": 424} == {one["id"]: one["status"] for one in answers}
    assert [one["id"] for one in asked] != [one["id"] for one in answers]
    found = {one["id"]: one["body"] for one in answers}
    assert plant.target.object_id == found["read"]["id"]
    assert plant.logs_in(found["add"]["secretText"])
    assert 2 == len(plant.listed())


def test_a_throttled_request_of_a_batch_is_told_so_within(plant: Plant) -> None:
    """The batch itself is answered, and the one within says when to come back."""
    plant.graph.throttle(1, 7)
    asked = {"id": "1", "method": "GET", "url": "applications"}

    answer = plant.request("POST", "/$batch", {"requests": [asked]})

    [one] = answer.json()["responses"]
    assert (200, 429, "7") == (answer.status_code, one["status"], one["headers"]["Retry-After"])


@pytest.mark.parametrize(
    "requests_in_it",
    [
        [{"id": str(number), "method": "GET", "url": "/applications"} for number in range(21)],
        [{"id": "1", "method": "GET", "url": "/applications"}] * 2,
        [{"id": "1", "method": "POST", "url": "/applications", "body": {}}],
        [{"method": "GET", "url": "/applications"}],
        None,
    ],
    ids=["too many", "an id twice", "a body of no kind", "no id", "none"],
)
def test_a_batch_that_makes_no_sense_is_refused_whole(plant: Plant, requests_in_it: object) -> None:
    """Nothing of it is carried out."""
    assert 400 == plant.request("POST", "/$batch", {"requests": requests_in_it}).status_code


def test_a_batch_without_a_token_is_refused(plant: Plant) -> None:
    """Whoever is not let in alone is not let in with many."""
    assert plant.tenant
    assert 401 == requests.post("https://graph.microsoft.com/v1.0/$batch", json={"requests": []}, timeout=5).status_code


# -- reading, again -----------------------------------------------------------------------------


def test_a_selection_leaves_out_the_rest(plant: Plant) -> None:
    """An application shows the properties that were asked for, and the context that names them."""
    answer = plant.request("GET", f"/applications/{plant.target.object_id}?$select=id,passwordCredentials").json()

    assert {"@odata.context", "id", "passwordCredentials"} == set(answer)
    assert answer["@odata.context"].endswith("#applications(id,passwordCredentials)/$entity")
    assert CREDENTIAL == set(answer["passwordCredentials"][0])


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/applications/{client}", 404, "Request_ResourceNotFound"),
        ("/applications(appId='{object}')", 404, "Request_ResourceNotFound"),
        ("/applications/{unknown}", 404, "Request_ResourceNotFound"),
        ("/applications/{unknown}/owners", 404, "Request_ResourceNotFound"),
        ("/applications/reports", 400, "Request_BadRequest"),
        ("/applications/{object}?$select=shoeSize", 400, "BadRequest"),
        ("/applications?$top=1000", 400, "Request_UnsupportedQuery"),
        ("/applications?$skiptoken=%C3%A9", 400, "Directory_ExpiredPageToken"),
        ("/applications?$filter=startswith(appId,'a')", 400, "Request_UnsupportedQuery"),
        ("/sandwiches", 400, "BadRequest"),
    ],
)
def test_a_bad_question_is_refused(plant: Plant, path: str, status: int, code: str) -> None:
    """Each wrong name has its status and code; one kind of id is not taken for the other."""
    ids = {"object": plant.target.object_id, "client": plant.target.client_id, "unknown": uuid.uuid4()}

    answer = plant.request("GET", path.format(**ids))

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])


def test_owners_come_in_pages(plant: Plant) -> None:
    """Following the links gives each owner once, as a service principal."""
    owners = [plant.entra.add_application(plant.tenant, f"owner {number}") for number in range(3)]
    for owner in owners:
        plant.graph.add_owner(plant.target.object_id, owner.client_id)
    url = f"/applications/{plant.target.object_id}/owners?$top=2&$select=id"
    pages = []

    while url:
        answer = plant.request("GET", url).json()
        pages.append(answer["value"])
        url = answer.get("@odata.nextLink", "")

    kind = "#microsoft.graph.servicePrincipal"
    shown = [{"@odata.type": kind, "id": owner.service_principal_id} for owner in owners]
    assert [shown[:2], shown[2:]] == pages


def test_another_tenants_applications_are_not_there(plant: Plant) -> None:
    """A caller finds the applications of its own tenant, and no others."""
    stranger = plant.entra.add_application(plant.entra.add_tenant(), "stranger")

    answer = plant.request("GET", f"/applications/{stranger.object_id}")
    listed = plant.request("GET", "/applications").json()["value"]

    assert 404 == answer.status_code
    assert {plant.target.object_id, plant.admin.object_id} == {one["id"] for one in listed}


# -- rights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "owner", "reads", "writes"),
    [
        (None, False, 403, 403),
        (None, True, 403, 403),
        ("Application.Read.All", True, 200, 403),
        ("Application.ReadWrite.OwnedBy", False, 200, 403),
        ("Application.ReadWrite.OwnedBy", True, 200, 200),
        ("Application.ReadWrite.All", False, 200, 200),
    ],
)
def test_rights_come_from_roles_and_ownership(
    plant: Plant, role: Role | None, owner: bool, reads: int, writes: int
) -> None:
    """What a caller may do follows from its token's role and, for OwnedBy, from owning the target."""
    plant.graph.grant(plant.admin.client_id, *([role] if role else []))
    if owner:
        plant.graph.add_owner(plant.target.object_id, plant.admin.client_id)

    read = plant.request("GET", f"/applications/{plant.target.object_id}")
    answers = [plant.add(), plant.remove(plant.old_id)]

    assert reads == read.status_code
    assert [writes, {200: 204}.get(writes, writes)] == [answer.status_code for answer in answers]
    for refused in (answer for answer in (read, *answers) if answer.status_code == 403):
        assert "Authorization_RequestDenied" == refused.json()["error"]["code"]


def test_an_application_does_not_own_itself_by_itself(plant: Plant) -> None:
    """OwnedBy is of use on the caller itself only once it was made its own owner."""
    plant.graph.grant(plant.admin.client_id, "Application.ReadWrite.OwnedBy")
    path = f"/applications/{plant.admin.object_id}/addPassword"
    before = plant.request("POST", path, {}).status_code

    plant.graph.add_owner(plant.admin.object_id, plant.admin.client_id)

    assert [403, 200] == [before, plant.request("POST", path, {}).status_code]


def test_a_token_names_the_rights_it_was_issued_with(plant: Plant) -> None:
    """A right that is granted later is in the next token; tokens for other resources name none."""
    plant.graph.grant(plant.admin.client_id)
    headers = {"Authorization": f"Bearer {plant.credential().get_token(SCOPE).token}"}
    plant.graph.grant(plant.admin.client_id, "Application.ReadWrite.All", "Application.Read.All")

    url = "https://graph.microsoft.com/v1.0/applications"
    statuses = [requests.get(url, headers=headers, timeout=5).status_code, plant.request("GET", url).status_code]

    assert [403, 200] == statuses
    scopes = (SCOPE, "https://vault.azure.net/.default")
    claims = [plant.entra.token_claims(plant.credential().get_token(scope).token) or {} for scope in scopes]
    assert [["Application.Read.All", "Application.ReadWrite.All"], None] == [one.get("roles") for one in claims]


def _token(plant: Plant, kind: str) -> str:
    """Make an Authorization header of which one thing is wrong."""
    if kind == "audience":
        return f"Bearer {plant.credential().get_token('https://vault.azure.net/.default').token}"
    good = plant.credential().get_token(SCOPE).token
    if kind == "expired":
        plant.clock.advance(hours=1)
    return {"": "", "scheme": f"Basic {good}", "nonsense": "Bearer nonsense", "altered": f"Bearer {good}x"}.get(
        kind, f"Bearer {good}"
    )


@pytest.mark.parametrize("kind", ["", "scheme", "nonsense", "altered", "audience", "expired"])
def test_without_a_good_token_nobody_is_let_in(plant: Plant, kind: str) -> None:
    """Each fault of a token is a 401 of Graph's shape, with the ids that Microsoft's support asks for."""
    token = _token(plant, kind)
    ours = str(uuid.uuid4())

    answer = requests.get(
        f"https://graph.microsoft.com/v1.0/applications/{plant.target.object_id}",
        headers={"Authorization": token, "client-request-id": ours},
        timeout=5,
    )

    error = answer.json()["error"]
    assert (401, "InvalidAuthenticationToken") == (answer.status_code, error["code"])
    assert {"code", "message", "innerError"} == set(error)
    assert {"date", "request-id", "client-request-id"} == set(error["innerError"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", error["innerError"]["date"])
    assert (answer.headers["request-id"], ours) == (
        error["innerError"]["request-id"],
        error["innerError"]["client-request-id"],
    )
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("login.microsoftonline.us", "graph.microsoft.us"),
        ("login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_each_cloud_has_its_own_graph(plant: Plant, authority: str, host: str) -> None:
    """A tenant's token is good at the Graph of its own cloud, and at no other."""
    tenant = plant.entra.add_tenant(authority=authority)
    app = plant.entra.add_application(tenant, "far away")
    _, value = plant.entra.add_secret(app.client_id)
    plant.graph.grant(app.client_id, "Application.Read.All")
    credential = ClientSecretCredential(tenant, app.client_id, value, authority=authority)
    headers = {"Authorization": f"Bearer {credential.get_token(f'https://{host}/.default').token}"}

    answers = [
        requests.get(f"https://{one}/v1.0/applications", headers=headers, timeout=5)
        for one in (host, "graph.microsoft.com")
    ]

    assert [200, 401] == [answer.status_code for answer in answers]
    assert [app.object_id] == [one["id"] for one in answers[0].json()["value"]]
    assert answers[0].json()["@odata.context"].startswith(f"https://{host}/v1.0/$metadata#applications")


# -- a directory of many replicas ---------------------------------------------------------------


def test_a_new_secret_spreads_slowly_and_flaps(plant: Plant) -> None:
    """The token endpoint refuses it for the set time, and then lets it in as the set answers say."""
    plant.graph.propagation_seconds = 60
    plant.graph.flapping = [True, False]
    value = plant.add().json()["secretText"]
    early = plant.logs_in(value)

    plant.clock.advance(seconds=61)

    assert [False, True, False, True, True] == [early, *(plant.logs_in(value) for _ in range(4))]


def test_reads_may_lag_behind_changes(plant: Plant) -> None:
    """The set number of reads after changes still shows the secrets as they were before all of them."""
    plant.graph.read_lag = 2
    new_id = plant.add().json()["keyId"]
    after_adding = [plant.listed() for _ in range(3)]

    plant.remove(plant.old_id)
    plant.remove(new_id)

    old, both = {plant.old_id}, {plant.old_id, new_id}
    assert [old, old, both] == after_adding
    assert [both, both, set()] == [plant.listed() for _ in range(3)]


def test_a_removal_may_not_find_a_new_secret_yet(plant: Plant) -> None:
    """Told that a secret is not there, its maker cannot be sure that it is gone."""
    plant.graph.removal_lag = 1
    made = plant.add().json()

    first = plant.remove(made["keyId"])

    assert (400, "Request_BadRequest") == (first.status_code, first.json()["error"]["code"])
    assert plant.logs_in(made["secretText"])
    assert 204 == plant.remove(made["keyId"]).status_code
    assert {plant.old_id} == plant.listed()


@pytest.mark.parametrize("status", [400, 409, 503])
def test_changes_at_the_same_time_are_refused(plant: Plant, status: int) -> None:
    """The set number of changes meets a busy directory and changes nothing; reads do not."""
    plant.graph.concurrent_refusals(2, status)

    answers = [plant.add(), plant.remove(plant.old_id)]

    for answer in answers:
        error = answer.json()["error"]
        assert (status, "Directory_ConcurrencyViolation") == (answer.status_code, error["code"])
        assert "concurrent requests" in error["message"]
    assert {plant.old_id} == plant.listed()
    assert 200 == plant.add().status_code


def test_throttling_says_when_to_come_back(plant: Plant) -> None:
    """A throttled request has no effect, and its answer the seconds to wait."""
    plant.graph.throttle(2, 7)

    for answer in (plant.add(), plant.remove(plant.old_id)):
        assert (429, "7") == (answer.status_code, answer.headers["Retry-After"])
        assert "TooManyRequests" == answer.json()["error"]["code"]

    assert {plant.old_id} == plant.listed()


def test_only_registered_applications_are_granted_or_owned(plant: Plant) -> None:
    """A test that names an application that is not there is told so."""
    with pytest.raises(KeyError):
        plant.graph.grant("nobody", "Application.Read.All")
    with pytest.raises(KeyError):
        plant.graph.add_owner("nothing", plant.admin.client_id)
    with pytest.raises(KeyError):
        plant.graph.add_owner(plant.target.object_id, "nobody")
