"""Logins to Seeq: none is tried again for nothing, nothing is deleted without an id, no login is shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, OutOfTime
from pam_scripts.core.http import Common, Session
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.seeq.application_keys import ApplicationKeys
from pam_scripts.issuers.seeq.keys import read_key
from pam_scripts.issuers.seeq.server import NO_DIRECTORY, SEEQ_DIRECTORY, Endpoint, Login, Server
from pam_scripts.rotation.roles import Key
from sandbox.faults import Fault, Rule, hang
from sandbox.log import Request
from sandbox.plant import SEEQ_HOST, Plant, on_loopback

URL = f"https://{SEEQ_HOST}"
Make = Callable[..., Server]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Have a plant listen, and this process lead there."""
    with on_loopback(Plant) as made:
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def make() -> Make:
    """Return a maker of connections to Seeq with a login."""

    def make(username: str, password: str, directory: Any = SEEQ_DIRECTORY, said: list[str] | None = None) -> Server:  # noqa: ANN401 - a Directory or None
        login = Login(username, Secret(password), directory, shown="record 'Admin' (A)")
        return Server(Endpoint(URL, login), Session(Deadline(60)), (said if said is not None else []).append)

    return make


def logins(plant: Plant) -> list[dict[str, Any]]:
    """Return the bodies of the logins so far."""
    return [json.loads(request.body) for request in plant.wire.log if request.path.endswith("/auth/login")]


def side_by_side(call: Callable[[], None]) -> None:
    """Make a call four times at once."""
    with concurrently() as submit:
        for _ in range(4):
            submit(call)


def test_a_wrong_admin_password_is_tried_once_in_a_process(plant: Plant, make: Make) -> None:
    """Not without the directory again, not by the next call, not by other threads, not for the next record."""
    for _record in range(5):
        server = make("rotation.admin", "not the password")
        for _ in range(3):
            with pytest.raises(ApiError, match="401"):
                side_by_side(server.connect)

    assert 1 == len(logins(plant))


@pytest.mark.parametrize(("directory", "named"), [(SEEQ_DIRECTORY, True), (NO_DIRECTORY, False)])
def test_an_admin_logs_in_as_the_record_says(directory: Any, named: bool, plant: Plant, make: Make) -> None:  # noqa: ANN401
    """With the directory that it names, or without one: one request, whatever the answer."""
    plant.seeq.key_directory = "required"
    with pytest.raises(ApiError):
        make("somebody", "some password", directory).connect()

    assert [named] == ["authProviderClass" in login for login in logins(plant)]


@pytest.mark.parametrize("setting", ["required", "refused", "either"])
def test_how_a_key_logs_in_is_found_out_once(setting: Any, plant: Plant, make: Make) -> None:  # noqa: ANN401
    """The other form is tried after a refusal, and what was right comes first from then on."""
    plant.seeq.key_directory = setting
    server = make(plant.old_key_id, plant.old_password, None)
    for _ in range(3):
        server.log_in_with_key(plant.old_key_id, Secret(plant.old_password), "log in")

    assert len(logins(plant)) == (4 if setting == "refused" else 3)


def sent(plant: Plant, name: str) -> list[str]:
    """Return a header of the requests within sessions so far."""
    return [one.headers.get(name, "") for one in plant.wire.log if not one.path.endswith("/auth/login")]


def test_a_session_that_an_answer_renews_goes_on_as_the_answer_says(plant: Plant, make: Make) -> None:
    """All three headers of any later answer replace those before, as the official client does; one login is enough."""
    plant.seeq.renews_sessions = True
    server = make("rotation.admin", plant.admin_password)

    for _ in range(4):
        server.get("/users/me", "look")

    assert 1 == len(logins(plant))
    assert 4 == len({*sent(plant, "x-sq-auth")}), "each request has the token of the answer before"
    assert 4 == len({*sent(plant, "x-sq-csrf")} - {""})
    assert [False, True, True, True] == [bool(one) for one in sent(plant, "x-sq-identity-path")]


def test_a_late_answer_does_not_bring_a_former_session_back(plant: Plant, make: Make) -> None:
    """Whoever acts as somebody else meanwhile stays so: what renews the former session is not taken for theirs."""
    plant.seeq.renews_sessions = True
    server = make("rotation.admin", plant.admin_password)
    other = Login(plant.old_key_id, Secret(plant.old_password), None, shown="the key")

    async def act_as_another(_request: Request) -> None:
        await asyncio.to_thread(server.change_login, other)

    plant.wire.rules.append(Rule(Fault(before=act_as_another), path="*/users/me", nth=1))
    admin = server.get("/users/me", "look")
    me = server.get("/users/me", "look")

    assert "rotation.admin" == admin["username"]
    assert admin["id"] != me["id"]


