"""AWS Secrets Manager's mirror, with boto3 against the sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.logins.aws import Identity
from pam_scripts.rotation.roles import Credential, Known, Publication
from pam_scripts.stores import Adoption
from pam_scripts.stores.aws_secrets_manager.client import Client
from pam_scripts.stores.aws_secrets_manager.mirror import MOST_BYTES, SecretMirror
from pam_scripts.stores.aws_secrets_manager.refusals import REFUSALS, ROTATED, refusal_of
from sandbox.plant import Plant, on_loopback
from sandbox.publishing import PublishPlant
from sandbox.services import keeper
from tests.support.in_process import InProcess
from tests.support.invariants import assert_refuses, writes

SECRET = "plant/reports"


def pair(key_id: str) -> str:
    """Return a key as AWS holds it."""
    return json.dumps({"access_key_id": key_id, "access_key_password": f"value of {key_id}"})


def store(plant: Plant, session: Session, owner: str = "the target", *, adopt: bool = False) -> SecretMirror:
    """Return the plant's mirror, as one run has it."""
    key_id, key = plant.aws.add_identity("test")
    wire = Client(plant.aws.regions[0], Identity(key_id, Secret(key)), session)
    return SecretMirror(wire, SECRET, Adoption(SHAPE, asked=adopt), owner)


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


@pytest.mark.parametrize(("longer", "status"), [(0, 0), (1, 1)], ids=["just fits", "one byte too many"])
def test_a_value_is_measured_before_anything_is_made(longer: int, status: int) -> None:
    """64 KiB with the text around it: to the byte, and in bytes."""
    template = "\u00e9" * 30_000 + " value: {password}"
    room = MOST_BYTES - len(template.replace("{password}", "x" * 32).encode())
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        plant.add_aws_mirror(SECRET)
        plant.set_field("key_vault_name", "")
        plant.set_field("value_template", "x" * (room + longer) + template)
        plant.set_field("value_quoting", "plain")
        before = plant.holdings()
        result = InProcess("publish_secret").run(plant)

        assert status == result.returncode, result.stderr
        if status:
            assert f"it would have {MOST_BYTES + 1} bytes, and a secret takes 65536" in result.stderr
            assert "nothing changed" in result.stderr
            assert [] == writes(plant.wire.log)
            assert before == plant.holdings()


def test_what_stands_beside_a_key_is_measured_with_it(plant: Plant, wired: Session) -> None:
    """A JSON object that others fill up leaves no room: said by the look."""
    plant.add_aws_mirror(SECRET, json.dumps({**json.loads(pair("old")), "others": "x" * 65_400}))

    with pytest.raises(Refused, match="bytes, and a secret takes 65536") as caught:
        store(plant, wired).examine()
    assert "what others keep in the secret" in caught.value.next_step


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
        Refused, match=r"secret plant/reports was set by a rotation of another target, not of the target; give one"
    ):
        look(store(plant, wired, adopt=True), "theirs")


