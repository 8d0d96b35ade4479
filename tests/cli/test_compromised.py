"""`compromised`: what a key that is no secret any more opens is said, then it is replaced with nothing kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pam_scripts.rotation.ops_log import read_entries
from sandbox.iam_users import IamPlant
from sandbox.messaging import RabbitPlant
from sandbox.plant import AnyPlant, AzureAppPlant, Plant, on_loopback
from sandbox.publishing import SECRET, PublishPlant, previous
from sandbox.realm import REALM, KeycloakPolicyPlant
from sandbox.services import keeper
from sandbox.slots import SlotPlant
from tests.cli.conftest import Command, attach
from tests.support.in_process import InProcess
from tests.support.invariants import State, assert_as_before, assert_true_state, in_keeper, writes


def test_it_says_who_used_and_holds_it_and_then_kills_every_other_key(command: Command) -> None:
    """A record that keeps one previous key keeps none now; the same admin's other record is named, and its limits."""
    with on_loopback(Plant) as plant:
        plant.set_field("keep_previous_keys", "1")
        plant.set_field("allow_targets", plant.application_id, plant.attached[0])
        assert 0 == InProcess("rotate_seeq_application_key").run(plant).returncode
        present, _ = in_keeper(plant)
        custom = [keeper.text("application_id", "0EF1A2B3-4C5D-6E70-8F90-A1B2C3D4E5F6")]
        other = plant.keeper.add_record("pamUser", "Second key", fields=[keeper.login("second")], custom=custom)
        for uid in (plant.user_uid, other):
            attach(plant, uid, plant.attached)
        result = command("compromised", plant.user_uid, "--yes", sandbox=plant)

        assert (0, "") == (result.returncode, result.stderr)
        said = [line.strip() for line in result.stdout.splitlines()]
        assert f"{plant.old_key_id} (alive beside it): never used" in said
        assert any(line.startswith(f"{present} (in Keeper): last used ") for line in said)
        assert {plant.id_name, plant.password_name} <= {*said}
        assert f"record 'Second key' ({other}), for rotate_seeq_application_key" in said
        assert f"allow_targets of record 'Seeq admin' ({plant.attached[0]}): {plant.application_id}" in said
        assert "none in allow_vaults, allow_secret_names:" in said
        assert "1 of 1 rotated, no key kept" in said
        assert present != assert_true_state(plant)
        entry = read_entries(plant.keeper.value(plant.user_uid, "last_rotation") or "")[0]
        assert ("suspected compromise", {present, plant.old_key_id}) == (entry["reason"], {*entry["deleted"]})
        assert [] == [len(value) for value in plant.secrets() if value in result.stdout]


def test_it_says_where_the_issuer_does_not_tell_and_changes_nothing_where_it_only_looks(command: Command) -> None:
    """Entra tells nothing of uses; --check ends before anything is written."""
    with on_loopback(AzureAppPlant) as plant:
        attach(plant, plant.user_uid, plant.attached)
        before = State.of(plant)
        result = command("compromised", plant.user_uid, "--check", sandbox=plant)

        assert (0, "") == (result.returncode, result.stderr)
        assert "its issuer does not say by whom, or when" in result.stdout
        assert "1 of 1 would be rotated, no key kept" in result.stdout
        assert [] == writes(plant.wire.log)
        assert_as_before(plant, before)


@pytest.mark.parametrize("what", ["compromised", "rollback"])
def test_a_password_that_keeper_makes_is_left_to_keeper(command: Command, what: str) -> None:
    """It is refused in words, named, and nothing is touched."""
    with on_loopback(PublishPlant) as plant:
        attach(plant, plant.user_uid, plant.attached)
        result = command(what, plant.user_uid, "--yes", sandbox=plant)

        assert 2 == result.returncode
        assert "the password that Keeper itself makes" in result.stderr
        assert f"bad input: record 'ERP database' ({plant.user_uid})" in result.stdout
        assert [] == writes(plant.wire.log)


def test_no_mirror_keeps_the_value_that_somebody_may_know(command: Command) -> None:
    """Services that accept the one before would let it in: both names hold the new one, and both are named."""
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        plant.keep_previous("the-value-of-two-years-ago")
        attach(plant, plant.user_uid, plant.attached)
        result = command("compromised", plant.user_uid, "--yes", sandbox=plant)

        assert (0, "") == (result.returncode, result.stderr)
        assert {SECRET, previous(SECRET)} <= {line.strip() for line in result.stdout.splitlines()}
        (new,) = {*plant.holdings().values(), *plant.second_holdings().values()}
        assert new != plant.old_password


def _in_slots(plant: SlotPlant) -> str:
    value = plant.resource.value(plant.second)
    plant.set_field("key_slot", f"{plant.second}-0123456789ab")
    plant.set_field("key_value", value)
    return value


def _in_keycloak(plant: KeycloakPolicyPlant) -> str:
    plant.keycloak.regenerate(REALM, plant.client_id)
    value = str(plant.client["secret"])
    plant.set_field("keycloak_client_secret", value)
    return value


def _in_iam(plant: IamPlant) -> str:
    # IAM's keys have no label: the lease tells when a rotation was at work that never ended.
    begun = plant.clock.now() - timedelta(hours=2)
    key_id, value = plant.add_key("interrupted", created_days_ago=2 / 24)
    plant.set_field("iam_access_key_id", key_id)
    plant.set_field("iam_secret_access_key", value)
    plant.set_field("rotation_lease", f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")
    return value


def _in_rabbitmq(plant: RabbitPlant) -> str:
    plant.rabbitmq.add_user(plant.spare, value := "set by a run that was killed")
    plant.set_field("rabbitmq_username", plant.spare)
    plant.set_field("rabbitmq_password", value)
    return value


@pytest.mark.parametrize(
    ("kind", "interrupt"),
    [(SlotPlant, _in_slots), (KeycloakPolicyPlant, _in_keycloak), (IamPlant, _in_iam), (RabbitPlant, _in_rabbitmq)],
    ids=["slots", "Keycloak", "IAM", "RabbitMQ"],
)
def test_a_key_that_an_interrupted_rotation_made_is_not_taken_for_a_new_one(
    kind: type[AnyPlant], interrupt: Callable[[Any], str], command: Command
) -> None:
    """The first run brings that rotation to its end, with status 3 and the way out; the second one makes a new key."""
    with on_loopback(kind) as plant:
        attach(plant, plant.user_uid, plant.attached)
        known = interrupt(plant)
        first = command("compromised", plant.user_uid, "--yes", sandbox=plant)

        assert 3 == first.returncode, first.stderr
        assert "whoever knows that one can still log in; run this command again" in first.stderr
        assert "0 of 1 rotated" in first.stdout
        assert known == in_keeper(plant)[1]

        second = command("compromised", plant.user_uid, "--yes", sandbox=plant)
        assert (0, "1 of 1 rotated, no key kept") == (second.returncode, second.stdout.splitlines()[-1])
        assert known != in_keeper(plant)[1]
        assert_true_state(plant)
