"""The rules of the audit: every illness of a fleet named with its way out, and no false alarm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pam_scripts.cli.audit.finding import Rule, Severity
from pam_scripts.cli.audit.rules import (
    ADMIN_OWN_KEY,
    DRY_RUN,
    EXPIRED,
    LEASE,
    NEVER_ROTATED,
    NOT_READABLE,
    RULES,
    SETTING,
    judge,
)
from pam_scripts.cli.audit.subject import Subject
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.times import iso
from sandbox.plant import on_loopback
from sandbox.publishing import STAGE_VAULT, PublishPlant
from tests.cli.audit.conftest import Audited, fleet_of
from tests.cli.conftest import Command, attach
from tests.support.fleet import ILLNESSES
from tests.support.invariants import Script

NOW = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize("illness", [*ILLNESSES, "same-target+"])
def test_each_illness_is_named_with_its_way_out(illness: str, audited: Audited) -> None:
    """A record that is ill in one way has that finding and no other, and is told what to do."""
    problems = audited.records[audited.fleet.uids[illness]]["problems"]
    code = re.sub(r"\+|-\d+$", "", illness)

    assert [code] == [problem["code"] for problem in problems]
    assert all(problem["what"] and problem["way_out"] for problem in problems)


def test_there_are_more_than_twenty_illnesses_and_each_kind_of_finding_has_one(audited: Audited) -> None:
    """Every finding that the audit knows is found in the fleet, but those that have tests of their own."""
    found = {problem["code"] for record in audited.records.values() for problem in record["problems"]}

    assert len(audited.fleet.uids) > 20
    assert {rule.code for rule in RULES if rule not in (NOT_READABLE, ADMIN_OWN_KEY)} == found


def test_nothing_is_said_of_the_healthy(audited: Audited) -> None:
    """No false alarm: every other record is there, without a problem."""
    healthy = audited.fleet.healthy

    assert len(healthy) > 900
    assert [] == [audited.records[uid] for uid in healthy if audited.records[uid]["problems"]]
    assert 1000 == len(audited.records) == audited.summary["records"]
    assert len(healthy) == audited.summary["healthy"]


def test_an_admin_credential_that_is_a_key_of_the_target_is_named(tmp_path: Path, command: Command) -> None:
    """A rotation would delete the very key that it is logged in with."""
    with fleet_of(tmp_path, 10, "old-keys") as fleet:
        uid = fleet.uids["old-keys"]
        application = fleet.keeper.value(uid, "application_id") or ""
        key = fleet.seeq.live_keys(application)[0]
        admin = fleet.add_admin("A key as admin", key.key_id, key.password)
        fleet.keeper.edit(uid, lambda data: data["fields"][2]["value"][0].update(recordRef=[admin]))
        result = command("audit", "--json", sandbox=fleet)

    problems = next(one["problems"] for one in json.loads(result.stdout)["records"] if one["record"] == uid)
    assert ADMIN_OWN_KEY.code in {problem["code"] for problem in problems}


# -- after real rotations -------------------------------------------------------------------------


def test_what_a_failed_publication_leaves_is_found_and_the_next_one_clears_it(
    command: Command, make_script: Callable[[str], Script]
) -> None:
    """One vault of two refused: the failure as the script logged it, and the vault that lags; then nothing any more."""
    script = make_script("publish_secret")
    with on_loopback(PublishPlant) as plant:
        attach(plant, plant.user_uid, plant.attached)
        # What is refused is tried for as long as there is time.
        plant.set_field("deadline_seconds", "15")
        assert 0 == script.run(plant).returncode
        assert ([], "same") == found(plant, command)

        plant.rotate_password()
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=("get", "list"))
        assert 4 == script.run(plant).returncode
        assert (["vault-differs", "last-failed"], "differs") == found(plant, command)

        plant.rotate_password()
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id)
        assert 0 == script.run(plant).returncode
        assert ([], "same") == found(plant, command)


def test_a_failed_rotation_that_was_put_back_is_no_difference(
    command: Command, make_script: Callable[[str], Script]
) -> None:
    """Only the failure is told: Keeper and both vaults hold what they held before it."""
    script = make_script("publish_secret")
    with on_loopback(PublishPlant, value_format="hex:24") as plant:
        attach(plant, plant.user_uid, plant.attached)
        assert 0 == script.run(plant).returncode
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=("get", "list"))
        assert 1 == script.run(plant).returncode

        assert (["last-failed"], "same") == found(plant, command)


def found(plant: PublishPlant, command: Command) -> tuple[list[str], str]:
    """Return what an audit finds wrong with the plant's one record, and how its mirrors compare."""
    (record,) = json.loads(command("audit", "--json", sandbox=plant).stdout)["records"]
    return [problem["code"] for problem in record["problems"]], record["mirror"]


# -- each by itself -------------------------------------------------------------------------------


def test_each_rule_has_a_code_and_words_of_its_own() -> None:
    """No two share a code or a title, and each says in a sentence what it means, and what to do in general."""
    assert len(RULES) == len({rule.code for rule in RULES}) == len({rule.title for rule in RULES})
    assert [] == [rule.code for rule in RULES if not rule.meaning.endswith(".") or not rule.way_out]


@pytest.mark.parametrize(
    ("rule", "at_worst", "severity"),
    [
        (EXPIRED, False, "broken"),
        (EXPIRED, True, "broken"),
        (DRY_RUN, False, "soon"),
        (DRY_RUN, True, "broken"),
    ],
)
def test_a_finding_is_as_urgent_as_its_rule_says(rule: Rule, at_worst: bool, severity: Severity) -> None:
    """Only a rule that knows of worse cases is more urgent in them."""
    assert severity == rule.found("what", at_worst=at_worst).severity


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (BadInput("field 'x' is 7", next_step="enter 8"), "enter 8"),
        (BadInput("field 'x' is 7; it must be 8"), "it must be 8"),
        (BadInput("field 'x' is 7"), SETTING.way_out),
    ],
)
def test_an_errors_own_way_out_goes_before_the_rules(error: BadInput, way_out: str) -> None:
    """No finding is without a way out: where the error names none, the rule does."""
    finding = SETTING.found_by(error)

    assert ("field 'x' is 7", way_out) == (finding.what, finding.way_out)


@pytest.mark.parametrize(("minutes", "rules"), [(1, []), (-1, [LEASE, NEVER_ROTATED]), (99, [LEASE, NEVER_ROTATED])])
def test_a_lease_counts_as_held_when_the_record_was_read(minutes: int, rules: list[Rule]) -> None:
    """Of a record that a rotation was at work on nothing is said of keys, however long other systems took to answer."""
    record = Record.from_flat({"rotation_lease": f"somebody until {iso(NOW + timedelta(minutes=minutes))}"})
    script = {"type": "script", "value": [{"command": "python3"}]}
    subject = Subject("Uid", SCRIPTS[0], record, NOW, record_type="pamUser", items=[script])

    assert rules == [finding.rule for finding in judge(subject)]
