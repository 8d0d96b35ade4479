"""AWS Secrets Manager's mirror, with boto3 against the sandbox."""

from __future__ import annotations

import json

import pytest

from pam_scripts.core.errors import Refused
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.rotation.roles import Credential, Known, Publication
from pam_scripts.stores import Adoption
from pam_scripts.stores.aws_secrets_manager import SecretMirror, Wire
from sandbox.plant import Plant

SECRET = "plant/reports"


def pair(key_id: str) -> str:
    """Return a key as AWS holds it."""
    return json.dumps({"access_key_id": key_id, "access_key_password": f"value of {key_id}"})


def store(plant: Plant, session: Session, owner: str = "the target", *, adopt: bool = False) -> SecretMirror:
    """Return the plant's mirror, as one run has it."""
    key_id, key = plant.aws.add_identity("test")
    return SecretMirror(
        Wire(plant.aws.regions[0], key_id, Secret(key), session), SECRET, Adoption(SHAPE, asked=adopt), owner
    )


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


# -- whose a secret is ----------------------------------------------------------------------------

ROTATION = "20261122T055000Z-0badc0de"


def look(mirror: SecretMirror, *key_ids: str, **record: str) -> list[str]:
    """Look, and take over what may be; return what is said of it."""
    mirror.examine()
    return list(mirror.adopt(Known(record, key_ids)))


def rotate(plant: Plant, session: Session, owner: str, rotation: str = ROTATION) -> None:
    """Have a rotation of a target publish there."""
    mirror = store(plant, session, owner, adopt=True)
    mirror.examine()
    mirror.write(publication("theirs", rotation))


@pytest.mark.parametrize("repaired", [False, True])
def test_a_version_that_a_rotation_of_the_target_set_marks_the_secret(
    repaired: bool, plant: Plant, wired: Session
) -> None:
    """By its id, which needs no right of its own; a person's repair on top of it changes nothing."""
    plant.add_aws_mirror(SECRET)
    rotate(plant, wired, "the target")
    if repaired:
        plant.aws.put(SECRET, "repaired by hand")

    assert [] == look(store(plant, wired))


@pytest.mark.parametrize("repaired", [False, True])
def test_a_secret_of_another_target_is_refused(repaired: bool, plant: Plant, wired: Session) -> None:
    """Its readers would get our key; no switch allows that."""
    plant.add_aws_mirror(SECRET)
    rotate(plant, wired, "another")
    if repaired:
        plant.aws.put(SECRET, "repaired by hand")

    with pytest.raises(
        Refused, match=r"secret plant/reports was set by a rotation of another target than the target; give one"
    ):
        look(store(plant, wired, adopt=True), "theirs")


@pytest.mark.parametrize("text", ["somebody else's", '{"password": "x"}', pair("dead"), "[1]"])
def test_a_secret_that_nobody_marked_is_refused_with_the_way_out(text: str, plant: Plant, wired: Session) -> None:
    """The record can say that it is to be overwritten."""
    plant.add_aws_mirror(SECRET, text)

    with pytest.raises(
        Refused, match=r"holds what no rotation of this record has set; .*'adopt_secrets' set to 'True'"
    ):
        look(store(plant, wired), "old")
    assert ["'adopt_secrets' is 'True'"] == [
        line.partition("since ")[2] for line in look(store(plant, wired, adopt=True), "old")
    ]


def test_a_secret_of_the_target_is_taken_over_and_that_is_said(plant: Plant, wired: Session) -> None:
    """It is empty, the issuer lists its key, or Keeper holds the same."""
    plant.add_aws_mirror(SECRET)
    said = look(store(plant, wired))
    plant.aws.put(SECRET, pair("old"))
    said += look(store(plant, wired), "old")
    said += look(store(plant, wired), access_key_id="old", access_key_password="value of old")

    reasons = ["it is empty", "it holds a key of the target", "it holds what was published before"]
    assert reasons == [line.partition("since ")[2] for line in said]


def test_words_of_others_in_the_object_stay(plant: Plant, wired: Session) -> None:
    """A reader's host name is not ours to drop; a put that is repeated is the same version."""
    text = json.dumps({"host": "seeq", **json.loads(pair("old"))})
    plant.add_aws_mirror(SECRET, text)
    mirror = store(plant, wired)
    before = mirror.examine()

    mirror.write(publication())
    mirror.write(publication())
    assert {"host": "seeq", **json.loads(pair("K"))} == json.loads(plant.aws.value(SECRET) or "")
    assert mirror.read().holds(mirror.parts(publication().credential))
    assert 2 == len(plant.aws.versions(SECRET))
    mirror.put_back(before, publication(), {"old"})
    assert text == plant.aws.value(SECRET)
