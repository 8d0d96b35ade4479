"""What is particular to Keycloak's client secrets: what a failure puts back, what is left as it is, limits, proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pam_scripts.rotate_keycloak_client_secret import SCRIPT as SPEC
from sandbox import faults
from sandbox.faults import Rule
from sandbox.log import Request
from sandbox.plant import VAULT, on_loopback
from sandbox.realm import ADMIN, REALM, KeycloakPlant
from sandbox.services import keeper
from sandbox.services.keycloak import MASTER
from tests.contracts.on_site import Site
from tests.support.in_process import InProcess
from tests.support.invariants import (
    State,
    assert_as_before,
    assert_refuses,
    assert_silent,
    assert_true_state,
    in_keeper,
    is_vault_write,
)

SCRIPT = InProcess("rotate_keycloak_client_secret")


@pytest.fixture
def plant() -> Iterator[KeycloakPlant]:
    """Return a plant whose client has a service account."""
    with on_loopback(KeycloakPlant) as plant:
        yield plant


def _sets_a_secret(request: Request) -> bool:
    return request.method == "PUT" and "/clients/" in request.path


@pytest.mark.parametrize("path", ["", "/auth"])
@pytest.mark.parametrize("admin", ["attached", "configuration"])
def test_it_rotates(admin: str, path: str) -> None:
    """Each time all get a new secret that gets a token, the one before does not, and the rest of the client stays."""
    with on_loopback(KeycloakPlant, admin=admin, path=path) as plant:
        rest = {name: value for name, value in plant.client.items() if name != "secret"}
        values = [plant.old_password]
        for _ in range(2):
            former = in_keeper(plant)
            result = SCRIPT.run(plant)

            assert (0, "") == (result.returncode, result.stderr)
            assert "Verified: the new secret gets a token" in result.stdout
            assert_silent(plant, result)
            assert plant.client_id == assert_true_state(plant)
            assert not plant.logs_in(*former)
            values.append(in_keeper(plant)[1])
        assert 3 == len({*values})
        assert rest == {name: value for name, value in plant.client.items() if name != "secret"}


def test_without_a_service_account_it_is_said_that_nothing_proves_it() -> None:
    """The secret is read back; nobody is told that it logs in, and no token is asked for as the client."""
    with on_loopback(KeycloakPlant, provable=False) as plant:
        result = SCRIPT.run(plant)

        assert (0, "") == (result.returncode, result.stderr)
        assert "no login proves its secret: it is read back instead" in result.stdout
        assert "Verified" not in result.stdout
        assert plant.client_id == assert_true_state(plant)
        assert 1 == len([one for one in plant.wire.log if one.path.endswith("/token") and "keycloak" in one.host])


def test_the_former_secret_is_put_back(plant: KeycloakPlant) -> None:
    """Where a store cannot be written, the secret of before is set again, and what others changed meanwhile stays."""
    before, changed = State.of(plant), dict(plant.client)

    def refuse(request: Request) -> bool:
        if is_vault_write(request):
            plant.client["redirectUris"] = ["https://changed.plant.example/*"]
            return True
        return False

    plant.wire.rules.append(Rule(faults.status(403), where=refuse, times=4))
    result = SCRIPT.run(plant)

    assert 1 == result.returncode
    assert "all put back as it was" in result.stderr
    assert "until every store has that, nobody can log in anew" in result.stdout
    assert_as_before(plant, before)
    assert {**changed, "redirectUris": ["https://changed.plant.example/*"]} == plant.client
    assert plant.logs_in(plant.client_id, plant.old_password)


@pytest.mark.usefixtures("short_waits")
def test_where_it_cannot_be_put_back_every_store_gets_the_new_one(plant: KeycloakPlant) -> None:
    """The old one no longer logs in then: the new one goes wherever it can, and the line says who may lack it."""
    plant.wire.rules.append(Rule(faults.status(403), where=is_vault_write))
    plant.wire.rules.append(Rule(faults.status(500), where=lambda one: _sets_a_secret(one) and _was_set(plant)))
    plant.set_field("deadline_seconds", "10")

    result = SCRIPT.run(plant)

    assert 4 == result.returncode, result.stderr
    assert "the former client secret could not be put back" in result.stderr
    assert f"{VAULT} may not hold it" in result.stderr
    assert plant.logs_in(*in_keeper(plant))
    assert in_keeper(plant)[1] != plant.old_password


def _was_set(plant: KeycloakPlant) -> bool:
    """Say whether a secret was set before."""
    return any(_sets_a_secret(one) and one.ended for one in plant.wire.log)


def test_a_lost_answer_is_told_by_reading_the_secret(plant: KeycloakPlant) -> None:
    """Whether it was set shows in the client; what was done is undone."""
    before = dict(plant.client)
    plant.wire.rules.append(Rule(faults.effect_no_answer(), where=_sets_a_secret, nth=1))

    result = SCRIPT.run(plant)

    assert 1 == result.returncode, result.stderr
    assert before == plant.client


@pytest.mark.usefixtures("short_waits")
def test_a_name_is_set_anew_in_the_vault_like_the_secret_beside_it(plant: KeycloakPlant) -> None:
    """The client id stands there already: a refused write is made up for, so that its tags are this rotation's."""
    SCRIPT.run(plant)
    refusal = Rule(faults.status(403), method="PUT", path=f"/secrets/{plant.id_name}*", nth=1)
    plant.wire.rules = [refusal]

    result = SCRIPT.run(plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert refusal.hits
    pair = [plant.key_vault.versions(VAULT, name)[-1] for name in (plant.id_name, plant.password_name)]
    by_id, by_value = [(one.tags or {}).get("rotation-id") for one in pair]
    assert by_id == by_value


def test_what_somebody_else_sets_meanwhile_is_theirs(plant: KeycloakPlant) -> None:
    """Of two who set it the later one's stands: this one leaves that alone, and says that a person must look."""

    def change(request: Request) -> bool:
        if is_vault_write(request):
            plant.keycloak.set_secret(REALM, plant.client_id, "set by another hand")
            return True
        return False

    plant.wire.rules.append(Rule(faults.status(403), where=change, times=4))
    result = SCRIPT.run(plant)

    assert 4 == result.returncode, result.stderr
    assert plant.logs_in(plant.client_id, "set by another hand")
    assert_silent(plant, result)


def test_a_token_that_the_server_forgets_is_asked_for_again(plant: KeycloakPlant) -> None:
    """A server that starts anew knows none of its tokens; nobody need notice."""
    met: list[Request] = []

    def forget(request: Request) -> bool:
        if _sets_a_secret(request) and not met:
            met.append(request)
            plant.keycloak.forget_tokens()
        return False

    plant.wire.rules.append(Rule(faults.status(500), where=forget))
    result = SCRIPT.run(plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert met


def _its_own(plant: KeycloakPlant) -> None:
    """Have the record name the client that the admin logs in as."""
    plant.keycloak.allow(MASTER, ADMIN, MASTER, "manage-clients")
    plant.set_field("keycloak_realm", "")
    plant.set_field("keycloak_client", ADMIN)


REFUSED: dict[str, tuple[Callable[[KeycloakPlant], object], str]] = {
    "a server that the login does not name": (
        lambda plant: plant.set_field("keycloak_url", "https://evil.example.com"),
        "allows its login at https://keycloak.plant.example only",
    ),
    "another path there": (
        lambda plant: plant.set_field("keycloak_url", "https://keycloak.plant.example/auth"),
        "allows its login at https://keycloak.plant.example only",
    ),
    "no admin": (lambda plant: plant.attached.clear(), "no Keycloak admin credential"),
    "two admins": (
        lambda plant: plant.attached.append(
            plant.keeper.add_record(
                "login",
                "Keycloak admin, too",
                fields=[keeper.login(ADMIN), keeper.password(plant.admin_secret)],
                custom=[keeper.text("keycloak_url", "https://keycloak.plant.example")],
            )
        ),
        "2 attached records have a login and a field 'keycloak_url'",
    ),
    "a previous secret to keep, where no policy keeps one": (
        lambda plant: plant.set_field("keep_previous_keys", "1"),
        "a new secret ends the one before it: no client policy (`secret-rotation`) keeps that",
    ),
    "more previous secrets than one": (
        lambda plant: plant.set_field("keep_previous_keys", "2"),
        "Keycloak keeps one former client secret at most",
    ),
    "the admin's own": (_its_own, "which this rotation would delete"),
    "a bare id of another realm in the limit": (
        lambda plant: plant.set_field("allow_targets", "erp", plant.admin_uid),
        "allow_targets",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(plant: KeycloakPlant, case: str) -> None:
    """With status 2, and nothing written."""
    set_up, words = REFUSED[case]
    set_up(plant)
    assert_refuses(SCRIPT, plant, 2, words)


@pytest.mark.parametrize("named", ["plant/erp", "plant/*", "uuid"])
def test_a_limit_names_the_realm_or_the_servers_own_id(plant: KeycloakPlant, named: str) -> None:
    """A client id alone says too little where the login reaches several realms."""
    plant.set_field("allow_targets", str(plant.client["id"]) if named == "uuid" else named, plant.admin_uid)

    assert 0 == SCRIPT.run(plant).returncode


def test_the_admin_login_is_made_once() -> None:
    """A token serves all requests of a run until it ends."""
    with on_loopback(KeycloakPlant) as plant, pytest.MonkeyPatch.context() as patched:
        for name, value in plant.environment().items():
            patched.setenv(name, value)
        issuer = Site(plant, SPEC).issuer()
        issuer.connect()
        issuer.list_keys()
        issuer.list_keys()

        assert 1 == len([one for one in plant.wire.log if one.path.endswith("/token")])
