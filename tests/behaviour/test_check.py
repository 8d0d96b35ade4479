"""Looking without touching: `dry_run` in the record, and `--check` on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sandbox.gateway import RotationResult
from sandbox.plant import SEEQ_HOST, VAULT, Plant
from sandbox.services import keeper
from tests.support.invariants import Script, State, assert_as_before, assert_silent, live_key_ids, writes

Look = Callable[[Plant], RotationResult]


def check(script: Script, plant: Plant, *options: str) -> RotationResult:
    """Run `--check --record UID` as an engineer on the Gateway's host does."""
    return script.run(plant, b"", arguments=["--check", "--record", plant.user_uid, *options])


@pytest.fixture(params=["dry-run", "check"])
def look(request: pytest.FixtureRequest, script: Script) -> Look:
    """Return each of the two ways to look; both check that nothing is written and nothing secret shown."""

    def run(plant: Plant) -> RotationResult:
        before = State.of(plant)
        options = ("--credential", plant.admin_uid) if plant.attached else ()
        if request.param == "dry-run":
            plant.set_field("dry_run", "True")
            before = State.of(plant)
            result = script.run(plant)
        else:
            result = check(script, plant, *options)
        assert [] == writes(plant.wire.log)
        assert_as_before(plant, before)
        assert_silent(plant, result)
        return result

    return run


def has_all(text: str, parts: Sequence[str]) -> bool:
    """Say whether each part begins a line of the text, in this order."""
    lines = iter(text.splitlines())
    return all(any(line.strip().startswith(part) for line in lines) for part in parts)


def test_what_is_there_and_what_would_go_is_told(look: Look, plant: Plant) -> None:
    """Exit 0 with each store's credential, each key to delete, and the sentence that nothing was changed."""
    expired, _ = plant.seeq.add_key(plant.application_id, "left over", created_days_ago=100, expires_in_days=-10)

    result = look(plant)

    assert (0, "") == (result.returncode, result.stderr)
    admin = f"record 'Seeq admin' ({plant.admin_uid})"
    parts = [
        f"Authenticated to Seeq server: https://{SEEQ_HOST} with the credential of {admin}",
        f"Retrieved application: Reports ({plant.application_id})",
        f"Keeper record 'Seeq application key: Reports' ({plant.user_uid}) holds: {plant.old_key_id}",
        f"Azure Key Vault {VAULT} holds: {plant.old_key_id}",
        f"Found 2 access keys of application {plant.application_id}",
    ]
    assert has_all(result.stdout, parts), result.stdout
    for key_id in (plant.old_key_id, expired):
        assert has_all(result.stdout, [f"to delete: {key_id}"]), result.stdout
    assert result.stdout.splitlines()[-1].startswith("Dry run: nothing was changed")


def test_what_would_be_kept_is_told(look: Look, plant: Plant) -> None:
    """With `keep_previous_keys` the published key is to keep, and an older one to delete."""
    plant.set_field("keep_previous_keys", "1")
    older, _ = plant.seeq.add_key(plant.application_id, "older", created_days_ago=60)

    result = look(plant)

    assert 0 == result.returncode, result.stderr
    assert has_all(result.stdout, [f"to keep: {plant.old_key_id}", f"to delete: {older}"]), result.stdout


def test_empty_stores_are_told(look: Look, make_plant: Callable[..., Plant]) -> None:
    """Before the first rotation ever, record and vault hold no key yet."""
    plant = make_plant(first_time=True)

    result = look(plant)

    assert 0 == result.returncode, result.stderr
    assert 2 == result.stdout.count(" holds: no key yet")


def test_a_mixed_pair_is_told(look: Look, plant: Plant) -> None:
    """Two secrets of different rotations are called what they are."""
    plant.key_vault.set(VAULT, plant.id_name, plant.old_key_id, tags={"rotation-id": "1"})
    plant.key_vault.set(VAULT, plant.password_name, plant.old_password, tags={"rotation-id": "2"})

    result = look(plant)

    assert 0 == result.returncode, result.stderr
    assert f"Azure Key Vault {VAULT} holds: a mixed pair" in result.stdout


def test_a_missing_right_in_seeq_is_told(look: Look, plant: Plant) -> None:
    """A user who may not make keys is found out without making one: exit 1 with the capability's name."""
    plant.seeq.add_user("reader", "the reader's password")

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login("reader"), keeper.password("the reader's password")]

    plant.keeper.edit(plant.admin_uid, change)

    result = look(plant)

    assert 1 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert " may not make keys: " in result.stderr
    assert '"User and Group Administration"' in result.stderr


def test_the_capability_is_enough(look: Look, plant: Plant) -> None:
    """A user administrator who is no administrator misses nothing."""
    plant.seeq.add_user("useradmin", "another password", capabilities=["User and Group Administration"])

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login("useradmin"), keeper.password("another password")]

    plant.keeper.edit(plant.admin_uid, change)

    assert (0, "") == ((result := look(plant)).returncode, result.stderr)


