"""The line of JSON and the record's log after real runs, however they end: held to the schema, and true."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from pam_scripts.rotation import ops_log
from sandbox import faults
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.log import Request
from sandbox.plant import SEEQ_HOST, VAULT, Plant
from tests.conftest import ROOT
from tests.support.in_process import InProcess
from tests.support.invariants import Script, in_keeper

SCHEMA = json.loads((ROOT / "docs/reference/run.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def in_process() -> InProcess:
    """Return the main script in this process."""
    return InProcess("rotate_seeq_application_key")


@pytest.fixture
def plant(plant: Plant) -> Plant:
    """Return the plant, its record asking for the line of JSON."""
    plant.set_field("log_format", "json")
    return plant


def line_of(result: RotationResult) -> dict[str, Any]:
    """Return the last line on stdout, held to the schema, and to the process's own exit status."""
    line: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    jsonschema.Draft202012Validator(SCHEMA).validate(line)
    assert result.returncode == line["exit_status"]
    return line


def logged(plant: Plant, line: dict[str, Any]) -> None:
    """Check that the newest entry of the record's log says the same."""
    entry = ops_log.read_entries(plant.keeper.value(plant.user_uid, "last_rotation") or "")[0]
    jsonschema.Draft202012Validator(SCHEMA).validate(entry)
    assert {**line, "record": "", "record_title": ""} == entry


def test_a_rotation_leaves_what_it_made_and_where_that_is(script: Script, plant: Plant) -> None:
    """As it is attached: the new key, each place, what was deleted, when it is due."""
    line = line_of(script.run(plant))

    assert ("rotated", in_keeper(plant)[0], [plant.old_key_id]) == (line["result"], line["new_key"], line["deleted"])
    assert 3 == len(line["stored_in"])
    assert (True, None) == (line["login_verified"], line["health_verified"])
    assert plant.keeper.value(plant.user_uid, "expires") == line["next_due"]
    assert plant.user_uid == line["record"]
    logged(plant, line)


def test_a_look_leaves_what_a_rotation_would_do(in_process: InProcess, plant: Plant) -> None:
    """The keys that would go and that would stay; nothing is said to be done, and the record is not written."""
    kept, _ = plant.add_key("Keeper", created_days_ago=1)
    plant.set_field("keep_previous_keys", "1")
    plant.set_field("dry_run", "True")
    line = line_of(in_process.run(plant))

    assert ("looked", "", [], []) == (line["result"], line["new_key"], line["deleted"], line["kept"])
    assert {plant.old_key_id, kept} == {*line["would_delete"], *line["would_keep"]}
    assert (1, 1) == (len(line["would_delete"]), len(line["would_keep"]))


def test_a_failure_that_was_put_back_names_the_key_that_was_made_and_deleted(script: Script, plant: Plant) -> None:
    """It is in a field of its own, no place is said to hold it; and what was put back was told as it happened."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, rights=("get", "list"))
    result = script.run(plant)
    line = line_of(result)

    assert ("failed", 1, "", []) == (line["result"], line["exit_status"], line["new_key"], line["stored_in"])
    made = {key.key_id for key in plant.issued()} - {plant.old_key_id}
    assert made == {line["withdrawn_key"]}
    record = f"Keeper record 'Seeq application key: Reports' ({plant.user_uid})"
    told = result.stdout.splitlines()[-5:-1]
    assert told[0].startswith("Putting everything back, since this failed: key vault: set secret ")
    assert [
        f"Put back: Azure Key Vault {VAULT}, which held: {plant.old_key_id}",
        f"Put back: {record}, which held: {plant.old_key_id}",
        f"Deleted the new access key: {line['withdrawn_key']}",
    ] == told[1:]
    assert [] == line["may_be_alive"] == line["may_be_stored_in"]
    logged(plant, line)


def test_old_keys_that_live_are_a_result_of_their_own(in_process: InProcess, plant: Plant) -> None:
    """Exit 3 is neither rotated nor failed."""
    plant.set_field("deadline_seconds", "20")
    plant.wire.rules.append(Rule(faults.status(403), method="DELETE"))
    line = line_of(in_process.run(plant))

    assert ("old_keys_alive", 3, [plant.old_key_id]) == (line["result"], line["exit_status"], line["still_alive"])
    assert [] == line["deleted"]
    logged(plant, line)


def test_a_store_that_could_not_be_put_back_is_named_as_such(in_process: InProcess, plant: Plant) -> None:
    """Exit 4 is uncertain: the new key lives, and the places that may hold it are told apart from those that do."""
    plant.set_field("deadline_seconds", "12")
    vault = f"{VAULT}.vault.azure.net"

    def has_the_new_pair(request: Request) -> bool:
        written = [one for one in plant.wire.log if one.host == vault and one.method == "PUT"]
        return 2 == sum(one.number < request.number for one in written)

    plant.wire.rules.append(Rule(faults.status(503), host=vault, where=has_the_new_pair))
    line = line_of(in_process.run(plant))

    assert ("uncertain", 4) == (line["result"], line["exit_status"])
    assert line["new_key"] in {key.key_id for key in plant.issued() if key.live}
    assert line["may_be_stored_in"]
    assert [] == line["stored_in"]
    logged(plant, line)


def test_bad_input_leaves_a_line_too(in_process: InProcess, plant: Plant) -> None:
    """Nothing was touched, and the line says which record it was."""
    plant.set_field("expiry_days", "never")
    line = line_of(in_process.run(plant))

    assert ("failed", 2, plant.user_uid) == (line["result"], line["exit_status"], line["record"])
    assert [] == [request for request in plant.wire.log if request.host == SEEQ_HOST]