def test_runs_that_share_connections_log_in_once_and_each_may_act_as_another(plant: Plant) -> None:
    """One login for all of them; who goes on with a new key leaves the others as they are; another login is its own."""
    common = Common()
    admin = Login("rotation.admin", Secret(plant.admin_password), SEEQ_DIRECTORY, shown="the admin")

    def server() -> Server:
        return Server(Endpoint(URL, admin), Session(Deadline(60), common=common), lambda _line: None)

    first, second = server(), server()
    with concurrently() as submit:
        for each in (first, second):
            submit(each.connect)
    assert 1 == len(logins(plant))

    first.change_login(Login(plant.old_key_id, Secret(plant.old_password), None, shown="the key"))
    assert "rotation.admin" == second.get("/users/me", "look")["username"]
    assert "rotation.admin" == server().get("/users/me", "look")["username"]
    assert first.get("/users/me", "look")["id"] != second.get("/users/me", "look")["id"]
    assert 2 == len(logins(plant))


def test_who_waits_for_anothers_login_waits_no_longer_than_its_own_time(plant: Plant) -> None:
    """A login that hangs for one run ends the other by its own deadline, not by the first one's."""
    common = Common()
    admin = Login("rotation.admin", Secret(plant.admin_password), SEEQ_DIRECTORY, shown="the admin")
    plant.wire.rules.append(Rule(hang(), path="*/auth/login"))
    slow, quick = (
        Server(Endpoint(URL, admin), Session(Deadline(seconds), common=common), lambda _line: None)
        for seconds in (16, 1)
    )
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(slow.connect)
        while not plant.wire.log:
            time.sleep(0.01)
        with pytest.raises(OutOfTime):
            quick.connect()
        assert not hanging.done()
        assert isinstance(hanging.exception(), ApiError)


def test_a_refusal_for_one_run_says_nothing_of_anothers_state(plant: Plant, make: Make) -> None:
    """What the first one says of what it left behind does not stand in the error of the next."""
    errors = []
    for _ in range(2):
        with pytest.raises(ApiError) as caught:
            make("rotation.admin", "a wrong one").connect()
        errors.append(caught.value)
        caught.value.state = "nothing changed"

    first, second = errors
    assert (first.cause, first.code, first.next_step) == (second.cause, second.code, second.next_step)
    assert first is not second
    assert 1 == len(logins(plant))


def test_nothing_is_deleted_without_an_id(plant: Plant, make: Make) -> None:
    """A server that lists keys without an item's id is not asked to delete the bare path."""
    server = make("rotation.admin", plant.admin_password)
    keys = ApplicationKeys(server, plant.application_id, print)
    for way in keys.other_ways_to_delete:
        way(Key("some-key", "label", utc_now()))

    assert [] == [request.path for request in plant.wire.log if request.method == "DELETE"]


@pytest.mark.parametrize("key_id", ["", " ", None, 7])
def test_a_key_without_an_id_is_not_readable(key_id: object) -> None:
    """It is no key that could be told, kept or deleted; what the server wrote is not repeated."""
    with pytest.raises(ApiError, match="has no id") as caught:
        read_key({"keyId": key_id, "createdAt": "hunter2hunter2"}, "read")
    assert "hunter2" not in str(caught.value)


def test_no_login_is_shown(plant: Plant, make: Make) -> None:
    """A password in the field of the login is as secret there: the record is named instead."""
    said: list[str] = []
    with pytest.raises(ApiError, match=r"log in with the credential of record 'Admin' \(A\): 401") as caught:
        make("hunter2 hunter2", "rotation.admin", said=said).connect()
    server = make("rotation.admin", plant.admin_password, said=said)
    server.connect()

    assert "hunter2" not in str(caught.value)
    assert [f"Authenticated to Seeq server: {URL} with the credential of record 'Admin' (A)"] == said


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("The body was {password: hunter2}", "not repeated here; see its log at 20"),
        ("It is ARCHIVED.", "it is archived"),
    ],
)
def test_what_a_server_says_is_said_in_our_words(
    reason: str, words: str, plant: Plant, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may echo whatever it was sent."""
    server = make("rotation.admin", plant.admin_password)
    monkeypatch.setattr(
        "pam_scripts.core.http._object", lambda _response, **_: {"statusMessage": reason, "password": "hunter2"}
    )
    with pytest.raises(ApiError) as caught:
        server.log_in("rotation.admin", Secret("wrong"), SEEQ_DIRECTORY, "log in")

    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
