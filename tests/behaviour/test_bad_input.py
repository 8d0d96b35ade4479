"""Bad payloads, settings and records: exit 2, one line that names the field and the way out, nothing touched."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from sandbox.plant import SEEQ_HOST, Plant
from sandbox.services import keeper
from tests.behaviour.conftest import Idle
from tests.support.in_process import InProcess
from tests.support.invariants import Script, State, assert_as_before, writes
from tests.support.refusals import Change, assert_refused, encoded, payload_with, record_in

HOW = "run it as a PAM script of a record, or try `--check --record UID`"


@pytest.fixture
def idle_plant(idle: Idle) -> Plant:
    """Return one plant for all the tests that must not send it a single request."""
    return idle(Plant)


@pytest.fixture(scope="module")
def in_process() -> InProcess:
    """Return the main script in this process: a payload or a setting is refused by its own code alone."""
    return InProcess("rotate_seeq_application_key")


# -- the payload ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stdin", "names"),
    [
        pytest.param(b"", "standard input is empty", id="empty"),
        pytest.param(b" \r\n\t ", "standard input is empty", id="blank"),
        pytest.param(b"\xef\xbb\xbf", "standard input is empty", id="byte-order-mark-only"),
        pytest.param(b"{'not': 'base64'}", "standard input is not Base64", id="not-base64"),
        pytest.param(b"QUJDR", "standard input is not Base64", id="cut-short"),
        pytest.param(b"\xff\xfe\x00\x01", "standard input is not Base64", id="bytes"),
        pytest.param(base64.b64encode(b"no JSON"), "standard input is not JSON in Base64", id="not-json"),
        pytest.param(base64.b64encode(b"\xff\xfe"), "standard input is not JSON in Base64", id="not-utf-8"),
        pytest.param(base64.b64encode(b"[" * 100_000), "standard input is not JSON in Base64", id="too-deep"),
        pytest.param(encoded([]), "the payload is not a JSON object", id="a-list"),
        pytest.param(encoded("text"), "the payload is not a JSON object", id="a-string"),
        pytest.param(encoded(None), "the payload is not a JSON object", id="null"),
    ],
)
def test_what_is_no_payload_is_refused(stdin: bytes, names: str, in_process: InProcess, idle_plant: Plant) -> None:
    """Standard input that the Gateway did not write is answered in one line, and no request is sent."""
    result = in_process.run(idle_plant, stdin)

    assert_refused(idle_plant, result, names, HOW)
    assert [] == idle_plant.wire.log


def only_users_uid(value: object) -> Change:
    """Make a change that puts something else in the place of the PAM User record's UID."""
    return lambda whole, _: whole.update(userRecordUid=value)


def only_records(value: object) -> Change:
    """Make a change that puts something else in the place of the records."""
    return lambda whole, _: whole.update(records=value)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda whole, _: whole.pop("records"), "'records' is missing", id="no-records"),
        pytest.param(only_records(None), "'records' is missing", id="records-null"),
        pytest.param(only_records(""), "'records' is missing", id="records-empty"),
        pytest.param(only_records({"uid": "x"}), "'records' is missing, or not Base64 text", id="records-an-object"),
        pytest.param(only_records(7), "'records' is missing, or not Base64 text", id="records-a-number"),
        pytest.param(only_records("***"), "'records' is not Base64", id="records-not-base64"),
        pytest.param(only_records("QUJD"), "'records' is not JSON in Base64", id="records-not-json"),
        pytest.param(only_records(encoded({"a": 1}).decode()), "'records' is not a list", id="records-not-a-list"),
        pytest.param(only_records(["text"]), "'records' is not a list of records", id="records-of-text"),
        pytest.param(lambda whole, _: whole.pop("userRecordUid"), "'userRecordUid' is missing", id="no-uid"),
        pytest.param(only_users_uid(None), "'userRecordUid' is missing", id="uid-null"),
        pytest.param(only_users_uid(""), "'userRecordUid' is missing", id="uid-empty"),
        pytest.param(only_users_uid(12), "'userRecordUid' is missing", id="uid-a-number"),
        pytest.param(
            only_users_uid("AnotherRecordsUid12345"),
            "'records' lacks the PAM User record AnotherRecordsUid12345",
            id="uid-of-no-record",
        ),
        pytest.param(only_records([]), "'records' lacks the PAM User record", id="no-record-at-all"),
    ],
)
def test_a_payload_without_what_a_job_needs_is_refused(
    change: Change, names: str, in_process: InProcess, idle_plant: Plant
) -> None:
    """A payload whose parts are missing or of another kind is answered with the part's name."""
    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(idle_plant, result, names, HOW)
    assert [] == idle_plant.wire.log


# -- settings -------------------------------------------------------------------------------------