def test_a_missing_right_in_key_vault_is_told(look: Look, plant: Plant) -> None:
    """A caller that may not read the secrets is found out: exit 1 with the role's name."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, {"list", "set"})

    result = look(plant)

    assert 1 == result.returncode
    assert "grant the role 'Key Vault Secrets Officer'" in result.stderr


def test_a_record_that_may_not_be_saved_is_told(look: Look, plant: Plant) -> None:
    """A record without 'Can Edit' is found out: exit 2, as a rotation would end."""
    plant.keeper.set_editable(plant.user_uid, editable=False)

    result = look(plant)

    assert 2 == result.returncode
    assert "'Can Edit'" in result.stderr


def test_a_wrong_setting_is_told(look: Look, plant: Plant) -> None:
    """A setting that a rotation would refuse is refused here too, with the same status."""
    plant.set_field("expiry_days", "forever")

    result = look(plant)

    assert 2 == result.returncode
    assert "'expiry_days'" in result.stderr


# -- how the command finds the records ------------------------------------------------------------


def attach_in_record(plant: Plant, *uids: str) -> None:
    """Attach a script with its credentials to the PAM User record, as the vault stores it."""
    value = [{"fileRef": "FileRecordsUid12345678", "command": "python3", "recordRef": list(uids)}]
    plant.keeper.edit(
        plant.user_uid,
        lambda data: data["fields"].append({"type": "script", "label": "rotationScripts", "value": value}),
    )


def test_credentials_are_found_by_the_records_own_script_settings(script: Script, plant: Plant) -> None:
    """With nothing but the record's UID, attached records and the one PAM Configuration are found."""
    attach_in_record(plant, plant.admin_uid)

    result = check(script, plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert has_all(result.stdout, [f"to delete: {plant.old_key_id}"]), result.stdout
    assert [] == writes(plant.wire.log)


def test_of_several_configurations_one_must_be_named(script: Script, make_plant: Callable[..., Plant]) -> None:
    """Which of two PAM Configurations is meant is not guessed; `--configuration` says it."""
    plant = make_plant(admin="configuration")
    plant.keeper.add_record("pamAwsConfiguration", "Another site")

    unnamed = check(script, plant)
    named = check(script, plant, "--configuration", plant.configuration_uid)

    assert 2 == unnamed.returncode
    assert "no Seeq admin credential" in unnamed.stderr
    assert (0, "") == (named.returncode, named.stderr)


def test_the_admin_is_found_in_the_configuration(script: Script, make_plant: Callable[..., Plant]) -> None:
    """With the admin's credential in the only PAM Configuration, the record's UID is enough."""
    plant = make_plant(admin="configuration")

    result = check(script, plant)

    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize("option", ["--record", "--credential", "--configuration"])
def test_a_uid_that_is_not_shared_is_told(option: str, script: Script, plant: Plant) -> None:
    """A mistyped UID, or a record that is not in the application's folder, is named: exit 2."""
    plant.keeper.add_record("login", "private", uid="PrivateRecordsUid12345", shared=False)
    given = {"--record": plant.user_uid, "--credential": plant.admin_uid, "--configuration": plant.configuration_uid}
    given[option] = "PrivateRecordsUid12345"

    result = script.run(plant, b"", arguments=["--check", *(word for pair in given.items() for word in pair)])

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert "not shared to the Gateway's application: PrivateRecordsUid12345" in result.stderr
    assert "share the folder" in result.stderr


@pytest.mark.parametrize("arguments", [["--check"], ["--record", "x"], ["--chek"]])
def test_a_wrong_command_line_is_told(arguments: list[str], script: Script, plant: Plant) -> None:
    """Options that do not belong together end with exit 2 and the usage, and nothing is asked."""
    result = script.run(plant, b"", arguments=arguments)

    assert 2 == result.returncode
    assert "usage:" in result.stderr
    assert "Traceback" not in result.stderr
    assert [] == plant.wire.log


def test_help_explains_options_and_exit_statuses(script: Script, plant: Plant) -> None:
    """`--help` says what the script does, every option, and what each exit status means."""
    result = script.run(plant, b"", arguments=["--help"])

    assert 0 == result.returncode
    for part in ("Rotate the access key of a Seeq application", "--check", "--record", "--credential"):
        assert part in result.stdout
    for status in ("0 rotated", "1 failed", "2 bad input", "3 rotated", "4 not certain"):
        assert status in " ".join(result.stdout.split())


def test_a_check_leaves_the_key_that_a_rotation_then_replaces(script: Script, plant: Plant) -> None:
    """What was looked at with success can be rotated with success."""
    attach_in_record(plant, plant.admin_uid)
    assert 0 == check(script, plant).returncode

    assert 0 == script.run(plant).returncode
    assert plant.old_key_id not in live_key_ids(plant)
