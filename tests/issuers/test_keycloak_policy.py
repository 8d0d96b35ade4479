"""Client secrets that a policy of the realm rotates: by the server's own way, so that nobody is without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pam_scripts.cli.rollback import RollBack
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.http import Session
from pam_scripts.core.times import utc_now
from pam_scripts.rotate_keycloak_client_secret import SCRIPT as SPEC
from pam_scripts.rotation.roles import Run
from sandbox import faults
from sandbox.faults import Rule
from sandbox.log import Request
from sandbox.plant import VAULT, on_loopback
from sandbox.realm import REALM, KeycloakPlant, KeycloakPolicyPlant
from sandbox.services.keycloak import EXPIRES, ROTATED_ATTRIBUTES
from tests.contracts.on_site import Site
from tests.support.in_process import InProcess
from tests.support.invariants import (
    State,
    assert_as_before,
    assert_credentials_alive,
    assert_refuses,
    assert_silent,
    assert_true_state,
    custom_fields,
    in_keeper,
    in_vault,
    is_vault_write,
)

SCRIPT = InProcess("rotate_keycloak_client_secret")


@pytest.fixture
def plant() -> Iterator[KeycloakPolicyPlant]:
    """Return a plant whose client's secret a policy has given an end."""
    with on_loopback(KeycloakPolicyPlant) as plant:
        yield plant


def _is_update(request: Request) -> bool:
    return request.method == "PUT" and "/clients/" in request.path


def _ends_the_rotated(request: Request) -> bool:
    return request.method == "DELETE" and request.path.endswith("/client-secret/rotated")


def _readable(plant: KeycloakPlant) -> list[bool]:
    """Return of each version of the secret in the vault whether it can be read."""
    return [one.enabled for one in plant.key_vault.versions(VAULT, plant.password_name)]


def _watch(plant: KeycloakPlant) -> None:
    """Have each request to Keycloak find that what Keeper and the vault hold logs in."""

    def look(request: Request) -> bool:
        if "keycloak" in request.host:
            assert_credentials_alive(plant)
        return False

    plant.wire.rules.append(Rule(faults.status(500), where=look))


def test_it_rotates_and_nobody_is_without_a_secret(plant: KeycloakPolicyPlant) -> None:
    """The server makes each one; the one before lives until every store has it. The end is what the server has."""
    _watch(plant)
    values = [plant.old_password]
    for _ in range(2):
        former = in_keeper(plant)
        result = SCRIPT.run(plant)

        assert (0, "") == (result.returncode, result.stderr)
        assert "A client policy (`secret-rotation`) rotates the secret of client erp, which ends " in result.stdout
        assert "until every store has the new one" in result.stdout
        assert_silent(plant, result)
        assert plant.client_id == assert_true_state(plant)
        assert not plant.logs_in(*former)
        values.append(in_keeper(plant)[1])
    assert 3 == len({*values})
    assert [] == [one for one in plant.wire.log if _is_update(one)]
    (end,) = custom_fields(plant, "expires")
    assert plant.issued()[0].expires_at
    assert [f"{plant.issued()[0].expires_at:%Y-%m-%dT%H:%M:%SZ}"] == end["value"]


