"""The sandbox's Seeq, tried with the official clients and, where they hide the wire, with requests."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

import pytest
import requests
from seeq import sdk
from seeq.sdk.configuration import ClientConfiguration
from seeq.sdk.rest import ApiException

from sandbox.clock import Clock
from sandbox.services.seeq import MEDIA_TYPE, USER_ADMINISTRATION, Seeq
from sandbox.wire import Wire
from tests.support.spy import Process, log_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

API = "https://seeq.example.com/api"


@pytest.fixture
def seeq() -> Seeq:
    """Give a server with an administrator, a user administrator and an ordinary user."""
    server = Seeq(Clock())
    server.add_user("admin", "admin-password", is_admin=True)
    server.add_user("uga", "uga-password", capabilities=["User and Group Administration"])
    server.add_user("worker", "worker-password")
    return server


@pytest.fixture
def clock(seeq: Seeq) -> Clock:
    """Give the server's clock."""
    return seeq._clock  # noqa: SLF001 - the one clock that the fixture `seeq` was made with


@pytest.fixture(autouse=True)
def wire(seeq: Seeq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Serve it, and send every client there."""
    wire = Wire(tmp_path)
    wire.serve(seeq)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    yield wire
    wire.stop()


def login(username: str, password: str, **directory: str) -> requests.Response:
    """Log in without a client library."""
    return call("POST", "/auth/login", None, {"username": username, "password": password, **directory})


def call(method: str, path: str, token: str | None, body: dict[str, Any] | None = None) -> requests.Response:
    """Send one request as Seeq wants it."""
    headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE, **({"x-sq-auth": token} if token else {})}
    content = json.dumps(body) if body is not None else None
    return requests.request(method, API + path, headers=headers, data=content, timeout=10)


def session(username: str) -> str:
    """Give the token of a fresh session of one of the three users."""
    return login(username, f"{username}-password").headers["x-sq-auth"]


def expiry() -> str:
    """Give the time in 90 days, as ISO 8601 in UTC."""
    return (datetime.now(timezone.utc) + timedelta(days=90)).isoformat()


def official(wire: Wire, username: str) -> sdk.ApiClient:
    """Give the official client, logged in; it takes proxy and certificates from its configuration alone."""
    configuration = ClientConfiguration()
    configuration.ssl_ca_cert = str(wire.ca_file)
    configuration.proxy = wire.environment()["HTTPS_PROXY"]
    configuration.retry_timeout_in_seconds = 0
    client = sdk.ApiClient(API, configuration=configuration)
    sdk.AuthApi(client).login(
        body=sdk.AuthInputV1(
            username=username,
            password=f"{username}-password",
            auth_provider_class="Auth",
            auth_provider_id="Seeq",
        )
    )
    return client


def test_official_client_generates_a_key_that_logs_in_and_reads_it_back(wire: Wire, seeq: Seeq) -> None:
    """generate_access_key answers every field of the model, and get_application lists the key."""
    application_id = seeq.add_application("Historian export")
    api: Any = sdk.ApplicationsApi(official(wire, "uga"))

    made = api.generate_access_key(id=application_id, body=sdk.ApplicationKeyInputV1(label="nightly", expiry=expiry()))

    assert seeq.logs_in(made.key_id, made.password)
    application = api.get_application(id=application_id)
    assert ["nightly"] == [key.name for key in application.access_keys]
    assert made.id == application.access_keys[0].id
    assert made.key_id == application.access_keys[0].key_id
    assert made.user_id == application.service_principal.id
    assert application.effective_permissions.manage is True
    assert application.access_keys[0].password is None


def test_official_client_pages_through_applications(wire: Wire, seeq: Seeq) -> None:
    """get_applications answers `limit` at a time and links the next page, none after the last."""
    ids = [seeq.add_application(f"App {n}") for n in range(5)]
    api: Any = sdk.ApplicationsApi(official(wire, "admin"))

    pages = [api.get_applications(offset=offset, limit=2) for offset in (0, 2, 4)]

    assert ids == [each.id for page in pages for each in page.applications]
    assert "/api/applications?offset=2&limit=2" == pages[0].next
    assert pages[2].next is None


def test_official_client_makes_lists_and_deletes_a_users_key(wire: Wire, seeq: Seeq) -> None:
    """create_key, get_keys and delete_key work on one's own keys."""
    api: Any = sdk.AccessKeysApi(official(wire, "worker"))

    made = api.create_key(body=sdk.AccessKeyInputV1(name="report", description="Monday's"))

    assert seeq.logs_in(made.key_id, made.password)
    listed = api.get_keys().keys
    assert [(made.key_id, "report", "Monday's", None)] == [
        (key.key_id, key.name, key.description, key.password) for key in listed
    ]
    api.delete_key(key_name=made.key_id)
    assert [] == api.get_keys().keys
    assert not seeq.logs_in(made.key_id, made.password)


def test_official_client_acts_for_another_user_only_with_the_right(wire: Wire, seeq: Seeq) -> None:
    """A user administrator makes and sees another user's keys; an ordinary user gets 403."""
    owner = seeq.add_user("owner", "owner-password")
    administrator: Any = sdk.AccessKeysApi(official(wire, "uga"))
    worker: Any = sdk.AccessKeysApi(official(wire, "worker"))

    administrator.create_key(body=sdk.AccessKeyInputV1(name="theirs", user_id=owner))

    assert ["theirs"] == [key.name for key in administrator.get_keys(user_id=owner).keys]
    assert [] == administrator.get_keys().keys
    attempts: list[Callable[[], Any]] = [
        lambda: worker.get_keys(user_id=owner),
        lambda: worker.get_keys(get_all=True),
        lambda: worker.create_key(body=sdk.AccessKeyInputV1(name="no", user_id=owner)),
    ]
    for attempt in attempts:
        with pytest.raises(ApiException) as refused:
            attempt()
        assert 403 == refused.value.status


def test_keys_of_applications_are_listed_by_their_principal_alone(wire: Wire, seeq: Seeq) -> None:
    """get_keys(get_all) leaves out what belongs to applications; user_id of the principal shows it."""
    application_id = seeq.add_application("App")
    seeq.add_key(application_id, "application's")
    client = official(wire, "admin")
    principal = sdk.ApplicationsApi(client).get_application(id=application_id).service_principal.id
    api: Any = sdk.AccessKeysApi(client)
    api.create_key(body=sdk.AccessKeyInputV1(name="mine"))

    assert ["mine"] == [key.name for key in api.get_keys(get_all=True).keys]
    assert ["application's"] == [key.name for key in api.get_keys(user_id=principal).keys]


def test_official_client_finds_users_and_logs_out(wire: Wire) -> None:
    """get_users searches by name, get_me tells rights, and a logout ends the session."""
    client = official(wire, "uga")
    users: Any = sdk.UsersApi(client)

    found = users.get_users(username_search="WORK")
    assert ["worker"] == [user.username for user in found.users]
    assert 1 == found.total_results
    assert "worker" == users.get_user(id=found.users[0].id).username
    assert [USER_ADMINISTRATION] == [grant.capability for grant in users.get_me().capability_grants]

    sdk.AuthApi(client).logout()
    with pytest.raises(ApiException) as refused:
        users.get_me()
    assert 401 == refused.value.status


def spy_login(wire: Wire, key_id: str, password: str, home: Path) -> tuple[str, int, str]:
    """Log in with `spy`; return what it said, its exit status, and what it wrote."""
    environment = {**wire.environment(), "HOME": str(home), "USERPROFILE": str(home)}
    process = Process(log_in, key_id, password, str(wire.ca_file), environment=environment, directory=home)
    return process.answer(), *process.stop()


def test_spy_logs_in_with_an_applications_key(wire: Wire, seeq: Seeq, tmp_path: Path) -> None:
    """spy.login with an application's key is logged in as the application's service principal."""
    key_id, password = seeq.add_key(seeq.add_application("Exporter"), "spy")

    said, status, written = spy_login(wire, key_id, password, tmp_path)

    assert (f"Exporter {seeq.version} Mine", 0) == (said, status), written
    assert {"/api/auth/login", "/api/users/me"} <= {request.path for request in wire.log}
    assert {200, 204} == {request.status for request in wire.log}


def test_spy_is_refused_where_keys_must_name_the_directory(wire: Wire, seeq: Seeq, tmp_path: Path) -> None:
    """Spy names no directory with a key, so a server that requires one refuses it."""
    key_id, password = seeq.add_key(seeq.add_application("Exporter"), "spy")
    seeq.key_directory = "required"

    said, status, written = spy_login(wire, key_id, password, tmp_path)

    assert ("", 1) == (said, status)
    assert "is not valid" in written


@pytest.mark.parametrize(
    ("setting", "without", "named", "elsewhere"),
    [("either", 200, 200, 401), ("required", 401, 200, 401), ("refused", 200, 401, 401)],
)
def test_a_key_logs_in_as_the_directory_setting_says(
    seeq: Seeq, setting: Literal["either", "required", "refused"], without: int, named: int, elsewhere: int
) -> None:
    """Whether the Seeq directory is named decides as set, and no key belongs to any other directory."""
    key = seeq.add_key(seeq.add_application("App"), "key")
    seeq.key_directory = setting

    assert without == login(*key).status_code
    assert named == login(*key, authProviderClass="Auth", authProviderId="Seeq").status_code
    assert elsewhere == login(*key, authProviderClass="LDAP", authProviderId="Corporate").status_code


def test_a_wrong_password_is_401_with_a_message_and_no_session() -> None:
    """A failed login answers 401, a statusMessage, and no token."""
    answer = login("admin", "wrong")

    assert 401 == answer.status_code
    assert isinstance(answer.json()["statusMessage"], str)
    assert "x-sq-auth" not in answer.headers


def test_a_user_logs_in_through_their_own_directory_only(seeq: Seeq) -> None:
    """A user of an LDAP directory is unknown to the Seeq directory."""
    seeq.add_user("linda", "linda-password", directory=("LDAP", "Corporate"))

    assert 200 == login("linda", "linda-password", authProviderClass="LDAP", authProviderId="Corporate").status_code
    assert 401 == login("linda", "linda-password").status_code


def test_a_disabled_user_has_neither_login_nor_session(seeq: Seeq) -> None:
    """Disabling a user ends their sessions and their key's logins at once."""
    user_id = seeq.add_user("gone", "gone-password")
    key = seeq.add_key(user_id, "key")
    token = session("gone")

    seeq.disable_user(user_id)

    assert 401 == login("gone", "gone-password").status_code
    assert 401 == login(*key).status_code
    assert 401 == call("GET", "/users/me", token).status_code


@pytest.mark.parametrize("token", [None, "made-up"])
def test_without_a_session_nothing_is_told(token: str | None) -> None:
    """A missing or unknown token is 401."""
    assert 401 == call("GET", "/applications", token).status_code


def test_a_session_ends_after_a_day_without_use(clock: Clock) -> None:
    """An unused session is 401 once the session duration is over."""
    token = session("admin")
    clock.advance(hours=23)
    assert 200 == call("GET", "/users/me", token).status_code
    clock.advance(hours=25)
    assert 401 == call("GET", "/users/me", token).status_code


def test_other_media_types_are_refused() -> None:
    """Plain JSON is not Seeq's media type, neither as a body nor as an answer."""
    body = {"username": "admin", "password": "admin-password"}

    sent = requests.post(f"{API}/auth/login", json=body, timeout=10)
    wanted = requests.get(f"{API}/users/me", headers={"Accept": "text/html"}, timeout=10)

    assert (415, 406) == (sent.status_code, wanted.status_code)


def test_generating_a_key_without_the_right_is_403(seeq: Seeq) -> None:
    """An ordinary user reads the application and its rights, and may not make a key."""
    path = f"/applications/{seeq.add_application('App')}"
    token = session("worker")

    refused = call("POST", f"{path}/generate-access-key", token, {"label": "no", "expiry": expiry()})

    assert 403 == refused.status_code
    assert call("GET", path, token).json()["effectivePermissions"]["manage"] is False


def test_an_application_with_an_oidc_directory_has_no_keys(seeq: Seeq) -> None:
    """Generating a key for an application that logs in with OpenID Connect is 400."""
    application_id = seeq.add_application("App", oidc_directory_id="0F0C2F6E-0000-0000-0000-000000000001")
    path = f"/applications/{application_id}"

    refused = call("POST", f"{path}/generate-access-key", session("admin"), {"label": "no", "expiry": expiry()})

    assert 400 == refused.status_code
    assert [] == seeq.all_keys(application_id)


@pytest.mark.parametrize(
    "expiry_text",
    ["", "soon", "2999-01-01", "2999-01-01T00:00:00", "2999-01-01T00:00:00+00:00Z", "2001-01-01T00:00:00Z"],
)
def test_a_key_is_not_made_with_a_bad_expiry(seeq: Seeq, expiry_text: str) -> None:
    """An expiry that is missing, malformed, without a zone or past is 400."""
    application_id = seeq.add_application("App")

    refused = call(
        "POST",
        f"/applications/{application_id}/generate-access-key",
        session("admin"),
        {"label": "no", "expiry": expiry_text},
    )

    assert 400 == refused.status_code
    assert [] == seeq.all_keys(application_id)


def test_the_password_is_in_the_create_answer_and_nowhere_else(seeq: Seeq) -> None:
    """No later answer, and no repr of a key, shows a password."""
    application_id = seeq.add_application("App")
    token = session("admin")
    made = call(
        "POST",
        f"/applications/{application_id}/generate-access-key",
        token,
        {"label": "key", "expiry": "2999-01-01T00:00:00.5Z"},
    ).json()
    principal = made["userId"]

    later = [
        call("GET", path, token).text
        for path in (
            f"/applications/{application_id}",
            "/applications",
            f"/accesskeys?userId={principal}",
            f"/items/{made['id']}",
            f"/users/{principal}",
        )
    ]

    assert made["password"] in seeq.secrets()
    assert not any(made["password"] in each for each in [*later, repr(seeq.all_keys(application_id))])
    assert made["keyId"] in later[0]
    assert "2999-01-01T00:00:00.500000000Z" == made["expiry"]


def test_an_expired_key_stays_listed_and_is_refused(seeq: Seeq, clock: Clock) -> None:
    """Past its expiry a key no longer logs in, though nobody archived it."""
    application_id = seeq.add_application("App")
    key = seeq.add_key(application_id, "old", expires_in_days=30, created_days_ago=60)
    assert 200 == login(*key).status_code

    clock.advance(days=31)

    assert 401 == login(*key).status_code
    assert not seeq.logs_in(*key)
    assert [] == seeq.live_keys(application_id)
    listed = call("GET", f"/applications/{application_id}", session("admin")).json()["accessKeys"]
    assert [(key[0], False)] == [(each["keyId"], each["isArchived"]) for each in listed]


@pytest.mark.parametrize("meaning", ["keyId", "id"])
def test_a_key_is_deleted_by_what_its_name_means(seeq: Seeq, meaning: Literal["keyId", "id"]) -> None:
    """Only the identifier that the setting names deletes the key, and the other is 404."""
    application_id = seeq.add_application("App")
    seeq.add_key(application_id, "key")
    key = seeq.all_keys(application_id)[0]
    seeq.key_name_means = meaning
    right, wrong = (key.key_id, key.id) if meaning == "keyId" else (key.id, key.key_id)
    token = session("uga")

    assert 404 == call("DELETE", f"/accesskeys/{wrong}", token).status_code
    assert seeq.logs_in(key.key_id, key.password)
    assert 200 == call("DELETE", f"/accesskeys/{right}", token).status_code
    assert not seeq.logs_in(key.key_id, key.password)
    assert [] == call("GET", f"/applications/{application_id}", token).json()["accessKeys"]
    assert 404 == call("DELETE", f"/accesskeys/{right}", token).status_code


@pytest.mark.parametrize("listed", [True, False])
def test_where_no_name_deletes_a_key_archiving_kills_it(seeq: Seeq, *, listed: bool) -> None:
    """DELETE /items archives the key, which no longer logs in, and stays listed as set."""
    application_id = seeq.add_application("App")
    seeq.add_key(application_id, "key")
    key = seeq.all_keys(application_id)[0]
    seeq.key_name_means = "neither"
    seeq.archived_keys_listed = listed
    token = session("uga")

    assert {404} == {call("DELETE", f"/accesskeys/{name}", token).status_code for name in (key.key_id, key.id)}
    assert 200 == call("DELETE", f"/items/{key.id}", token).status_code
    assert 401 == login(key.key_id, key.password).status_code
    shown = call("GET", f"/applications/{application_id}", token).json()["accessKeys"]
    assert [True] * listed == [each["isArchived"] for each in shown]
    assert [True] == [each.is_archived for each in seeq.all_keys(application_id)]


def test_a_key_of_others_is_not_deleted_without_the_right(seeq: Seeq) -> None:
    """An ordinary user's deletions, of either kind, are 403, and the key lives."""
    application_id = seeq.add_application("App")
    seeq.add_key(application_id, "key")
    key = seeq.all_keys(application_id)[0]
    token = session("worker")

    assert 403 == call("DELETE", f"/accesskeys/{key.key_id}", token).status_code
    assert 403 == call("DELETE", f"/items/{key.id}", token).status_code
    assert [key] == seeq.live_keys(application_id)


@pytest.mark.parametrize("way", ["delete", "archive"])
def test_the_session_that_a_key_made_ends_with_the_key(seeq: Seeq, way: str) -> None:
    """A session made by a key is 401 once that key is deleted or archived; others go on."""
    application_id = seeq.add_application("App")
    to_delete, other = (seeq.add_key(application_id, label) for label in ("doomed", "other"))
    tokens = [login(*key).headers["x-sq-auth"] for key in (to_delete, other)]
    item_id = seeq.all_keys(application_id)[0].id

    path = f"/accesskeys/{to_delete[0]}" if way == "delete" else f"/items/{item_id}"
    assert 200 == call("DELETE", path, session("admin")).status_code

    assert [401, 200] == [call("GET", "/users/me", token).status_code for token in tokens]


@pytest.mark.parametrize(("found", "status"), [(True, 200), (False, 404)])
def test_an_archived_application_is_shown_as_set_and_its_keys_are_dead(seeq: Seeq, *, found: bool, status: int) -> None:
    """An archived application is answered with isArchived or 404, is not listed, and its keys are refused."""
    application_id = seeq.add_application("App")
    key = seeq.add_key(application_id, "key")
    seeq.archived_applications_found = found
    seeq.archive_application(application_id)
    token = session("admin")

    answer = call("GET", f"/applications/{application_id}", token)

    assert status == answer.status_code
    assert (True if found else None) == answer.json().get("isArchived")
    assert [] == call("GET", "/applications", token).json()["applications"]
    assert 401 == login(*key).status_code
    assert not seeq.logs_in(*key)


def test_where_applications_are_not_readable_only_user_administrators_find_them(seeq: Seeq) -> None:
    """To an ordinary user an application is then 404 and not listed; a user administrator reads it."""
    path = f"/applications/{seeq.add_application('App')}"
    seeq.applications_readable = False
    worker, administrator = session("worker"), session("uga")

    assert [404, 200] == [call("GET", path, token).status_code for token in (worker, administrator)]
    assert [0, 1] == [
        len(call("GET", "/applications", token).json()["applications"]) for token in (worker, administrator)
    ]


def test_an_unknown_application_is_404() -> None:
    """Neither reading nor generating finds an application that is not there."""
    path, token = "/applications/0F0C2F6E-0000-0000-0000-000000000001", session("admin")

    read = call("GET", path, token)
    made = call("POST", f"{path}/generate-access-key", token, {"label": "no", "expiry": expiry()})

    assert (404, 404) == (read.status_code, made.status_code)


def test_a_users_key_lives_by_the_owners_last_login(seeq: Seeq, clock: Clock) -> None:
    """Without a login of the owner a key dies after the server's validity, and a login revives it."""
    user_id = seeq.add_user("owner", "owner-password")
    key = seeq.add_key(user_id, "key")
    seeq.validity_without_user_login = 60

    clock.advance(minutes=59)
    assert 200 == login(*key).status_code
    clock.advance(minutes=2)
    assert 401 == login(*key).status_code, "the key's own login must not have counted"
    assert 200 == login("owner", "owner-password").status_code
    assert 200 == login(*key).status_code


def test_a_users_own_validity_overrides_the_servers(seeq: Seeq, clock: Clock) -> None:
    """A validity of 0 disables a user's keys, and a longer one outlives the server's."""
    disabled = seeq.add_key(seeq.add_user("none", "none-password", validity_minutes=0), "key")
    longer = seeq.add_key(seeq.add_user("long", "long-password", validity_minutes=600), "key")
    seeq.validity_without_user_login = 60
    assert not seeq.logs_in(*disabled)

    clock.advance(minutes=599)

    assert seeq.logs_in(*longer)


def test_official_client_reads_how_long_a_users_keys_work(wire: Wire, seeq: Seeq) -> None:
    """The effective validity is the user's own, or else the server's, in minutes, beside the last login."""
    own = seeq.add_user("own", "own-password", validity_minutes=600, logged_in_days_ago=3)
    servers = seeq.add_user("servers", "servers-password")
    seeq.validity_without_user_login = 60
    users: Any = sdk.UsersApi(official(wire, "uga"))

    read = [users.get_user(id=user_id) for user_id in (own, servers)]

    effective = [user.effective_access_key_validity_duration for user in read]
    assert [(600, "min"), (60, "min")] == [(duration.value, duration.uom) for duration in effective]
    assert [600, -1] == [user.access_key_validity_duration for user in read]
    last = datetime.fromisoformat(f"{read[0].last_login_at[:19]}+00:00")
    assert timedelta(days=3) == timedelta(days=round((datetime.now(timezone.utc) - last) / timedelta(days=1), 2))


def test_a_key_that_a_test_adds_has_its_description(wire: Wire, seeq: Seeq) -> None:
    """What `add_key` was given as description is listed beside the name, and nothing where there was none."""
    owner = seeq.add_user("owner", "owner-password")
    seeq.add_key(owner, "described", description="for reports")
    seeq.add_key(owner, "bare")
    api: Any = sdk.AccessKeysApi(official(wire, "uga"))

    listed = api.get_keys(user_id=owner).keys

    assert [("described", "for reports"), ("bare", None)] == [(key.name, key.description) for key in listed]


def test_where_creation_is_disabled_only_administrators_make_keys(seeq: Seeq) -> None:
    """With key creation off an ordinary user's own key is 403, and an administrator's is made."""
    seeq.key_creation_enabled = False

    made = [call("POST", "/accesskeys", session(name), {"name": "key"}) for name in ("worker", "uga")]

    assert [403, 200] == [answer.status_code for answer in made]


def test_keys_made_in_one_instant_are_ordered_by_createdat(seeq: Seeq) -> None:
    """The createdAt of keys made one after another strictly increases, below the second."""
    application_id = seeq.add_application("App")
    labels = [str(n) for n in range(20)]
    for label in labels:
        seeq.add_key(application_id, label)

    listed = call("GET", f"/applications/{application_id}", session("admin")).json()["accessKeys"]

    assert 20 == len({key["createdAt"] for key in listed})
    assert labels == [key["name"] for key in sorted(listed, key=lambda key: str(key["createdAt"]))]
    assert labels == [key.label for key in seeq.live_keys(application_id)]


def test_a_login_marks_the_key_as_used(seeq: Seeq) -> None:
    """A key's lastUsed is absent on a fresh key and told after its first login."""
    application_id = seeq.add_application("App")
    key = seeq.add_key(application_id, "key")
    token, path = session("admin"), f"/applications/{application_id}"
    assert "lastUsed" not in call("GET", path, token).json()["accessKeys"][0]

    login(*key)

    assert "lastUsed" in call("GET", path, token).json()["accessKeys"][0]


def test_paging_holds_for_keys_and_users_and_refuses_nonsense(seeq: Seeq) -> None:
    """Every listing is paged by offset and limit, keeps its other parameters in `next`, and checks them."""
    user_id = seeq.add_user("owner", "owner-password")
    for n in range(45):
        seeq.add_key(user_id, str(n))
    token = session("admin")

    first = call("GET", f"/accesskeys?userId={user_id}", token).json()
    second = call("GET", first["next"].removeprefix("/api"), token).json()

    assert [str(n) for n in range(45)] == [key["name"] for key in first["keys"] + second["keys"]]
    assert (40, True) == (len(first["keys"]), "next" not in second)
    users = call("GET", "/users?limit=1&offset=1", token).json()
    assert (["uga"], 4) == ([user["username"] for user in users["users"]], users["totalResults"])
    assert 400 == call("GET", "/users?limit=-1", token).status_code


def test_every_password_and_token_there_ever_was_is_remembered(seeq: Seeq) -> None:
    """A test can look for any of them in what a program prints: of users, of deleted keys, of sessions that ended."""
    user_id = seeq.add_user("owner", "owner-password")
    key_id, password = seeq.add_key(user_id, "key")
    logins = [login("owner", "owner-password"), login(key_id, password)]
    tokens = {answer.headers[name] for answer in logins for name in ("x-sq-auth", "x-sq-csrf")}
    for answer in logins:
        call("DELETE", "/auth/logout", answer.headers["x-sq-auth"])
    seeq.delete_key(key_id)

    users = {f"{name}-password" for name in ("admin", "uga", "worker", "owner")}
    assert {*users, password, *tokens} == seeq.secrets()


# -- what administrators do ---------------------------------------------------------------------


def test_the_official_client_creates_updates_finds_and_deletes_a_user(wire: Wire, seeq: Seeq) -> None:
    """A user that it makes logs in, is found by name, and with the user all keys are gone."""
    users: Any = sdk.UsersApi(official(wire, "uga"))

    made = users.create_user(
        body=sdk.UserInputV1(username="jane", password="jane-password", first_name="Jane", last_name="Doe")
    )
    key_id, key = seeq.add_key(made.id, "nightly")
    assert seeq.logs_in(key_id, key) is False
    assert 200 == login("jane", "jane-password").status_code
    assert seeq.logs_in(key_id, key) is True
    found = users.get_user_from_username(
        auth_datasource_class="Auth", auth_datasource_id="Seeq", username="jane", include_groups=False
    )
    updated = users.update_user(id=made.id, body=sdk.UserInputV1(email="jane@example.com", is_enabled=False))
    assert (401, False) == (login("jane", "jane-password").status_code, seeq.logs_in(key_id, key))

    assert (made.id, "Jane Doe") == (found.id, found.name)
    assert ("jane@example.com", False, "Jane Doe") == (updated.email, updated.is_enabled, updated.name)
    users.delete_user(id=made.id)
    assert 404 == call("GET", f"/users/{made.id}", session("admin")).status_code
    assert [] == seeq.all_keys(made.id)


def test_a_user_is_found_by_the_exact_name_alone(wire: Wire) -> None:
    """Part of a name finds nobody there, but does where names are completed."""
    users: Any = sdk.UsersApi(official(wire, "worker"))

    with pytest.raises(ApiException) as unknown:
        users.get_user_from_username(auth_datasource_class="Auth", auth_datasource_id="Seeq", username="work")
    completed = users.autocomplete_users_and_groups(query="work", offset=0, limit=10)

    assert 404 == unknown.value.status
    assert ["worker"] == [one.username for one in completed.items]


@pytest.mark.parametrize(
    ("who", "body", "status"),
    [
        ("worker", {"username": "new", "password": "p"}, 403),
        ("uga", {"username": "new", "password": "p", "isAdmin": True}, 403),
        ("admin", {"username": "new", "password": "p", "isAdmin": True}, 200),
        ("uga", {"username": "worker", "password": "p"}, 400),
        ("uga", {"username": "new"}, 400),
    ],
    ids=["an ordinary user", "an admin by a user administrator", "an admin by an admin", "a name twice", "no password"],
)
def test_who_may_create_whom(who: str, body: dict[str, Any], status: int) -> None:
    """User administrators make users, and administrators alone make administrators."""
    assert status == call("POST", "/users", session(who), body).status_code
    assert (200 if status == 200 else 401) == login("new", "p").status_code


def test_a_password_is_changed_by_its_owner_who_knows_it_or_an_administrator(wire: Wire) -> None:
    """The one before no longer logs in."""
    users: Any = sdk.UsersApi(official(wire, "worker"))
    me = users.get_me().id

    with pytest.raises(ApiException):
        users.update_password(id=me, body=sdk.UserPasswordInputV1(current_password="wrong", new_password="n"))
    users.update_password(id=me, body=sdk.UserPasswordInputV1(current_password="worker-password", new_password="n"))
    assert (200, 401) == (login("worker", "n").status_code, login("worker", "worker-password").status_code)

    sdk.UsersApi(official(wire, "uga")).update_password(id=me, body=sdk.UserPasswordInputV1(new_password="m"))
    assert 200 == login("worker", "m").status_code


def test_the_official_client_creates_updates_and_archives_an_application(wire: Wire, seeq: Seeq) -> None:
    """Its key works until the application is archived; then it is in no list any more."""
    api: Any = sdk.ApplicationsApi(official(wire, "uga"))

    made = api.create_application(body=sdk.ApplicationInputV1(name="Reports", description="nightly"))
    key = api.generate_access_key(id=made.id, body=sdk.ApplicationKeyInputV1(label="k", expiry=expiry()))
    renamed = api.update_application(id=made.id, body=sdk.ApplicationInputV1(name="Reports 2"))
    listed = api.get_applications(offset=0, limit=10).applications
    assert seeq.logs_in(key.key_id, key.password)
    api.archive_application(id=made.id)

    assert ("Reports", "nightly") == (made.name, made.description)
    assert ("Reports 2", "nightly") == (renamed.name, renamed.description)
    assert [made.id] == [one.id for one in listed]
    assert [] == api.get_applications(offset=0, limit=10).applications
    assert not seeq.logs_in(key.key_id, key.password)
    assert 403 == call("POST", "/applications", session("worker"), {"name": "x"}).status_code


def test_an_entry_of_an_applications_list_gives_rights_and_takes_them(wire: Wire, seeq: Seeq) -> None:
    """Where not everybody may read, a user with an entry does, and what else it says is told and holds."""
    seeq.applications_readable = False
    application = seeq.add_application("Reports")
    items: Any = sdk.ItemsApi(official(wire, "admin"))
    mine: Any = sdk.ApplicationsApi(official(wire, "worker"))
    worker = call("GET", "/users/me", session("worker")).json()["id"]

    def rights() -> tuple[bool, bool, bool] | None:
        found = [one.effective_permissions for one in mine.get_applications(offset=0, limit=9).applications]
        return (found[0].read, found[0].write, found[0].manage) if found else None

    assert rights() is None
    body = sdk.AceInputV1(identity_id=worker, permissions=sdk.PermissionsV1(read=True))
    [entry] = items.add_access_control_entry(id=application, body=body).entries
    assert (True, False, False) == rights()
    with pytest.raises(ApiException) as refused:
        mine.update_application(id=application, body=sdk.ApplicationInputV1(name="Mine"))
    assert 403 == refused.value.status
    everything = sdk.PermissionsV1(read=True, write=True, manage=True)
    given = [sdk.AceInputV1(identity_id=worker, permissions=everything)]
    items.set_acl(id=application, body=sdk.AclInputV1(entries=given))
    assert (True, True, True) == rights()
    assert "Mine" == mine.update_application(id=application, body=sdk.ApplicationInputV1(name="Mine")).name
    [again] = items.get_access_control(id=application).entries
    assert ("worker", True) == (again.identity.username, entry.id != again.id)
    items.remove_access_control_entry(id=application, ace_id=again.id)
    assert rights() is None


# -- sessions -----------------------------------------------------------------------------------


def test_a_browsers_cookie_does_nothing_without_the_csrf_token() -> None:
    """It may read; a change needs the token of the session, which only the site's own pages know."""
    first = login("uga", "uga-password")
    cookies = {"sq-auth": first.headers["x-sq-auth"]}
    known = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}

    def create(name: str, **headers: str) -> int:
        body = json.dumps({"name": name})
        url = f"{API}/applications"
        return requests.post(url, body, headers={**known, **headers}, cookies=cookies, timeout=5).status_code

    read = requests.get(f"{API}/auth/csrf", headers=known, cookies=cookies, timeout=5)

    assert first.headers["x-sq-csrf"] == read.headers["x-sq-csrf"]
    assert [403, 403, 200] == [
        create("a"),
        create("b", **{"x-sq-csrf": "another"}),
        create("c", **{"x-sq-csrf": read.headers["x-sq-csrf"]}),
    ]
    listed = call("GET", "/applications", first.headers["x-sq-auth"]).json()["applications"]
    assert ["c"] == [one["name"] for one in listed]


def test_the_official_client_follows_renewed_tokens(wire: Wire, seeq: Seeq) -> None:
    """Token and identity path of any answer take the place of those before, which end."""
    seeq.renews_sessions = True
    client = official(wire, "worker")
    users: Any = sdk.UsersApi(client)
    first = client.auth_token

    seen = [(users.get_me().username, client.auth_token) for _ in range(3)]

    assert {"worker"} == {name for name, _ in seen}
    assert 4 == len({first, *(token for _, token in seen)})
    assert client.identity_path == f"/{users.get_me().id}"
    assert 401 == call("GET", "/users/me", first).status_code
    assert 401 == call("GET", "/users/me", client.auth_token).status_code  # without its identity path


def test_a_renewed_session_leaves_time_for_what_is_under_way(seeq: Seeq, clock: Clock) -> None:
    """The token before is good for as long as the server says, and no longer."""
    seeq.renews_sessions, seeq.renewal_grace = True, 5
    token = session("worker")

    statuses = []
    for seconds in (0, 4, 2):
        clock.advance(seconds=seconds)
        statuses.append(call("GET", "/users/me", token).status_code)

    assert [200, 200, 401] == statuses
