"""`check`: the right script for a record, chosen by its fields."""

from __future__ import annotations

import json

import pytest

from sandbox.plant import Plant, on_loopback
from sandbox.publishing import PublishPlant
from sandbox.realm import KeycloakPlant
from sandbox.services import keeper
from tests.cli.conftest import Command, attach
from tests.support.invariants import State, assert_as_before, writes
from tests.support.plants import KEY_PLANTS


@pytest.mark.parametrize("stem", KEY_PLANTS)
def test_the_records_own_script_looks_and_changes_nothing(stem: str, command: Command) -> None:
    """The record's fields choose the script; what it would delete is told; nothing is written."""
    with on_loopback(KEY_PLANTS[stem]) as plant:
        attach(plant, plant.user_uid, plant.attached)
        before = State.of(plant)
        result = command("check", plant.user_uid, sandbox=plant)
        assert (0, "") == (result.returncode, result.stderr)
        assert f"with {stem}" in result.stdout
        replaced = "The present secret of client erp ends when the new one is set"
        told = replaced if isinstance(plant, KeycloakPlant) else f"to delete: {plant.old_key_id}"
        assert told in result.stdout
        assert [] == writes(plant.wire.log)
        assert_as_before(plant, before)
        assert [] == [len(value) for value in plant.secrets() if value in result.stdout]


@pytest.mark.parametrize("value_format", ["keeper", "hex:24"])
def test_a_published_secret_is_looked_at_without_its_value(value_format: str, command: Command) -> None:
    """Its fields choose the script; both vaults are looked at; nothing is written, and no password shown."""
    with on_loopback(PublishPlant, value_format=value_format) as plant:
        attach(plant, plant.user_uid, plant.attached)
        before = plant.holdings()
        result = command("check", plant.user_uid, sandbox=plant)
        assert (0, "") == (result.returncode, result.stderr)
        assert "with publish_secret" in result.stdout
        assert 2 == result.stdout.count("holds: a value") - (value_format != "keeper")
        assert [] == writes(plant.wire.log)
        assert before == plant.holdings()
        assert [] == [len(value) for value in plant.secrets() if value in result.stdout]


@pytest.mark.parametrize(
    ("label", "value", "meant"),
    [
        ("secret_name", "Service--Password", True),
        ("value_format", "uuid", True),
        ("value_template", "Bearer {value}", True),
        ("value_format", "", True),
        ("aws_secret_id", "plant/erp", False),
        ("key_vault_name", "plant-vault", False),
    ],
)
def test_what_tells_a_published_secret_apart(
    label: str, value: str, meant: bool, command: Command, plant: Plant
) -> None:
    """One of its own fields says which script a record is for, even empty; those that every script has do not."""
    uid = plant.keeper.add_record("pamUser", "A record", custom=[keeper.text(label, value)])
    result = command("check", uid, sandbox=plant)

    assert 2 == result.returncode
    assert meant == ("with publish_secret" in result.stdout)
    assert meant != ("belongs to none of the scripts: it has none of the fields application_id" in result.stderr)


