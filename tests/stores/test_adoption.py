"""What is not ours in a mirror, met by a script as it is attached."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.plant import VAULT, Plant
from tests.support.invariants import Script, State, assert_as_before, assert_rotates, in_keeper, in_vault, writes

THEIRS = json.dumps({"password": "somebody else's", "host": "db"})
SECRET = "plant/reports"


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"tags": {"team": "another"}}, "adopt_secrets"),
        ({"enabled": False}, "adopt_secrets"),
        ({"tags": {"entra-application-id": "another"}}, "is tagged as belonging to another"),
        ({"tags": {"keeper-record": "another"}}, "is tagged as belonging to another"),
    ],
)
def test_somebody_elses_secret_in_the_vault_is_left_alone(
    properties: dict[str, Any], told: str, script: Script, plant: Plant
) -> None:
    """Exit 1 with the way out, and not one version more."""
    plant.set_field("secret_name_prefix", "fresh")
    name = f"fresh-{plant.application_id}-key-password"
    plant.key_vault.set(VAULT, name, "somebody else's", **properties)
    before, versions = State.of(plant), plant.key_vault.versions(VAULT, name)

    result = script.run(plant)
    assert 1 == result.returncode, result.stderr
    assert told in result.stderr
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)
    assert versions == plant.key_vault.versions(VAULT, name)


def test_the_record_can_have_a_strangers_secret_overwritten(script: Script, plant: Plant) -> None:
    """That is said; tags stay, and from then on it is ours."""
    plant.set_field("secret_name_prefix", "fresh")
    plant.name_secrets(f"fresh-{plant.application_id}")
    plant.key_vault.set(VAULT, plant.password_name, "somebody else's", tags={"team": "another"})
    plant.set_field("adopt_secrets", "True")

    result = assert_rotates(script, plant)
    assert f"secret {plant.password_name} is taken over, since 'adopt_secrets' is 'True'" in result.stdout
    assert "another" == (plant.key_vault.versions(VAULT, plant.password_name)[-1].tags or {})["team"]
    plant.set_field("adopt_secrets", "False")
    assert "taken over" not in assert_rotates(script, plant).stdout
    assert in_keeper(plant) == in_vault(plant)


def test_somebody_elses_secret_in_aws_is_left_alone(script: Script, plant: Plant) -> None:
    """Exit 1 with the way out, and not one version more."""
    plant.add_aws_mirror(SECRET, THEIRS)
    before = State.of(plant)

    result = script.run(plant)
    assert 1 == result.returncode, result.stderr
    assert "set 'adopt_secrets' to 'True'" in result.stderr
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)
    assert [THEIRS] == [version.value for version in plant.aws.versions(SECRET)]


def test_a_secret_of_ours_in_aws_stays_ours(script: Script, plant: Plant) -> None:
    """By what a rotation has set, whatever a person has put on top; words of others stay."""
    plant.add_aws_mirror(SECRET)
    assert_rotates(script, plant)
    plant.aws.put(SECRET, THEIRS)

    assert_rotates(script, plant)
    held = json.loads(plant.aws.value(SECRET) or "")
    assert in_keeper(plant) == (held["access_key_id"], held["access_key_password"])
    assert "db" == held["host"]