SETTINGS = [
    *[("application_id", value, "enter the Seeq ID of the application") for value in ("", "  ", "<Seeq ID here>")],
    *[
        ("application_id", value, "it must be a Seeq ID: letters, digits, hyphens")
        for value in ("../users/me", "a b", "X" * 65, "7B2F\u00e9")
    ],
    *[
        ("seeq_server_url", value, "it must be https://HOST")
        for value in (
            "http://seeq.example.com",
            "seeq.example.com",
            "https://",
            "https://seeq.example.com/workbench/42",
            "https://seeq.example.com?x=1",
            "https://seeq.example.com:port",
            "ftp://seeq.example.com",
        )
    ],
    *[
        ("key_vault_name", value, "a vault's name (3 to 24 letters, digits and single hyphens)")
        for value in (
            "kv",
            "my_vault",
            "-plant-vault",
            "plant--vault",
            "7plants",
            "v" * 25,
            "http://plant-vault.vault.azure.net",
            "https://plant-vault.vault.example.com",
            "https://plant-vault.vault.azure.net.example.com",
            "https://plant-vault.vault.azure.net/secrets/x",
            "plant-vault.vault.azure.net",
        )
    ],
    *[
        ("secret_name_prefix", value, "letters, digits and hyphens")
        for value in ("seeq app", "seeq_app", "se\u00e9q", "a/b", "x" * 100)
    ],
    *[("key_vault_combined", value, "it must be 'True' or 'False'") for value in ("maybe", "2")],
    *[(label, "perhaps", "it must be 'True' or 'False'") for label in ("dry_run", "take_over")],
    *[
        ("expiry_days", value, "it must be a whole number from 1 to 3650")
        for value in ("0", "-1", "3651", "1.5", "ninety", "1e2", "90 days", "9" * 40)
    ],
    *[("keep_previous_keys", value, "it must be a whole number from 0 to 100") for value in ("-1", "101", "all")],
    *[("deadline_seconds", value, "it must be a whole number from 10 to 3600") for value in ("9", "3601", "2 min")],
    ("ca_bundle", "/no/such/file.pem", "move it to the record with the credential"),
]


@pytest.mark.parametrize(
    ("label", "value", "way_out"), SETTINGS, ids=[f"{label}={value[:40]!a}" for label, value, _ in SETTINGS]
)
def test_a_setting_that_cannot_be_is_refused(
    label: str, value: str, way_out: str, in_process: InProcess, idle_plant: Plant
) -> None:
    """The line names the field and what it takes, before anything is asked of any system."""

    def change(whole: dict[str, Any], plant: Plant) -> None:
        record_in(whole, plant.user_uid)[label] = value

    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(idle_plant, result, f"'{label}'", way_out)
    assert [] == idle_plant.wire.log


def test_a_ca_bundle_that_is_no_pem_file_is_refused(in_process: InProcess, idle_plant: Plant, tmp_path: Path) -> None:
    """A file that is there and holds something else is named before the first connection."""
    path = tmp_path / "notes.txt"
    path.write_text("no certificate in here\n")

    def change(whole: dict[str, Any], plant: Plant) -> None:
        record_in(whole, plant.admin_uid)["ca_bundle"] = str(path)

    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(idle_plant, result, "'ca_bundle'", "PEM file")
    assert [] == idle_plant.wire.log


def test_a_password_in_an_address_is_not_repeated(in_process: InProcess, idle_plant: Plant) -> None:
    """Where somebody put user name and password into the URL, the refusal shows neither part of the password."""

    def change(whole: dict[str, Any], plant: Plant) -> None:
        record_in(whole, plant.user_uid)["seeq_server_url"] = f"https://admin:Tro0b@Dor@{SEEQ_HOST}"

    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(idle_plant, result, "'seeq_server_url'", "without user name")
    assert "Tro0b" not in result.stderr
    assert "Dor@" not in result.stderr
    assert [] == idle_plant.wire.log


def test_a_login_that_names_no_server_is_used_nowhere(in_process: InProcess, idle_plant: Plant) -> None:
    """Also not at the one that the PAM User record names: the record with the login is named, and the way out."""

    def change(whole: dict[str, Any], plant: Plant) -> None:
        record_in(whole, plant.admin_uid)["seeq_server_url"] = ""
        record_in(whole, plant.user_uid)["seeq_server_url"] = f"https://{SEEQ_HOST}"

    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(
        idle_plant, result, "'Seeq admin'", "at which Seeq server", "enter https://HOST as 'seeq_server_url'"
    )
    assert [] == idle_plant.wire.log


# -- the admin record -----------------------------------------------------------------------------


def without_password(whole: dict[str, Any], plant: Plant) -> None:
    """Take the password out of the admin record."""
    record_in(whole, plant.admin_uid)["password"] = ""


def without_admin(whole: dict[str, Any], plant: Plant) -> None:
    """Attach nothing."""
    whole["records"].remove(record_in(whole, plant.admin_uid))


@pytest.mark.parametrize("change", [without_admin, without_password])
def test_no_admin_credential_is_refused(change: Change, in_process: InProcess, idle_plant: Plant) -> None:
    """With neither an attached record nor the configuration's fields, both ways out are named."""
    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(
        idle_plant,
        result,
        "no Seeq admin credential",
        "attach one to the script",
        "'seeq_admin_login', 'seeq_admin_password' and 'seeq_server_url'",
    )
    assert [] == idle_plant.wire.log