@pytest.mark.parametrize("uid", ["-cSk-1hh_5Zzq0bJ2mE4Qw", "--Sk-1hh_5Zzq0bJ2mE4Qw"])
def test_a_uid_may_begin_with_a_hyphen(uid: str, command: Command, plant: Plant) -> None:
    """Older records have such: as an argument, and after an option, it is taken for what it is."""
    user, admin = (plant.keeper.record(one) for one in (plant.user_uid, plant.admin_uid))
    credential = f"-{uid[:0:-1]}"
    plant.keeper.add_record("pamUser", "Hyphen", fields=user["fields"], custom=user["custom"], uid=uid)
    plant.keeper.add_record("login", "Admin", fields=admin["fields"], custom=admin["custom"], uid=credential)
    result = command("check", uid, "--credential", credential, sandbox=plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert f"({uid})" in result.stdout


@pytest.mark.parametrize("kind", ["", "general", "General"])
def test_a_general_record_is_no_credential_and_says_so(kind: str, command: Command, plant: Plant) -> None:
    """Records from before there were types have no fields that a script could see: exit 2, with the way out."""
    general = plant.keeper.add_record(kind, "Old admin", custom=[{"name": "seeq_server_url", "value": "x"}])
    result = command("check", plant.user_uid, "--credential", general, sandbox=plant)

    assert 2 == result.returncode
    assert f"General records, whose fields no script sees: {general}; " in result.stderr
    assert "convert it to a Login record first" in result.stderr


def test_the_worst_of_several_records_decides(command: Command, plant: Plant) -> None:
    """Every record is checked, also after one that fails; the exit status is the worst one's."""
    attach(plant, plant.user_uid, plant.attached)
    locked = plant.keeper.add_record(
        "pamUser", "Locked", custom=[keeper.text("application_id", plant.application_id)], editable=False
    )
    stranger = plant.keeper.add_record("pamUser", "Database user")
    result = command(
        "check", "NoSuchRecord", stranger, locked, plant.user_uid, "--credential", plant.admin_uid, sandbox=plant
    )

    lines = result.stderr.splitlines()
    assert 2 == result.returncode
    assert 3 == len(lines), result.stderr
    assert "record NoSuchRecord is not shared" in lines[0]
    assert "belongs to none of the scripts" in lines[1]
    assert "'Can Edit'" in lines[2]
    assert "Dry run: nothing was changed" in result.stdout


def test_what_the_record_says_of_dry_runs_does_not_matter(command: Command, plant: Plant) -> None:
    """A check looks, whether the record asks for a rotation, a dry run or a diagnosis."""
    plant.set_field("diagnose", "True")
    result = command("check", plant.user_uid, "--credential", plant.admin_uid, sandbox=plant)

    assert 0 == result.returncode, result.stderr
    assert f"to delete: {plant.old_key_id}" in result.stdout


def test_all_records_are_checked_and_counted(command: Command, plant: Plant) -> None:
    """`--all` finds every record of a rotation itself; the tally at the end names those to look at by their UIDs."""
    attach(plant, plant.user_uid, plant.attached)
    broken = plant.keeper.add_record("pamUser", "Broken", custom=[keeper.text("application_id", "no id")])
    plant.keeper.add_record("pamUser", "Database user")
    before = State.of(plant)
    result = command("check", "--all", sandbox=plant)

    assert 2 == result.returncode
    assert ["Exit status 2, bad input: 1 of 2", f"  record 'Broken' ({broken})"] == result.stdout.splitlines()[-3:-1]
    assert "1 of 2 records: a rotation would go through" == result.stdout.splitlines()[-1]
    assert plant.user_uid in result.stdout
    assert "Database user" not in result.stdout + result.stderr
    assert_as_before(plant, before)


def test_json_has_the_facts_of_each_run_and_nothing_else(command: Command, plant: Plant) -> None:
    """One document on stdout, by record: exit status, error, warnings, what would be deleted; nothing on stderr."""
    attach(plant, plant.user_uid, plant.attached)
    plant.set_field("keep_previous_key", "1")
    stranger = plant.keeper.add_record("pamUser", "Database user")
    result = command("check", "--json", "NoSuchRecord", plant.user_uid, stranger, sandbox=plant)

    told = json.loads(result.stdout)
    missing, looked, other = told["records"]
    assert (2, "") == (result.returncode, result.stderr)
    assert ["NoSuchRecord", plant.user_uid, stranger] == [one["record"] for one in told["records"]]
    assert {"records": 3, "exit_status_0": 1, "exit_status_2": 2} == {k: n for k, n in told["summary"].items() if n}
    assert (0, "looked", [plant.old_key_id]) == (looked["exit_status"], looked["result"], looked["would_delete"])
    assert ["keep_previous_key" in line for line in looked["warnings"]] == [True]
    assert (2, []) == (missing["exit_status"], missing["warnings"])
    assert "not shared" in missing["error"]
    assert "belongs to none of the scripts" in other["error"]
    assert [] == [len(value) for value in plant.secrets() if value in result.stdout]


@pytest.mark.parametrize("arguments", [(), ("--all", "SomeRecord")])
def test_either_records_or_all_of_them_are_named(arguments: tuple[str, ...], command: Command, plant: Plant) -> None:
    """Nothing is asked of anybody before that is clear."""
    result = command("check", *arguments, sandbox=plant)

    assert 2 == result.returncode
    assert "usage: pam-scripts check" in result.stderr
    assert "--all" in result.stderr.splitlines()[-1]
    assert [] == plant.wire.log
