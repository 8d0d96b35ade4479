"""AWS Secrets Manager's mirror, with boto3 against the sandbox."""

from __future__ import annotations

import json

import pytest

from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.rotation.roles import Credential, Publication
from pam_scripts.stores.aws_secrets_manager import SecretMirror, Wire
from sandbox.plant import Plant

SECRET = "plant/reports"


def pair(key_id: str) -> str:
    """Return a key as AWS holds it."""
    return json.dumps({"access_key_id": key_id, "access_key_password": f"value of {key_id}"})


def store(plant: Plant, session: Session) -> SecretMirror:
    """Return the plant's mirror, as one run has it."""
    key_id, key = plant.aws.add_identity("test")
    return SecretMirror(Wire(plant.aws.regions[0], key_id, Secret(key), session), SECRET, SHAPE)


def publication(key_id: str = "K", rotation: str = "R") -> Publication:
    """Return a credential on its way."""
    return Publication(Credential(key_id, Secret(f"value of {key_id}")), rotation, utc_now(), None)


@pytest.mark.parametrize(("listed", "expected"), [({"old", "theirs"}, "theirs"), ({"old"}, "old"), (None, "theirs")])
def test_what_another_hand_put_since_is_brought_back_unless_it_is_dead(
    plant: Plant, wired: Session, listed: set[str] | None, expected: str
) -> None:
    """The version before ours is what readers had last; a key that the issuer does not list is put back nowhere."""
    plant.add_aws_mirror(SECRET, pair("old"))
    mirror = store(plant, wired)
    before = mirror.examine()
    plant.aws.put(SECRET, pair("theirs"))
    mirror.write(publication())

    mirror.put_back(before, publication(), listed)
    assert pair(expected) == plant.aws.value(SECRET)
