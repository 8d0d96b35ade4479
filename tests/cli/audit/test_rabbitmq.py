"""What an audit says of RabbitMQ's users, of whom it sees whether they have a password, and no more of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.messaging import ADMIN, RabbitPlant
from sandbox.plant import on_loopback
from sandbox.services import keeper
from sandbox.services.rabbitmq import HOST
from tests.cli.conftest import Command, attach


def second_record_for(plant: RabbitPlant, username: str, spare: str) -> None:
    """Have one more record name these users."""
    named = [keeper.text("username", username), keeper.text("username_spare", spare)]
    others = [field for field in plant.keeper.record(plant.user_uid)["custom"] if not field["label"].startswith("user")]
    attach(plant, plant.keeper.add_record("pamUser", "The other", custom=[*named, *others]), plant.attached)


def audited(plant: RabbitPlant, command: Command) -> dict[str, Any]:
    """Return the row of the plant's record, after a look that set nothing, and shows no password and no hash."""
    attach(plant, plant.user_uid, plant.attached)
    shown_nowhere = {*plant.secrets(), plant.rabbitmq.user("erp")["password_hash"]} - {""}
    result = command("audit", "--json", sandbox=plant)
    assert [] == [len(value) for value in shown_nowhere if value in result.stdout + result.stderr]
    assert {"GET"} == {one.method for one in plant.wire.log if one.host == HOST}
    (row,) = json.loads(result.stdout)["records"]
    return dict(row)


def test_a_user_is_shown_with_the_age_that_the_record_tells(command: Command) -> None:
    """RabbitMQ does not say since when a password is there. That the second user has none is as it should be."""
    with on_loopback(RabbitPlant, mirrored=False) as plant:
        plant.set_field("rotated_at", "2026-11-01T00:00:00Z")
        row = audited(plant, command)

    assert ("erp", "2026-11-01T00:00:00Z") == (row["key_id"], row["created_at"])
    assert f"https://{HOST}/#/users" in row["links"].values()
    assert [] == [problem for problem in row["problems"] if problem["severity"] == "broken"]


def _take_the_password_away(plant: RabbitPlant) -> None:
    plant.rabbitmq.add_user("erp", "", ["erp"])


def _have_the_other_one_in_use(plant: RabbitPlant) -> None:
    _take_the_password_away(plant)
    plant.add_key("in use")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda plant: plant.rabbitmq.remove_user("erp-spare"), "gone", "read user erp-spare: 404 Not Found"),
        (_take_the_password_away, "no-live-key", "no key of user erp and user erp-spare logs in"),
        (_have_the_other_one_in_use, "not-alive", "alive: erp-spare (unpublished)"),
        (lambda plant: plant.add_key("left over"), "old-keys", "erp-spare (unpublished)"),
        (
            lambda plant: plant.rabbitmq.add_user("erp-spare", "", ["administrator"]),
            "not-allowed",
            "user erp-spare is an administrator; have the owner",
        ),
        (
            lambda plant: plant.rabbitmq.add_user(ADMIN, plant.admin_password, ["monitoring"]),
            "admin-rights",
            "lacks the tag administrator",
        ),
        (lambda plant: plant.rabbitmq.add_user(ADMIN, "another one", ["administrator"]), "admin-refused", "401"),
    ],
    ids=["no such user", "no password", "another's password", "one too many", "administrator", "no right", "refused"],
)
def test_what_keeps_it_from_rotating_or_logging_in_is_a_finding(
    change: Callable[[RabbitPlant], object], code: str, words: str, command: Command
) -> None:
    """By the audit's own code, with the way out."""
    with on_loopback(RabbitPlant, mirrored=False) as plant:
        change(plant)
        row = audited(plant, command)

    found = {problem["code"]: f"{problem['what']}; {problem['way_out']}" for problem in row["problems"]}
    assert words in found.get(code, ""), found


@pytest.mark.parametrize(
    ("names", "is_shared"), [(("erp-spare", "erp"), True), (("erp", ""), True), (("b", "c"), False)]
)
def test_two_records_with_a_user_in_common_are_found_whichever_of_their_two_it_is(
    names: tuple[str, str], is_shared: bool, command: Command
) -> None:
    """Each would end a password that the other has stored; users of their own are nobody else's."""
    with on_loopback(RabbitPlant, mirrored=False) as plant:
        for name in names:
            if name not in ("", plant.username, plant.spare):
                plant.rabbitmq.add_user(name, "", [])
        second_record_for(plant, *names)
        attach(plant, plant.user_uid, plant.attached)
        rows = json.loads(command("audit", "--json", sandbox=plant).stdout)["records"]

    found = [[one["what"] for one in row["problems"] if one["code"] == "same-target"] for row in rows]
    assert [is_shared] * 2 == ["each ends the password that the other has stored" in " ".join(what) for what in found]
