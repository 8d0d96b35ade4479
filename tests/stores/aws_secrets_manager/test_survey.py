"""The audit's look at a mirror in AWS Secrets Manager, with boto3 against the sandbox."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.specs import MirrorQuery
from pam_scripts.logins.aws import Identity
from pam_scripts.rotation.seen import SeenMirror
from pam_scripts.rotation.shape import ROTATION_TAG
from pam_scripts.stores.aws_secrets_manager import Place
from pam_scripts.stores.aws_secrets_manager.mirror import Mark
from pam_scripts.stores.aws_secrets_manager.survey import survey
from sandbox.plant import Plant
from tests.support.in_process import InProcess

SECRET = "Plant/Reports"
TAG = "seeq-application-id"
ROTATION = "20261122T055000Z-0badc0de"


def look(plant: Plant, session: Session, owner: str = "") -> SeenMirror:
    """Look at the plant's secret as an audit does, for its own target or another, with the right to describe alone."""
    key_id, key = plant.aws.add_identity("auditor")
    plant.aws.allow_only(key_id, "secretsmanager:DescribeSecret")
    place = Place(SECRET, plant.aws.regions[0], Identity(key_id, Secret(key)), TAG, owner or plant.application_id)
    return survey([MirrorQuery(__name__, place, [SECRET], "aws_secret_id")], session, lambda _line: None)[0]


def test_what_a_rotation_has_set_is_told_by_the_version(plant: Plant, wired: Session) -> None:
    """Whose it is, and by which rotation, without its value; of another target no more than that."""
    plant.add_aws_mirror(SECRET)
    assert 0 == InProcess("rotate_seeq_application_key").run(plant).returncode
    rotation_id = plant.aws.versions(SECRET)[-1].version_id.rpartition("-")[0]

    seen = look(plant, wired).secrets[SECRET.lower()]
    assert ({TAG: plant.application_id, ROTATION_TAG: rotation_id}, True) == (seen.tags, seen.enabled)
    assert "another target" == look(plant, wired, "somebody").secrets[SECRET.lower()].tags[TAG]
    assert {"DescribeSecret"} == {request.headers["x-amz-target"].partition(".")[2] for request in plant.wire.log[-2:]}


def test_the_version_that_readers_get_counts(plant: Plant, wired: Session) -> None:
    """One that a person has put on top has no mark; nor is one that was moved back the newest."""
    ours = Mark(TAG, plant.application_id).of(ROTATION)
    plant.aws.add_secret(SECRET)
    plant.aws.put(SECRET, "x", version_id=ours)
    assert ROTATION == look(plant, wired).secrets[SECRET.lower()].rotation_id

    plant.aws.put(SECRET, "repaired by hand")
    assert "" == look(plant, wired).secrets[SECRET.lower()].rotation_id


def test_what_is_not_there_is_missing_or_deleted(plant: Plant, wired: Session) -> None:
    """So is a secret without a value; one that is to be deleted cannot be written."""
    assert SeenMirror() == look(plant, wired)
    plant.aws.add_secret(SECRET)
    assert SeenMirror() == look(plant, wired)
    plant.aws.schedule_deletion(SECRET)
    assert SeenMirror(deleted=frozenset({SECRET.lower()})) == look(plant, wired)


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda plant: plant.aws.rotate_by_itself(SECRET), "rotated", "AWS itself rotates it"),
        (lambda plant: plant.aws.give_to_service(SECRET, "rds"), "managed", "another service of AWS manages"),
        (
            lambda plant: plant.aws.refuse("ExpiredTokenException", "expired"),
            "unreadable",
            "the temporary access key has ended",
        ),
        (
            lambda plant: plant.aws.refuse("AccessDeniedException", "no"),
            "unreadable",
            "the identity may not do this",
        ),
    ],
)
def test_what_the_next_rotation_would_refuse_is_told(
    change: Callable[[Plant], None], code: str, told: str, plant: Plant, wired: Session
) -> None:
    """In the same words, with the way out; only what could not be asked is called so."""
    plant.aws.add_secret(SECRET, json.dumps({}))
    change(plant)

    trouble = look(plant, wired).trouble
    assert trouble
    assert (f"vault-{code}", True, True) == (trouble.code, told in trouble.what, bool(trouble.way_out))


@pytest.mark.parametrize("may_list", [True, False])
def test_many_are_looked_for_in_pages_of_the_list(may_list: bool, plant: Plant, wired: Session) -> None:
    """An account of 150 takes two requests, and one more for each that is not listed; without the right one for each.

    What is seen is the same, and it is said which of the two it was.
    """
    key_id, key = plant.aws.add_identity("auditor")
    plant.aws.allow_only(key_id, "secretsmanager:DescribeSecret", *(["secretsmanager:ListSecrets"] if may_list else []))
    names = [f"plant/{number:03}" for number in range(150)]
    for name in names:
        plant.aws.add_secret(name)
        plant.aws.put(name, "x", version_id=Mark(TAG, name).of(ROTATION))
    plant.aws.schedule_deletion(names[7])
    plant.aws.rotate_by_itself(names[8])
    plant.aws.give_to_service(names[9], "rds")
    identity = Identity(key_id, Secret(key))
    wanted = [*names[:20], "plant/missing"]
    places = [Place(name, plant.aws.regions[0], identity, TAG, name) for name in wanted]
    told: list[str] = []
    before = len(plant.wire.log)
    looks = [MirrorQuery(__name__, place, [place.secret_id], "aws_secret_id") for place in places]
    seen = survey(looks, wired, told.append)
    asked = Counter(one.headers["x-amz-target"].partition(".")[2] for one in plant.wire.log[before:])

    assert {ROTATION} == {one.secrets[name].rotation_id for name, one in zip(names[:7], seen, strict=False)}
    assert SeenMirror(deleted=frozenset({names[7]})) == seen[7]
    assert ["vault-rotated", "vault-managed"] == [one.trouble.code for one in seen if one.trouble]
    assert SeenMirror() == seen[-1]
    assert asked == ({"ListSecrets": 2, "DescribeSecret": 1} if may_list else {"ListSecrets": 1, "DescribeSecret": 21})
    assert may_list == any("ListSecrets, 150 secrets" in line for line in told)
    assert told[-1].endswith(": DescribeSecret, 21 of 21")