@pytest.mark.parametrize("text", ["somebody else's", '{"password": "x"}', pair("dead"), "[1]"])
def test_a_secret_that_nobody_marked_is_refused_with_the_way_out(text: str, plant: Plant, wired: Session) -> None:
    """The record can say that it is to be overwritten."""
    plant.add_aws_mirror(SECRET, text)

    with pytest.raises(
        Refused, match=r"holds a value that no rotation of this record has stored; .*set 'adopt_secrets' to 'True'"
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


# -- what AWS refuses -----------------------------------------------------------------------------

ANSWERS = [
    ("AccessDeniedException", "Access to KMS is not allowed", "KMS key may not be used; grant kms:Decrypt"),
    (
        "AccessDeniedException",
        "User: arn:aws:iam::1:user/u is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:x:1:k",
        "KMS key may not be used; grant kms:Decrypt",
    ),
    (
        "AccessDeniedException",
        "User: u is not authorized to perform: secretsmanager:X with an explicit deny in a service control policy",
        "a policy denies it explicitly; take the Deny of",
    ),
    (
        "AccessDeniedException",
        "User: u is not authorized to perform: secretsmanager:X because no identity-based policy allows it",
        "the identity may not do this; grant secretsmanager:DescribeSecret",
    ),
    ("DecryptionFailure", "Secrets Manager can't decrypt the text", "disabled, is to be deleted, or may not be used"),
    ("EncryptionFailure", "Secrets Manager can't encrypt the text", "disabled, is to be deleted, or may not be used"),
    ("KMSInvalidStateException", "pending deletion", "disabled, is to be deleted, or may not be used"),
    ("KMSAccessDeniedException", "You have no access", "KMS key may not be used; grant kms:Decrypt"),
    ("KMSNotFoundException", "Key x does not exist", "KMS key is not there; enable"),
    ("InvalidRequestException", "The KMS key is disabled", "disabled, is to be deleted, or may not be used"),
    (
        "LimitExceededException",
        "The request failed because it would exceed one of the Secrets Manager quotas.",
        "as many versions as it can; wait until versions are a day old",
    ),
    ("ThrottlingException", "Rate exceeded", "ThrottlingException"),
    ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.", "no such secret"),
    ("UnrecognizedClientException", "The security token included in the request is invalid.", "key is not known"),
    ("InvalidClientTokenId", "The security token included in the request is invalid.", "access key is not known"),
    (
        "ExpiredTokenException",
        "The security token included in the request is expired",
        "temporary access key has ended",
    ),
    (
        "InvalidSignatureException",
        "Signature expired: 1 is now earlier than 2",
        "time of the request is wrong; set",
    ),
    (
        "InvalidSignatureException",
        "The request signature we calculated does not match",
        "does not belong to the access key",
    ),
    ("OptInRequired", "You are not subscribed", "not signed up for the service in that region; enable the region"),
    (
        "InvalidParameterException",
        "Operation not permitted on a replica secret.",
        "it is a replica, which cannot be written",
    ),
    ("InvalidRequestException", "because it was marked for deletion.", "scheduled for deletion; restore it"),
    ("InvalidRequestException", "The secret is managed by another service", "another service of AWS manages"),
    (
        "ValidationException",
        "Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536",
        "the value is too long; a secret holds 64 KiB",
    ),
]


def test_what_aws_refuses_is_said_in_our_words_with_the_way_out(plant: Plant, wired: Session) -> None:
    """AWS's name for it stands beside them, its message does not; only throttling is worth another try."""
    plant.add_aws_mirror(SECRET, pair("old"))
    mirror = store(plant, wired)
    for code, message, told in ANSWERS:
        plant.aws.refuse(code, message)
        with pytest.raises(ApiError) as caught:
            mirror.examine()
        line = str(caught.value)
        assert f"({code}{')' if code == 'ThrottlingException' else '; '}" in line
        assert told in line.replace("); ", "; ")
        assert message not in line
        assert (code == "ThrottlingException") == caught.value.transient, code


def test_every_refusal_has_its_answer_here() -> None:
    """A row more of the table is one more of these; that AWS rotates a secret is seen by looking alone."""
    assert {*REFUSALS} - {ROTATED} == {refusal_of(code, message) for code, message, _ in ANSWERS} - {None}


def replicate(plant: Plant) -> None:
    """Name the replica in another region."""
    plant.aws.replicate(SECRET, plant.aws.regions[1])
    plant.set_field("aws_region", plant.aws.regions[1])


def replicate_by_arn(plant: Plant) -> None:
    """Name the replica by its ARN, and no region."""
    arn = plant.aws.replicate(SECRET, plant.aws.regions[1])
    plant.set_field("aws_secret_id", arn)
    plant.set_field("aws_region", "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replicate, "in eu-west-1: it is a replica, which cannot be written: its primary is in eu-central-1"),
        (replicate, "by its region in 'aws_region'"),
        (replicate_by_arn, "its primary is in eu-central-1"),
        (lambda plant: plant.aws.rotate_by_itself(SECRET), "AWS itself rotates it"),
        (lambda plant: plant.aws.give_to_service(SECRET, "rds"), "another service of AWS manages it"),
        (lambda plant: plant.aws.schedule_deletion(SECRET), "is scheduled for deletion"),
        (lambda plant: plant.aws.disable_kms_key(SECRET), "(DecryptionFailure; the secret's KMS key is disabled"),
        (lambda plant: plant.aws.remove_identity(plant.aws_key_id), "(UnrecognizedClientException; the access key is"),
        (lambda plant: plant.clock.advance(hours=2), "(ExpiredTokenException; the temporary access key has"),
    ],
)
def test_what_cannot_be_written_is_refused_at_the_look(
    change: Callable[[Plant], None], told: str, plant: Plant
) -> None:
    """By a rotation and by a dry run: exit 1, nothing changed."""
    plant.add_aws_mirror(SECRET, pair(plant.old_key_id), temporary=True)
    change(plant)

    for dry_run in ("False", "True"):
        plant.set_field("dry_run", dry_run)
        assert_refuses(InProcess("rotate_seeq_application_key"), plant, 1, told)


