"""What an audit says of IAM users: which keys they have, when each was last used, and which one is in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from pam_scripts.core.times import iso
from sandbox.iam_users import USER, IamPlant
from sandbox.plant import on_loopback
from sandbox.services import keeper
from tests.cli.conftest import Command, attach
from tests.support.in_process import InProcess

SCRIPT = InProcess("rotate_aws_access_key")


@pytest.fixture
def plant() -> Iterator[IamPlant]:
    """Return the plant without a mirror, whose key is a day from its last use."""
    with on_loopback(IamPlant, mirrored=False) as plant:
        yield plant


def rows(plant: IamPlant, command: Command, *uids: str) -> list[dict[str, Any]]:
    """Return the rows of records, the plant's own where none are named, after a look that changed nothing."""
    for uid in uids or (plant.user_uid,):
        attach(plant, uid, plant.attached)
    before = len(plant.wire.log)
    result = command("audit", "--json", sandbox=plant)
    assert [] == [len(value) for value in plant.secrets() if value in result.stdout + result.stderr]
    asked = {one.body.decode().partition("&")[0] for one in plant.wire.log[before:] if one.host == "iam.amazonaws.com"}
    assert {f"Action={verb}" for verb in ("GetUser", "ListAccessKeys", "GetAccessKeyLastUsed")} >= asked
    return list(json.loads(result.stdout)["records"])


def told(row: dict[str, Any]) -> dict[str, str]:
    """Return what a row says is wrong, by the finding's code."""
    return {problem["code"]: f"{problem['what']}; {problem['way_out']}" for problem in row["problems"]}


def test_a_key_is_shown_with_its_age_and_its_last_use(plant: IamPlant, command: Command) -> None:
    """As IAM tells them; and where the user is found in AWS's console."""
    plant.iam.use(plant.old_key_id, days_ago=3)
    used = plant.clock.now() - timedelta(days=3)
    (row,) = rows(plant, command)

    assert (plant.old_key_id, 1, 100) == (row["key_id"], row["live_keys"], row["age_days"])
    assert iso(used)[:15] == row["last_used"][:15]
    assert f"https://console.aws.amazon.com/iam/home#/users/details/{USER}?section=security_credentials" in (
        row["links"].values()
    )
    assert {} == {code: what for code, what in told(row).items() if code != "no-script"}


def test_a_key_that_was_never_used_is_said_to_be_so(plant: IamPlant, command: Command) -> None:
    """There is no date of a last use, and nothing is wrong with that."""
    plant.iam.delete_key(plant.old_key_id)
    new, secret = plant.add_key("new")
    for label, value in (("iam_access_key_id", new), ("iam_secret_access_key", secret)):
        plant.set_field(label, value)
    (row,) = rows(plant, command)

    assert (new, None) == (row["key_id"], row["last_used"])


def _of_somebody(plant: IamPlant, *, used: bool) -> None:
    other, _ = plant.add_key("of somebody", created_days_ago=200)
    if used:
        plant.iam.use(other)


def _taken_over(plant: IamPlant, *, used: bool) -> None:
    _of_somebody(plant, used=used)
    plant.set_field("take_over", "True")


def _left_behind(plant: IamPlant) -> None:
    begun = plant.clock.now() - timedelta(minutes=10)
    plant.iam.add_key(USER)
    plant.set_field("rotation_lease", f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")


@pytest.mark.parametrize(
    ("change", "code", "words", "status"),
    [
        (lambda plant: _of_somebody(plant, used=True), "no-room", ", last used 20", 1),
        (lambda plant: _of_somebody(plant, used=False), "no-room", ", never used, is neither in Keeper nor", 1),
        (lambda plant: _taken_over(plant, used=True), "no-room", "and somebody uses it; if another", 1),
        (lambda plant: _taken_over(plant, used=False), "old-keys", "rotate: that deletes them", 0),
        (_left_behind, "left-behind", "made by a rotation of this record that was interrupted", 0),
        (lambda plant: plant.iam.switch(plant.old_key_id, active=False), "cannot-log-in", "make it active again", 1),
        (lambda plant: plant.iam.delete_key(plant.old_key_id), "no-live-key", f"no key of user {USER} logs in", 0),
        (lambda plant: plant.set_field("aws_user_name", "nobody"), "gone", "there is no such user", 1),
        (lambda plant: plant.aws.deny(plant.admin_key_id, "iam:ListAccessKeys"), "not-readable", "403", 1),
    ],
    ids=["another", "an unused one", "in use", "not in use", "left", "inactive", "deleted", "no user", "no right"],
)
def test_what_an_audit_finds_is_what_a_rotation_does(  # noqa: PLR0913, PLR0917 - one case's facts
    change: Callable[[IamPlant], object], code: str, words: str, status: int, plant: IamPlant, command: Command
) -> None:
    """What it calls broken stops the next rotation, and what it says a rotation mends, one does."""
    change(plant)
    (row,) = rows(plant, command)

    assert words in told(row).get(code, ""), told(row)
    assert ("no-room" in told(row)) != ("old-keys" in told(row)) or code not in ("no-room", "old-keys")
    assert status == SCRIPT.run(plant).returncode


def test_two_records_of_one_user_refuse_each_others_key(plant: IamPlant, command: Command) -> None:
    """As the finding of both says: a rotation of the second does not delete what the first has made."""
    fields = [keeper.text("aws_user_name", USER), *(keeper.text(label, "") for label in plant.outputs)]
    second = plant.keeper.add_record("pamUser", "AWS access key: again", custom=fields)
    assert 0 == SCRIPT.run(plant).returncode
    new = plant.keeper.value(plant.user_uid, "iam_access_key_id") or ""

    found = [told(row).get("same-target", "") for row in rows(plant, command, plant.user_uid, second)]
    assert ["each refuses the other's keys"] * 2 == [what.partition("): ")[2].partition("; ")[0] for what in found]
    refused = SCRIPT.run(plant, plant.gateway.payload(second, attached=plant.attached))
    assert (1, True, "Active") == (refused.returncode, new in refused.stderr, plant.iam.status(new))
