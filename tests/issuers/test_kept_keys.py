"""What becomes of a kept key where the next rotation fails: it lives, or the message says that it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from sandbox.iam_users import IamPlant
from sandbox.messaging import RabbitPlant
from sandbox.plant import VAULT, AnyPlant, on_loopback
from sandbox.realm import KeycloakPolicyPlant
from sandbox.services.key_vault import ALL
from sandbox.slots import SlotPlant
from tests.support.in_process import InProcess

# By script: its plant, and whether making a key ends the one that was kept.
KINDS: Mapping[str, tuple[type[AnyPlant], bool]] = {
    "rotate_azure_resource_key": (SlotPlant, True),
    "rotate_aws_access_key": (IamPlant, True),
    # Their former passwords and secrets can be put back, as they were.
    "rotate_rabbitmq_password": (RabbitPlant, False),
    "rotate_keycloak_client_secret": (KeycloakPolicyPlant, False),
}


@pytest.fixture(params=KINDS)
def stem(request: pytest.FixtureRequest) -> str:
    """Return the name of each of the scripts."""
    return str(request.param)


pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
def plant(stem: str, short_waits: None) -> Iterator[AnyPlant]:  # noqa: ARG001 - the rotation in here has them, too
    """Return its plant, in which one rotation has kept the former key."""
    with on_loopback(KINDS[stem][0]) as plant:
        plant.set_field("keep_previous_keys", "1")
        first = InProcess(stem).run(plant)
        assert 0 == first.returncode, first.stderr
        assert plant.logs_in(plant.old_key_id, plant.old_password)
        yield plant


def _log(plant: AnyPlant) -> str:
    return (plant.keeper.value(plant.user_uid, "last_rotation") or "").partition("\n\n")[0]


def test_a_failure_says_so_where_the_kept_key_does_not_come_back(plant: AnyPlant, stem: str) -> None:
    """Stores are as they were, but a person must look at who used the kept key; failing once more ends nothing more."""
    script, ends = InProcess(stem), KINDS[stem][1]
    held = plant.keeper.value(plant.user_uid, next(iter(plant.outputs)))
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"set"})
    result = script.run(plant)

    assert held == plant.keeper.value(plant.user_uid, next(iter(plant.outputs)))
    assert ends != plant.logs_in(plant.old_key_id, plant.old_password)
    says_so = f"{plant.old_key_id} no longer works, since the new one was made in its place" in result.stderr
    assert (4 if ends else 1, ends) == (result.returncode, says_so), result.stderr
    assert "all put back as it was" in result.stderr
    assert "Key Vault Secrets Officer" in result.stderr, "and what mends it"
    assert ends == (f"Deleted: {plant.old_key_id}\n" in _log(plant))

    again = script.run(plant)

    assert 1 == again.returncode, again.stderr
    assert "no longer works" not in again.stderr


def test_where_no_key_was_made_the_kept_one_lives(plant: AnyPlant, stem: str) -> None:
    """What fails before that has changed nothing."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"get"})
    result = InProcess(stem).run(plant)

    assert 1 == result.returncode, result.stderr
    assert "nothing changed" in result.stderr
    assert plant.logs_in(plant.old_key_id, plant.old_password)


def test_at_the_first_time_nobody_knows_who_uses_the_other_slot() -> None:
    """So a failure says of that, too, that it does not come back."""
    with on_loopback(SlotPlant, first_time=True) as plant:
        plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"set"})
        result = InProcess("rotate_azure_resource_key").run(plant)

        assert 4 == result.returncode, result.stderr
        assert f"access key {plant.second} no longer works" in result.stderr


@pytest.mark.parametrize("log", ["", "call Jane before you touch this"])
def test_where_the_log_was_emptied_nobody_knows_it_either(log: str) -> None:
    """The other slot may have the key that a rotation has kept, or was killed before it deleted that."""
    with on_loopback(SlotPlant) as plant:
        plant.set_field("keep_previous_keys", "1")
        script = InProcess("rotate_azure_resource_key")
        assert 0 == script.run(plant).returncode
        plant.set_field("last_rotation", log)
        plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"set"})
        result = script.run(plant)

        assert 4 == result.returncode, result.stderr
        assert f"access key {plant.first} no longer works" in result.stderr


def test_a_key_that_makes_room_is_named_where_none_can_be_made() -> None:
    """No store was changed, yet whoever uses that key is cut off."""
    with on_loopback(IamPlant, mirrored=False) as plant:
        plant.set_field("keep_previous_keys", "1")
        script = InProcess("rotate_aws_access_key")
        assert 0 == script.run(plant).returncode
        plant.aws.deny(plant.admin_key_id, "iam:CreateAccessKey")
        result = script.run(plant)

        assert 4 == result.returncode, result.stderr
        assert f"no store was changed, but access key {plant.old_key_id}" in result.stderr
        assert "nothing changed" not in result.stderr