def test_too_many_versions_are_put_back_at_once(plant: Plant) -> None:
    """Versions pass after a day: what else is tried within a run is no use."""
    plant.add_aws_mirror(SECRET, json.dumps({"access_key_id": plant.old_key_id, "access_key_password": "x"}))
    for number in range(99):
        plant.aws.put(SECRET, json.dumps({"access_key_id": plant.old_key_id, "access_key_password": str(number)}))

    told = "(LimitExceededException; the secret has as many versions as it can)"
    assert_refuses(InProcess("rotate_seeq_application_key"), plant, 1, told, written=True)
    tries = [one for one in plant.wire.log if one.headers.get("x-amz-target", "").endswith(".PutSecretValue")]
    assert len(tries) <= 2, "the first, and one after a look"


# -- who asks -------------------------------------------------------------------------------------


def test_a_temporary_key_rotates_with_its_token(plant: Plant) -> None:
    """The token goes into a hidden field beside the key."""
    plant.add_aws_mirror(SECRET, temporary=True)

    result = InProcess("rotate_seeq_application_key").run(plant)
    assert (0, "") == (result.returncode, result.stderr)
    assert "access_key_id" in json.loads(plant.aws.value(SECRET) or "")


@pytest.mark.parametrize(
    ("temporary", "token", "told"),
    [
        (True, "", "field 'aws_session_token' is empty, and 'aws_access_key_id' is a temporary access key"),
        (False, "left over", "'aws_access_key_id' is an access key that has none"),
    ],
)
def test_a_key_and_a_token_that_do_not_belong_together_are_refused(
    temporary: bool, token: str, told: str, plant: Plant
) -> None:
    """Before anything is asked: AWS would only say that it does not know the key."""
    plant.add_aws_mirror(SECRET, temporary=temporary)
    plant.set_field("aws_session_token", token, plant.attached[-1])

    assert_refuses(InProcess("rotate_seeq_application_key"), plant, 2, told)
    assert [] == writes(plant.wire.log)


def test_a_temporary_key_may_stand_in_the_configuration(plant: Plant) -> None:
    """Its token is then a field of the same label there."""
    plant.add_aws_mirror(SECRET)
    key_id, key, token = plant.aws.add_session("rotation")
    plant.attached.pop()

    def enter(*fields: keeper.Field) -> None:
        plant.keeper.edit(plant.configuration_uid, lambda data: data["custom"].extend(fields))

    enter(keeper.text("access_key_id", key_id), keeper.secret("access_secret_key", key))
    script = InProcess("rotate_seeq_application_key")
    assert_refuses(script, plant, 2, "'access_key_id' is a temporary access key")
    enter(keeper.secret("aws_session_token", token))
    assert 0 == script.run(plant).returncode
    assert "access_key_id" in (plant.aws.value(SECRET) or "")


@pytest.mark.parametrize("settings", ["[default\n", "[default]\naws_access_key_id = AKIAONLYTHEID\n"])
def test_settings_of_the_host_that_cannot_be_used_are_refused(settings: str, plant: Plant, tmp_path: Path) -> None:
    """A file that is none, or half a key: with exit 2, and not as a defect."""
    plant.add_aws_mirror(SECRET)
    plant.attached.pop()
    file = tmp_path / "credentials"
    file.write_text(settings)

    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_EC2_METADATA_DISABLED": "true"}
    told = "the AWS settings of this host cannot be used"
    assert_refuses(InProcess("rotate_seeq_application_key"), plant, 2, told, environment=environment)