def test_two_admin_records_that_cannot_be_told_apart_are_refused(in_process: InProcess, idle_plant: Plant) -> None:
    """The line has both titles and says which field decides."""

    def change(whole: dict[str, Any], plant: Plant) -> None:
        first = record_in(whole, plant.admin_uid)
        whole["records"].append({**first, "uid": "SecondRecordsUid123456", "title": "Second admin"})

    result = in_process.run(idle_plant, payload_with(idle_plant, change))

    assert_refused(
        idle_plant, result, "2 attached records", "'Seeq admin'", "'Second admin'", "'seeq_server_url'", "record only"
    )
    assert [] == idle_plant.wire.log


# -- the attached file ----------------------------------------------------------------------------


def with_value(label: str, value: str) -> Change:
    """Make a change that enters a value into the PAM User record."""
    return lambda whole, plant: record_in(whole, plant.user_uid).update({label: value})


@pytest.mark.parametrize(
    ("refused", "names"),
    [
        pytest.param(b"", "standard input is empty", id="empty"),
        pytest.param(b"\xff\xfe\x00\x01", "standard input is not Base64", id="bytes"),
        pytest.param(only_records("QUJD"), "'records' is not JSON in Base64", id="records-not-json"),
        pytest.param(with_value("application_id", ""), "enter the Seeq ID of the application", id="required"),
        pytest.param(with_value("expiry_days", "ninety"), "a whole number from 1 to 3650", id="number"),
        pytest.param(with_value("ca_bundle", "/"), "'ca_bundle'", id="file"),
        pytest.param(without_admin, "no Seeq admin credential", id="no-admin"),
    ],
)
def test_the_attached_file_refuses_alike(
    refused: bytes | Change, names: str, script: Script, in_process: InProcess, idle_plant: Plant
) -> None:
    """What is refused in this process is refused in the same words where the Gateway starts the file."""
    stdin = refused if isinstance(refused, bytes) else payload_with(idle_plant, refused)

    result = script.run(idle_plant, stdin)

    assert_refused(idle_plant, result, names)
    assert in_process.run(idle_plant, stdin).stderr == result.stderr
    assert {} == result.files_left
    assert [] == idle_plant.wire.log


# -- the record, as Keeper has it -----------------------------------------------------------------


def test_a_record_that_is_not_shared_is_refused(script: Script, plant: Plant) -> None:
    """A record that the Gateway's application cannot read is named, with what to do."""
    before = State.of(plant)
    plant.keeper.share(plant.user_uid, shared=False)

    result = script.run(plant)

    assert_refused(plant, result, f"record {plant.user_uid} is not shared", "share its folder", "'Can Edit'")
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)


def test_a_record_that_is_not_editable_is_refused(script: Script, plant: Plant) -> None:
    """A record that may be read and not saved is refused before a key is made."""
    before = State.of(plant)
    plant.keeper.set_editable(plant.user_uid, editable=False)

    result = script.run(plant)

    assert_refused(plant, result, "Seeq application key: Reports", "is not editable", "'Can Edit'")
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)


@pytest.mark.parametrize("twin", ["access_key_id", "Access Key Password", "expires", "last_rotation"])
def test_an_output_field_that_is_there_twice_is_refused(twin: str, script: Script, plant: Plant) -> None:
    """Which of two fields a client reads is anybody's guess: the label is named, to delete one of them."""
    label = twin.lower().replace(" ", "_")
    plant.set_field(label, "first")
    plant.keeper.edit(plant.user_uid, lambda data: data["custom"].append(keeper.text(twin, "second")))
    before = State.of(plant)

    result = script.run(plant)

    assert_refused(plant, result, f"field '{label}' is in the record more than once", "delete the extra ones")
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)


# -- whose key it is ------------------------------------------------------------------------------


def test_a_live_key_of_another_record_is_refused(script: Script, plant: Plant) -> None:
    """Two records that rotate one application would delete each other's keys: both are named, and the way out."""
    other = "AnotherRecordsUid12345"
    key_id, _ = plant.seeq.add_key(plant.application_id, f"keeper:{other}:20260101T000000Z-00000000")
    before = State.of(plant)

    result = script.run(plant)

    assert_refused(plant, result, key_id, other, plant.user_uid, "'take_over'")
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)


def test_an_admin_credential_that_the_rotation_would_delete_is_refused(script: Script, plant: Plant) -> None:
    """A key of the very application cannot be what the script logs in with."""
    pair = plant.seeq.add_key(plant.application_id, "for rotations")

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login(pair[0]), keeper.password(pair[1])]

    plant.keeper.edit(plant.admin_uid, change)
    before = State.of(plant)

    result = script.run(plant)

    assert_refused(plant, result, "the admin credential is access key", pair[0], "user administrator")
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)
