"""What is particular of IAM: two keys at most, no labels, a key that is inactive before it is deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from sandbox.faults import Rule, status
from sandbox.iam_users import USER, IamPlant
from sandbox.log import Request
from sandbox.plant import on_loopback
from tests.support.in_process import InProcess

SCRIPT = InProcess("rotate_aws_access_key")


@pytest.fixture
def plant() -> Iterator[IamPlant]:
    """Return the plant without a mirror."""
    with on_loopback(IamPlant, mirrored=False) as plant:
        yield plant


def actions(plant: IamPlant) -> list[str]:
    """Return what IAM was asked for, in this order."""
    bodies = [one.body.decode() for one in plant.wire.log if one.host == "iam.amazonaws.com"]
    return [body.split("&", maxsplit=1)[0].removeprefix("Action=") for body in bodies]


def held(plant: IamPlant) -> str:
    """Return the id of the key that the record holds."""
    return plant.keeper.value(plant.user_uid, "iam_access_key_id") or ""


def is_deletion(request: Request) -> bool:
    """Say whether a request deletes a key."""
    return request.body.startswith(b"Action=DeleteAccessKey")


def test_the_old_key_is_inactive_before_it_is_deleted(plant: IamPlant) -> None:
    """And the new one is proven between the two; AWS took some time to know it at all."""
    plant.iam.unaccepted = 2
    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    ends = [one for one in actions(plant) if one.startswith(("Create", "Update", "Delete"))]
    assert ["CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"] == ends
    asked = [one.host[:3] for one in plant.wire.log]
    last = len(asked) - 1 - asked[::-1].index("sts")
    assert b"Action=UpdateAccessKey" == plant.wire.log[last - 1].body.split(b"&")[0]
    assert is_deletion(plant.wire.log[last + 1])
    assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


@pytest.mark.usefixtures("short_waits")
def test_a_key_that_cannot_be_deleted_is_made_active_again(plant: IamPlant) -> None:
    """The run ends with status 3; whoever still has the old key goes on."""
    plant.aws.deny(plant.admin_key_id, "iam:DeleteAccessKey")
    result = SCRIPT.run(plant)

    assert 3 == result.returncode, result.stderr
    assert "Active" == plant.iam.status(plant.old_key_id)
    assert held(plant) != plant.old_key_id


@pytest.mark.usefixtures("short_waits")
def test_where_the_new_key_fails_without_the_old_one_that_lives_again(plant: IamPlant) -> None:
    """The proof between inactive and deleted is one that may fail."""

    def is_the_proof(request: Request) -> bool:
        return request.host.startswith("sts.") and plant.iam.status(plant.old_key_id) == "Inactive"

    plant.wire.rules.append(Rule(status(403), where=is_the_proof))
    result = SCRIPT.run(plant)

    assert 3 == result.returncode, result.stderr
    assert "Active" == plant.iam.status(plant.old_key_id)
    assert "DeleteAccessKey" not in actions(plant)


@pytest.mark.parametrize("ahead", [-10, 10])
def test_a_host_whose_clock_is_wrong_is_told_so(plant: IamPlant, ahead: int) -> None:
    """AWS takes nothing that was signed more than five minutes before or after its own time."""
    plant.clock.advance(minutes=ahead)
    result = SCRIPT.run(plant)

    assert (1, [plant.old_key_id]) == (result.returncode, [key.key_id for key in plant.issued() if key.listed])
    assert "SignatureDoesNotMatch; the time of the request is wrong" in result.stderr
    assert "nothing changed; set the host's clock" in result.stderr


def test_a_kept_key_makes_room_for_the_next_and_its_use_is_told(plant: IamPlant) -> None:
    """With one kept there are two always; somebody who still uses it is named before it goes."""
    plant.set_field("keep_previous_keys", "1")
    assert 0 == SCRIPT.run(plant).returncode
    second = held(plant)
    assert {plant.old_key_id, second} == {key.key_id for key in plant.issued() if key.listed}
    plant.clock.advance(minutes=4)
    plant.iam.use(plant.old_key_id)

    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    assert {second, held(plant)} == {key.key_id for key in plant.issued() if key.listed}
    assert f"access key {plant.old_key_id}, which no store holds, was used" in result.stderr


@pytest.mark.parametrize("state", ["inactive", "never used", "not used since"])
def test_with_take_over_a_key_that_nobody_uses_makes_room(plant: IamPlant, state: str) -> None:
    """It is deleted first; the line of the look names it."""
    other, _ = plant.add_key("of somebody", created_days_ago=200)
    if state != "never used":
        plant.iam.use(other, days_ago=150 if state == "not used since" else 0)
    plant.iam.switch(other, active=state != "inactive")
    refused = SCRIPT.run(plant)
    assert (1, True) == (refused.returncode, other in refused.stderr)
    assert ("never used" if state == "never used" else "last used") in refused.stderr

    plant.set_field("take_over", "True")
    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    assert f"Deleted access key {other}, to make room" in result.stdout
    assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("emptied", ["iam_access_key_id", "iam_secret_access_key"])
def test_half_a_key_that_a_person_left_in_the_record_is_replaced(plant: IamPlant, emptied: str) -> None:
    """It is no other rotation's doing; the key that it was is known by the ops log."""
    assert 0 == SCRIPT.run(plant).returncode
    plant.set_field(emptied, "")
    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