def test_the_former_secret_is_kept_where_that_is_asked_for(plant: KeycloakPolicyPlant) -> None:
    """It logs in as long as the policy has it, or until the next rotation, which keeps the one after it."""
    plant.set_field("keep_previous_keys", "1")
    first = in_keeper(plant)
    assert 0 == SCRIPT.run(plant).returncode
    second = in_keeper(plant)
    assert plant.logs_in(*first)
    assert [True, True] == _readable(plant)
    assert {"erp", "erp (rotated)"} == {key.key_id for key in plant.issued()}

    result = SCRIPT.run(plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert "to keep: erp (rotated)" in result.stdout
    assert [False, True] == [plant.logs_in(*one) for one in (first, second)]
    assert [False, True, True] == _readable(plant)
    assert_true_state(plant, kept=["erp (rotated)"])


def test_a_compromised_secret_is_kept_nowhere(plant: KeycloakPolicyPlant) -> None:
    """What was kept before goes, too: the rotated one of then, and the one in use."""
    plant.set_field("keep_previous_keys", "1")
    assert 0 == SCRIPT.run(plant).returncode
    plant.set_field("keep_previous_keys", "0")
    known = [plant.old_password, in_keeper(plant)[1]]

    assert 0 == SCRIPT.run(plant).returncode
    assert [] == [value for value in known if plant.logs_in(plant.client_id, value)]
    assert_true_state(plant)


@pytest.mark.parametrize("kept", [False, True], ids=["", "with one that was kept"])
def test_all_is_put_back_as_it_was(plant: KeycloakPolicyPlant, kept: bool) -> None:
    """The former secret takes its place again, with its end, and what others changed meanwhile stays."""
    if kept:
        plant.set_field("keep_previous_keys", "1")
        assert 0 == SCRIPT.run(plant).returncode
    before, client = State.of(plant), dict(plant.client)
    _watch(plant)

    def refuse(request: Request) -> bool:
        if is_vault_write(request):
            plant.client["redirectUris"] = ["https://changed.plant.example/*"]
            return True
        return False

    plant.wire.rules.append(Rule(faults.status(403), where=refuse, times=4))
    result = SCRIPT.run(plant)

    assert 1 == result.returncode
    assert "all put back as it was" in result.stderr
    assert {**client, "redirectUris": ["https://changed.plant.example/*"]} == plant.client
    assert_as_before(plant, before)
    assert_silent(plant, result)


@pytest.mark.usefixtures("short_waits")
def test_where_it_cannot_take_its_place_back_that_is_said(plant: KeycloakPolicyPlant) -> None:
    """Both live then, the stores hold the former one; the next rotation sets the one that the server has everywhere."""
    plant.set_field("deadline_seconds", "10")
    plant.wire.rules.append(Rule(faults.status(403), where=is_vault_write, times=4))
    plant.wire.rules.append(Rule(faults.status(500), where=_is_update))

    result = SCRIPT.run(plant)

    assert 4 == result.returncode, result.stderr
    assert "the former client secret could not be put back in its place" in result.stderr
    assert "all stores hold what they held before, but a new client secret" in result.stderr
    assert "may be alive (erp); run the rotation again: it sets that one everywhere" in result.stderr
    assert_credentials_alive(plant)
    assert in_keeper(plant)[1] == plant.old_password

    plant.wire.rules.clear()
    made = str(plant.client["secret"])
    assert 0 == SCRIPT.run(plant).returncode
    assert (plant.client_id, made) == in_keeper(plant)
    assert_true_state(plant)


def _made_and_nobody_told(plant: KeycloakPolicyPlant) -> None:
    """Have the server make a secret, as a run that is killed then, or somebody in the console."""
    plant.keycloak.regenerate(REALM, plant.client_id)


def _told_to_keeper(plant: KeycloakPolicyPlant) -> None:
    """Have only Keeper hold the one that was made."""
    _made_and_nobody_told(plant)
    plant.set_field("keycloak_client_secret", str(plant.client["secret"]))


@pytest.mark.parametrize("state", [_made_and_nobody_told, _told_to_keeper])
def test_an_interrupted_rotation_is_brought_to_its_end(
    plant: KeycloakPolicyPlant, state: Callable[[KeycloakPolicyPlant], None]
) -> None:
    """One more secret would end the one that a store still has: the server's is set everywhere in its place."""
    state(plant)
    made = str(plant.client["secret"])
    _watch(plant)

    result = SCRIPT.run(plant)

    assert 0 == result.returncode
    assert "the present one is set everywhere, and no other is made; rotate once more for a new one" in result.stderr
    assert (plant.client_id, made) == in_keeper(plant) == in_vault(plant)
    assert_true_state(plant)
    assert_silent(plant, result)


def test_a_rotated_secret_that_no_store_holds_is_replaced(plant: KeycloakPolicyPlant) -> None:
    """Nobody is waiting for it: the next rotation makes another."""
    _told_to_keeper(plant)
    plant.key_vault.set(VAULT, plant.password_name, str(plant.client["secret"]))
    made = str(plant.client["secret"])

    result = SCRIPT.run(plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert made != in_keeper(plant)[1]
    assert_true_state(plant)


@pytest.mark.parametrize("why", ["the policy keeps none", "the policy is off by now"])
@pytest.mark.parametrize("fails", [False, True], ids=["", "and a store fails"])
def test_a_former_secret_that_the_server_does_not_keep_is_missed_and_said(
    plant: KeycloakPolicyPlant, why: str, fails: bool
) -> None:
    """It shows only then. It is put back all the same; or every store gets the new one."""
    policy = plant.keycloak.realms[REALM].policy
    assert policy
    off = why == "the policy is off by now"
    plant.keycloak.realms[REALM].policy = None if off else replace(policy, rotated_life=0)
    before = State.of(plant)
    if fails:
        plant.wire.rules.append(Rule(faults.status(403), where=is_vault_write, times=4))
    else:
        plant.set_field("keep_previous_keys", "1")

    result = SCRIPT.run(plant)

    assert int(fails) == result.returncode
    assert "the server has not kept the former secret alive" in result.stderr
    assert_credentials_alive(plant)
    if fails:
        assert "all put back as it was" in result.stderr
        assert_as_before(plant, before)
    else:
        assert [plant.client_id] == [key.key_id for key in plant.issued()]
        assert "Kept: none" in (plant.keeper.value(plant.user_uid, "last_rotation") or "")
        assert plant.old_password != in_keeper(plant)[1]


def test_a_policy_of_which_the_client_shows_nothing_yet() -> None:
    """The secret is made here; the policy gives it an end, which is told, and from then on goes its own way."""
    with on_loopback(KeycloakPlant) as plant:
        plant.keycloak.realms[REALM].policy = KeycloakPolicyPlant.policy
        first = SCRIPT.run(plant)

        assert (0, "") == (first.returncode, first.stderr)
        assert "A client policy (`secret-rotation`) has given the new secret an end: " in first.stdout
        assert custom_fields(plant, "expires")[0]["value"]
        assert_true_state(plant)

        assert "until every store has the new one" in SCRIPT.run(plant).stdout


def test_a_policy_that_is_gone_leaves_no_end_behind(plant: KeycloakPolicyPlant) -> None:
    """The record's field is empty again."""
    assert 0 == SCRIPT.run(plant).returncode
    plant.keycloak.realms[REALM].policy = None
    for _ in range(2):
        assert 0 == SCRIPT.run(plant).returncode

    assert [[]] == [one["value"] for one in custom_fields(plant, "expires")]
    assert EXPIRES not in plant.attributes


@pytest.mark.parametrize("fails", [False, True], ids=["", "and a store fails"])
def test_a_secret_that_has_ended_is_replaced(plant: KeycloakPolicyPlant, fails: bool) -> None:
    """It logs nobody in; where a store fails it does again, since the server would make yet another at its old end."""
    plant.client["attributes"] = {EXPIRES: "1700000000"}
    assert not plant.logs_in(plant.client_id, plant.old_password)
    if fails:
        plant.wire.rules.append(Rule(faults.status(403), where=is_vault_write, times=4))

    result = SCRIPT.run(plant)

    assert int(fails) == result.returncode, result.stderr
    assert_credentials_alive(plant)
    assert plant.old_password == in_keeper(plant)[1] if fails else plant.old_password != in_keeper(plant)[1]


def test_an_interrupted_rotation_whose_secret_has_ended_is_left_behind(plant: KeycloakPolicyPlant) -> None:
    """It would get no token wherever it was set: another one is made."""
    plant.keycloak.regenerate(REALM, plant.client_id)
    made = str(plant.client["secret"])
    plant.attributes[EXPIRES] = "1700000000"

    assert 0 == SCRIPT.run(plant).returncode
    assert made != in_keeper(plant)[1]
    assert_true_state(plant)


def test_a_lost_answer_is_told_by_the_rotated_secret(plant: KeycloakPolicyPlant) -> None:
    """Nobody was told the new one; the former one takes its place again."""
    client = dict(plant.client)
    plant.wire.rules.append(
        Rule(
            faults.effect_no_answer(),
            where=lambda one: one.method == "POST" and one.path.endswith("/client-secret"),
            nth=1,
        )
    )
    result = SCRIPT.run(plant)

    assert 1 == result.returncode, result.stderr
    assert client == plant.client


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("stands", [False, True], ids=["", "nor by an update"])
def test_a_rotated_secret_that_cannot_be_ended_is_taken_away_by_an_update(
    plant: KeycloakPolicyPlant, stands: bool
) -> None:
    """Where neither works the new one is in place, and the line names what is alive."""
    plant.set_field("deadline_seconds", "10")
    plant.wire.rules.append(Rule(faults.status(403), where=_ends_the_rotated))
    if stands:
        plant.wire.rules.append(Rule(faults.status(403), where=_is_update))

    result = SCRIPT.run(plant)

    assert (3 if stands else 0) == result.returncode, result.stderr
    assert stands == ("1 other client secret of client erp still alive: erp (rotated)" in result.stderr)
    assert stands == plant.logs_in(plant.client_id, plant.old_password)
    assert_true_state(plant, kept=["erp (rotated)"] if stands else [])


@pytest.mark.usefixtures("short_waits")
def test_what_somebody_else_sets_meanwhile_is_theirs(plant: KeycloakPolicyPlant) -> None:
    """This run leaves it alone, and says that a person must look."""

    def change(request: Request) -> bool:
        if is_vault_write(request):
            plant.keycloak.set_secret(REALM, plant.client_id, "set by another hand")
            return True
        return False

    plant.wire.rules.append(Rule(faults.status(403), where=change, times=4))
    result = SCRIPT.run(plant)

    assert 4 == result.returncode, result.stderr
    assert "set by another hand" == plant.client["secret"]
    assert_silent(plant, result)


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("by_the_server", [False, True])
def test_the_former_secret_is_put_back_where_it_outlives_the_new_one(
    plant: KeycloakPolicyPlant, by_the_server: bool
) -> None:
    """Whoever types another secret in ends the new one alone; who has the server make one ends the former one."""
    former = in_keeper(plant)

    def change(request: Request) -> bool:
        if plant.client["secret"] != former[1] and is_vault_write(request) and not changed.hits:
            if by_the_server:
                plant.keycloak.regenerate(REALM, plant.client_id)
            else:
                plant.keycloak.set_secret(REALM, plant.client_id, "set by another hand")
            return True
        return False

    changed = Rule(faults.delay(0), where=change, times=1)
    plant.wire.rules.append(changed)
    result = SCRIPT.run(plant)

    assert changed.hits
    assert 4 == result.returncode, result.stderr
    assert by_the_server == ("no longer works" in result.stderr)
    assert by_the_server != (former == in_keeper(plant))
    assert by_the_server != plant.logs_in(*former)
    assert_credentials_alive(plant)
    assert_silent(plant, result)
    assert 0 == SCRIPT.run(plant).returncode
    assert_true_state(plant)


@pytest.mark.usefixtures("short_waits")
def test_a_new_secret_that_somebody_has_ended_is_kept_nowhere(plant: KeycloakPolicyPlant) -> None:
    """Also where the record held no name that is known: it gets back what a person had typed, not what has ended."""
    plant.set_field("keycloak_client_id", "typed by hand")
    held = in_keeper(plant)

    def change(request: Request) -> bool:
        if is_vault_write(request):
            plant.keycloak.set_secret(REALM, plant.client_id, "set by another hand")
            return True
        return False

    refusal = Rule(faults.status(403), where=change)
    plant.wire.rules.append(refusal)
    result = SCRIPT.run(plant)

    assert refusal.hits
    assert 4 == result.returncode, result.stderr
    assert held == in_keeper(plant)
    assert (plant.client_id, plant.old_password) == in_vault(plant)
    assert plant.logs_in(*in_vault(plant))
    assert "was left alive" not in result.stderr
    assert_silent(plant, result)


def test_a_look_changes_nothing(plant: KeycloakPolicyPlant) -> None:
    """It says what the policy would keep, and until when the secret lasts."""
    plant.set_field("dry_run", "True")
    client = dict(plant.client)

    result = SCRIPT.run(plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert "to delete: erp (rotated)" in result.stdout
    assert client == plant.client
    assert not {*ROTATED_ATTRIBUTES} & {*plant.attributes}


def test_a_roll_back_is_refused_before_anything_is_changed(plant: KeycloakPolicyPlant) -> None:
    """Secrets of a client have one id: no log tells which one was before it, and the former one is not the server's."""
    plant.set_field("keep_previous_keys", "1")
    assert 0 == SCRIPT.run(plant).returncode
    plant.wire.log.clear()

    assert_refuses(
        InProcess("rotate_keycloak_client_secret", RollBack),
        plant,
        1,
        "it cannot be told whether a former client secret of client erp is alive",
        "rotate: that makes a new one, and sets it everywhere",
    )


@pytest.mark.parametrize("kind", [KeycloakPlant, KeycloakPolicyPlant])
def test_who_is_stopped_just_after_the_secret_was_set_knows_of_it(
    kind: type[KeycloakPlant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server has made of it is not looked at any more; it can be taken back all the same."""
    with on_loopback(kind) as plant:
        for name, value in plant.environment().items():
            monkeypatch.setenv(name, value)
        deadline, spec = Deadline(60), Site(plant, SPEC).asked().issuer
        assert spec
        said: list[str] = []
        issuer = spec.build(Run("one", utc_now(), deadline, said.append, said.append), Session(Deadline(60)))
        issuer.list_keys()

        def stop(request: Request) -> bool:
            if request.method != "GET" and "/admin/" in request.path:
                deadline.stop("stopped by SIGTERM")
            return False

        plant.wire.rules.append(Rule(faults.status(500), where=stop))
        _, credential = issuer.create_key("one", None)

        assert credential.secret.reveal() == plant.client["secret"] != plant.old_password
        issuer.revive()
        assert plant.old_password == plant.client["secret"]
