"""Secrets Manager's answers that are no records: throttling, other keys, what cannot be decrypted, copies."""

from __future__ import annotations

import json
import threading
import time

import pytest

from pam_scripts.core import retry
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.stores.keeper.client import Client
from pam_scripts.stores.keeper.configuration import Access
from pam_scripts.stores.keeper.records import job_among
from sandbox.faults import Fault, Rule
from sandbox.log import Request
from sandbox.plant import Plant
from sandbox.services import keeper
from tests.support.in_process import InProcess
from tests.support.invariants import State, assert_as_before, assert_silent, assert_true_state


@pytest.fixture
def client(plant: Plant, wired: Session, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return the client of the plant's device."""
    monkeypatch.setenv("KSM_CONFIG", plant.keeper.config_base64())
    return Access(wired).client()


@pytest.fixture
def _soon(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have silence be short, for the service and for its clients alike."""
    plant.keeper.silence = 0.3
    monkeypatch.setattr(retry, "SILENCE", (0.35, 0.5))
    monkeypatch.setattr(retry, "_JITTER", 0.05)


def to_keeper(plant: Plant) -> list[int]:
    """Return the status of every answer of Secrets Manager."""
    return [request.status for request in plant.wire.log if request.host == keeper.HOST]


# -- throttling -----------------------------------------------------------------------------------


def test_a_throttled_device_is_told_so_and_left_alone_for_eleven_to_fifteen_seconds(
    client: Client, plant: Plant, wired: Session
) -> None:
    """The line says `throttled` and the way out, not a code; until the time is over no call leaves this process."""
    plant.keeper.calls_allowed = 1
    client.fetch([])
    with pytest.raises(ApiError) as caught:
        client.fetch([])

    assert "keeper: get secret: throttled: " in str(caught.value)
    assert "429" not in str(caught.value)
    assert 11 <= (caught.value.retry_after or 0) <= 15
    for one in (client, Access(wired).client()):
        with pytest.raises(ApiError, match="throttled") as again:
            one.fetch([])
        assert 10 < (again.value.retry_after or 0) <= (caught.value.retry_after or 0)
    assert [200, 403] == to_keeper(plant)


@pytest.mark.parametrize(("named", "waits"), [("20", 20), (20.5, 20.5), (3, 11), ("soon", 11), (None, 11)])
def test_the_wait_that_is_named_counts_as_a_number_and_as_text(
    named: float | str | None, waits: float, client: Client, plant: Plant
) -> None:
    """Where it is longer than what silence takes; one that cannot be read is none."""
    plant.keeper.throttle(1, named or 0)

    with pytest.raises(ApiError) as caught:
        client.fetch([])
    assert waits <= (caught.value.retry_after or 0) <= max(15, waits)


@pytest.mark.usefixtures("_soon")
def test_silence_is_kept_until_it_is_served_again(client: Client, plant: Plant, wired: Session) -> None:
    """Asked as the scripts do, what was refused is served in the end, and nobody was asked meanwhile."""
    plant.keeper.calls_allowed = 1
    client.fetch([])
    started = time.monotonic()

    assert plant.user_uid in retrying(wired.deadline, lambda: client.fetch([])).records
    assert time.monotonic() - started >= 0.35
    assert [200, 403, 200] == to_keeper(plant)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("allowed", [1, 2])
def test_a_rotation_waits_until_it_is_served(allowed: int, plant: Plant) -> None:
    """Throttled again and again, from the first call on, it rotates without a word on stderr and with status 0."""
    plant.keeper.calls_allowed = allowed
    plant.keeper.throttle(1, 0)

    result = InProcess("rotate_seeq_application_key").run(plant)
    assert (0, "") == (result.returncode, result.stderr)
    assert_true_state(plant)
    assert_silent(plant, result)
    assert 403 in to_keeper(plant)


@pytest.mark.usefixtures("_soon")
def test_a_rotation_that_fails_waits_while_it_puts_everything_back(plant: Plant) -> None:
    """A record that holds the new key is put back however busy Keeper is: status 1, not 4."""

    async def throttle(_request: Request) -> None:
        plant.keeper.throttle(2, 0)

    refused = Fault(effect=False, answer="status", status=403, before=throttle)
    plant.wire.rules.append(Rule(refused, host="plant-vault*", method="PUT"))
    before = State.of(plant)

    result = InProcess("rotate_seeq_application_key").run(plant)
    assert 1 == result.returncode, result.stderr
    assert "all put back as it was" in result.stderr
    assert_as_before(plant, before)
    assert 403 in to_keeper(plant)


def test_where_there_is_no_time_for_silence_it_says_so_at_once(plant: Plant) -> None:
    """Ten seconds are too few for any: status 1 without a second call, and the line says what to do."""
    plant.set_field("deadline_seconds", "10")
    plant.keeper.calls_allowed = 0

    result = InProcess("rotate_seeq_application_key").run(plant)
    assert 1 == result.returncode
    assert "throttled: this Gateway's device has called Secrets Manager too often" in result.stderr
    assert "spread the times of rotations" in result.stderr
    assert [403] == to_keeper(plant)


# -- nobody there ---------------------------------------------------------------------------------


def test_a_host_that_cannot_be_reached_is_named_after_one_try(plant: Plant) -> None:
    """The line has the host, the proxy without what one logs in to it with, and what to check; at once, not after 8 s.

    One connection is tried ahead, one with the request.
    """
    environment = plant.wire.environment("proxy-user")
    config = json.dumps({**plant.keeper.config(), "hostname": "not.in.the.sandbox"})
    result = InProcess("rotate_seeq_application_key").run(plant, environment={**environment, "KSM_CONFIG": config})

    assert 1 == result.returncode
    assert (
        "keeper: get secret: no connection to not.in.the.sandbox (through the proxy 127.0.0.1:"
        f"{plant.wire.proxy_port}): the proxy refuses it with 403 Forbidden; nothing changed; check firewall"
    ) in result.stderr
    assert "proxy-user" not in result.stderr
    assert plant.wire.refused.count("not.in.the.sandbox:443") <= 2


def test_without_a_proxy_it_says_so(plant: Plant) -> None:
    """A proxy for http alone is none: which variable to set is said."""
    environment = {"HTTPS_PROXY": None, "https_proxy": None, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": None}
    config = json.dumps({**plant.keeper.config(), "hostname": "not.in.the.sandbox.invalid"})
    result = InProcess("rotate_seeq_application_key").run(plant, environment={**environment, "KSM_CONFIG": config})

    assert 1 == result.returncode
    assert (
        "no connection to not.in.the.sandbox.invalid (directly): the host name cannot be resolved; nothing"
        in result.stderr
    )
    assert "HTTP_PROXY is not used for https: set HTTPS_PROXY" in result.stderr


def test_where_there_is_no_way_back_nobody_gives_up_at_once(
    plant: Plant, wired: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that can only go forward tries until its time is spent, also where nobody could be reached yet."""
    host = keeper.HOST
    app = plant.wire.app_for(host)
    assert app
    # A client begins to connect as soon as it is made.
    plant.wire.remove(host)
    monkeypatch.setenv("KSM_CONFIG", plant.keeper.config_base64())
    client = Access(wired).client()
    with pytest.raises(ApiError) as caught:
        retrying(wired.deadline, lambda: client.fetch([]))
    assert (True, True) == (caught.value.unreachable, caught.value.transient)
    threading.Timer(0.5, lambda: plant.wire.add(host, app)).start()

    assert retrying(wired.deadline, lambda: client.fetch([]), spare=0.0).records


# -- other keys -----------------------------------------------------------------------------------


def test_a_server_that_keeps_asking_for_another_key_is_followed_once(client: Client, plant: Plant) -> None:
    """The SDK alone would send thousands of requests."""
    plant.keeper.asks_for_key = 91

    with pytest.raises(ApiError, match="the server keeps asking for another public key; compare 'serverPublicKey'"):
        retrying(Deadline(60), lambda: client.fetch([]))
    assert [401, 401] == to_keeper(plant)


def test_each_call_may_follow_one_change(client: Client, plant: Plant) -> None:
    """A server that has changed its key twice in a day is served."""
    for number in (91, 92):
        plant.keeper.asks_for_key = number
        with pytest.raises(ApiError):
            client.fetch([])
        plant.keeper.asks_for_key = None
        assert client.fetch([]).records


def test_a_key_that_the_sdk_does_not_know_is_told_with_the_way_out(plant: Plant, wired: Session) -> None:
    """Without a key of its own in the configuration, a new one comes with a newer SDK alone."""
    config = {name: value for name, value in plant.keeper.config().items() if not name.startswith("serverPublicKey")}
    client = Client(config, wired)
    plant.keeper.asks_for_key = 777

    with pytest.raises(ApiError, match=r"does not know; update the SDK .*--upgrade keeper-secrets-manager-core"):
        retrying(wired.deadline, lambda: client.fetch([]))
    assert [401] == to_keeper(plant)


# -- what cannot be decrypted ---------------------------------------------------------------------


def test_a_record_that_cannot_be_decrypted_is_named_and_left_out(client: Client, plant: Plant) -> None:
    """In a folder or by itself, it says nothing of the others."""
    damaged = [plant.keeper.add_record("login", "damaged", folder=folder) for folder in (True, False)]
    plant.keeper.unreadable.update(damaged)

    fetched = client.fetch([])
    assert {*damaged} == {*fetched.left_out}
    assert {plant.user_uid, plant.admin_uid, plant.configuration_uid} <= fetched.records.keys()
    assert sorted(
        f"keeper: record {uid} cannot be decrypted with the key of the Gateway's application, and is left out"
        for uid in damaged
    ) == sorted(fetched.remarks)
    with pytest.raises(BadInput, match=f"record {damaged[0]} cannot be decrypted.*share it again"):
        job_among(fetched.records, plant.user_uid, [damaged[0]], damaged=fetched.left_out)


def test_a_folder_that_cannot_be_decrypted_is_named_with_its_records(client: Client, plant: Plant) -> None:
    """What is shared beside it is there."""
    alone = plant.keeper.add_record("login", "alone", folder=False)
    plant.keeper.unreadable.add(plant.keeper.folder_uid)

    fetched = client.fetch([])
    assert {alone} == {*fetched.records}
    assert plant.user_uid in fetched.left_out
    assert f"shared folder {plant.keeper.folder_uid}, with the records " in fetched.remarks[0]
    assert plant.user_uid in fetched.remarks[0]


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_that_cannot_be_decrypted_leaves_its_record(folder: bool, client: Client, plant: Plant) -> None:
    """No script reads files; the record is there with all its fields."""
    uid = plant.keeper.add_record("login", "with a file", fields=[keeper.login("svc")], folder=folder)
    plant.keeper.unreadable.add(plant.keeper.add_file(uid, "notes.txt", b"notes"))

    fetched = client.fetch([])
    assert [] == [*fetched.left_out]
    assert "login" == fetched.records[uid].type
    assert plant.user_uid in fetched.records
    assert [f"a file of record {uid}"] == [*fetched.damaged]


def test_a_rotation_names_a_file_that_cannot_be_decrypted_and_goes_on(plant: Plant) -> None:
    """The record that is rotated may carry it."""
    plant.keeper.unreadable.add(plant.keeper.add_file(plant.user_uid, "notes.txt", b"notes"))

    result = InProcess("rotate_seeq_application_key").run(plant)
    assert 0 == result.returncode, result.stderr
    assert f"a file of record {plant.user_uid} cannot be decrypted" in result.stdout
    assert_true_state(plant)


def test_a_record_to_rotate_that_cannot_be_decrypted_is_refused_with_the_way_out(plant: Plant) -> None:
    """Status 2, with no request to anybody else that could change something."""
    plant.keeper.unreadable.add(plant.user_uid)

    result = InProcess("rotate_seeq_application_key").run(plant)
    assert 2 == result.returncode
    assert f"record {plant.user_uid} cannot be decrypted with the key of the Gateway's application" in result.stderr
    assert "share it again" in result.stderr


# -- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
def test_a_record_that_is_shared_twice_is_editable_where_any_copy_is(first: bool, second: bool, plant: Plant) -> None:
    """Whichever comes first in the answer."""
    plant.keeper.set_editable(plant.user_uid, first)
    plant.keeper.share_again(plant.user_uid, editable=second)

    result = InProcess("rotate_seeq_application_key").run(plant)
    if first or second:
        assert 0 == result.returncode, result.stderr
        assert_true_state(plant)
    else:
        assert 2 == result.returncode
        assert "is not editable" in result.stderr