def test_a_key_that_a_killed_rotation_left_is_known_by_the_lease(plant: IamPlant) -> None:
    """It was made in that rotation's time, and no store holds it: the next one deletes it without being told to."""
    begun = plant.clock.now()
    left, _ = plant.add_key("left over")
    plant.set_field("rotation_lease", f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")

    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    assert "" == plant.iam.status(left)
    assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


@pytest.mark.parametrize("ago", [timedelta(days=1), timedelta(0)], ids=["before", "and is used to this day"])
def test_the_former_key_of_a_killed_rotation_goes(plant: IamPlant, ago: timedelta) -> None:
    """The one that was killed had published its key, and would have deleted the one before, which was in use."""
    begun = plant.clock.now() - timedelta(hours=2)
    new, secret = plant.add_key("new", created_days_ago=2 / 24)
    for label, value in (("iam_access_key_id", new), ("iam_secret_access_key", secret)):
        plant.set_field(label, value)
    plant.set_field("rotation_lease", f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")
    plant.iam.use(plant.old_key_id, days_ago=ago.days)

    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    assert "" == plant.iam.status(plant.old_key_id)
    assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


def test_an_interrupted_rotation_is_known_also_after_another_one_that_failed() -> None:
    """That one has taken the lease over, and given it back: the ops log then tells of the one before."""
    with on_loopback(IamPlant) as plant:
        begun = plant.clock.now() - timedelta(hours=2)
        new, secret = plant.add_key("new", created_days_ago=2 / 24)
        for label, value in (("iam_access_key_id", new), ("iam_secret_access_key", secret)):
            plant.set_field(label, value)
        plant.set_field("rotation_lease", f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")

        def comes_once_the_lease_is_taken(_request: Request) -> bool:
            return any(one.path.endswith("/update_secret") and one.ended for one in plant.wire.log)

        refused = Rule(status(403), path="*/get_secret", where=comes_once_the_lease_is_taken, times=1)
        plant.wire.rules.append(refused)

        assert (1, 1) == (SCRIPT.run(plant).returncode, refused.hits)
        assert not plant.keeper.value(plant.user_uid, "rotation_lease")
        result = SCRIPT.run(plant)

        assert 0 == result.returncode, result.stderr
        assert f"{new}, which the record holds, is set everywhere" in result.stderr
        assert "" == plant.iam.status(plant.old_key_id)
        entries = (plant.keeper.value(plant.user_uid, "last_rotation") or "").split("\n\n")
        assert ["0", "1", "4"] == [re.findall(r"^Exit status: (\d)", one, re.MULTILINE)[0] for one in entries]
        assert f"May be alive: keeper:{plant.user_uid}:{begun:%Y%m%dT%H%M%SZ}-0badc0de" in entries[2]


def test_a_key_of_that_time_that_somebody_uses_is_not_taken_for_it(plant: IamPlant) -> None:
    """The rotation was over when it was used: then a person has made it."""
    begun = plant.clock.now() - timedelta(hours=2)
    theirs, _ = plant.add_key("of somebody", created_days_ago=2 / 24)
    plant.iam.use(theirs)
    plant.set_field("rotation_lease", f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")

    result = SCRIPT.run(plant)

    assert (1, True) == (result.returncode, theirs in result.stderr)
    assert "Active" == plant.iam.status(theirs)


@pytest.mark.parametrize(
    ("partition", "region", "hosts"),
    [
        ("aws-cn", "cn-northwest-1", {"iam.cn-north-1.amazonaws.com.cn", "sts.cn-northwest-1.amazonaws.com.cn"}),
        ("aws-us-gov", "us-gov-east-1", {"iam.us-gov.amazonaws.com", "sts.us-gov-east-1.amazonaws.com"}),
    ],
)
@pytest.mark.parametrize("admin", ["attached", "own_key"])
def test_a_user_of_any_partition_is_asked_for_at_its_own_hosts(
    partition: str, region: str, hosts: set[str], admin: str
) -> None:
    """The region says which; limits may name the user by the partition's ARN."""
    with on_loopback(IamPlant, mirrored=False, admin=admin, partition=partition) as plant:
        plant.set_field("iam_region", region)
        arn = f"arn:{partition}:iam::{plant.aws.account_id}:user/{USER}"
        plant.set_field("allow_targets", f"{USER}, {arn}", plant.configuration_uid)
        result = SCRIPT.run(plant)

        assert 0 == result.returncode, result.stderr
        assert hosts == {one.host for one in plant.wire.log if "amazonaws" in one.host}
        assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_a_user_of_another_partition_than_the_region_is_not_known(partition: str) -> None:
    """Without the region the public part of AWS is asked, which knows none of their keys: the line names the field."""
    with on_loopback(IamPlant, mirrored=False, partition=partition) as plant:
        result = SCRIPT.run(plant)

        assert (1, True) == (result.returncode, "which 'iam_region' must then name" in result.stderr), result.stderr
        assert {"iam.amazonaws.com", "sts.us-east-1.amazonaws.com"} >= {
            one.host for one in plant.wire.log if "amazonaws" in one.host
        }


def test_a_user_replaces_the_own_key() -> None:
    """No administrator is there; the new key deletes the old one."""
    with on_loopback(IamPlant, mirrored=False, admin="own_key") as plant:
        result = SCRIPT.run(plant)

        assert 0 == result.returncode, result.stderr
        (deletion,) = [one for one in plant.wire.log if is_deletion(one)]
        assert f"Credential={held(plant)}/" in deletion.headers["authorization"]
        assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]


def test_the_hosts_role_is_used_for_no_user_that_nobody_has_named(
    plant: IamPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record alone does not decide it; an attached record with the user's name does."""
    key_id, secret = plant.aws.add_identity("host")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    plant.attached = []
    for label in ("iam_access_key_id", "iam_secret_access_key"):
        plant.set_field(label, "")
    refused = SCRIPT.run(plant)
    assert (2, True) == (refused.returncode, "there is no AWS login" in refused.stderr)

    plant.set_field("allow_targets", USER, plant.configuration_uid)
    plant.iam.delete_key(plant.old_key_id)
    result = SCRIPT.run(plant)

    assert 0 == result.returncode, result.stderr
    assert [held(plant)] == [key.key_id for key in plant.issued() if key.listed]
