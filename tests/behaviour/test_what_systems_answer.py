"""What real systems do that a rotation must take as it comes, met by the file as attached."""

from __future__ import annotations

import pytest

from sandbox.plant import Plant
from tests.support.invariants import Script, assert_refuses, assert_rotates, assert_true_state


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_a_record_that_is_shared_twice_is_saved_where_any_copy_may_be(
    script: Script, plant: Plant, first: bool, second: bool
) -> None:
    """A shortcut in another folder makes it come twice, each with rights of its own, in no certain order."""
    plant.keeper.set_editable(plant.user_uid, first)
    plant.keeper.share_again(plant.user_uid, editable=second)

    assert_rotates(script, plant)
    assert_true_state(plant)


def test_a_record_that_is_shared_twice_to_be_read_alone_is_refused(script: Script, plant: Plant) -> None:
    """Nothing is made for a record that could not take it."""
    plant.keeper.set_editable(plant.user_uid, False)
    plant.keeper.share_again(plant.user_uid, editable=False)

    assert_refuses(script, plant, 2, plant.user_uid, "not editable")


def test_seeqs_renewed_sessions_are_followed(script: Script, plant: Plant) -> None:
    """Each answer has new tokens, and those before are good for nothing any more."""
    plant.seeq.renews_sessions = True
    plant.seeq.renewal_grace = 0.5

    assert_rotates(script, plant)
    assert_true_state(plant)


def test_the_gateways_configuration_is_read_from_its_secret_in_aws(script: Script, plant: Plant) -> None:
    """With the host's own identity, where the Gateway keeps it there and nowhere else."""
    key_id, key = plant.aws.add_identity("gateway")
    plant.aws.add_secret("plant/gateway", plant.keeper.config_base64())
    region = plant.aws.regions[0]

    assert_rotates(
        script,
        plant,
        environment={
            "KSM_CONFIG": None,
            "AWS_KMS_SECRET_NAME": "plant/gateway",
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": key,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        },
    )
    assert_true_state(plant)
