"""`publish_secret`, attached and run as the Gateway does: a value on its way to those who read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sandbox import faults
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.plant import VAULT, on_loopback
from sandbox.publishing import SECRET, STAGE_VAULT, PublishPlant
from tests.support.in_process import InProcess
from tests.support.invariants import LEASE, Runs, Script, assert_silent, custom_fields, writes

Make = Callable[..., PublishPlant]


@pytest.fixture(scope="session")
def script(make_script: Callable[[str], Script]) -> Script:
    """Return the script as it is attached."""
    return make_script("publish_secret")


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a maker of plants whose consumers are waited for as long as they take here."""
    with ExitStack() as stack:

        def made(value_format: str = "keeper", **options: Any) -> PublishPlant:  # noqa: ANN401 - of PublishPlant
            plant = stack.enter_context(on_loopback(PublishPlant, value_format=value_format, **options))
            plant.set_field("health_seconds", "5")
            return plant

        yield made


def publish(script: Runs, plant: PublishPlant, status: int = 0, *parts: str) -> RotationResult:
    """Run the script; check its exit status, that its error line has these parts, and that nothing secret shows."""
    result = script.run(plant)
    assert status == result.returncode, result.stderr
    assert [] == [part for part in parts if part not in result.stderr], result.stderr
    assert "Traceback" not in result.stderr
    assert_silent(plant, result)
    assert [] == custom_fields(plant, LEASE), "no lease is left"
    return result


# -- the password that Keeper made ----------------------------------------------------------------


def test_the_password_that_keeper_made_stands_everywhere(script: Script, make: Make) -> None:
    """Two vaults and AWS hold the connection string with it, and the app that reads it was restarted."""
    plant = make()
    plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))
    app = plant.add_app("portal", SECRET)

    result = publish(script, plant)
    assert {plant.new_password} == set(plant.holdings().values())
    assert {"credential": plant.written(plant.new_password)} == app.holds
    assert 1 == app.restarts
    assert f"Stored in Azure Key Vault {STAGE_VAULT} as: {SECRET}" in result.stdout
    assert [] == custom_fields(plant, "value"), "the record's password field is the place for it, and is Keeper's"
    assert "Services restarted: container app portal" in (plant.keeper.value(plant.user_uid, "last_rotation") or "")


def test_aws_keeps_the_one_before_as_previous(script: Script, make: Make) -> None:
    """Who still reads AWSPREVIOUS gets the old value."""
    plant = make()
    plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))

    publish(script, plant)
    assert plant.written(plant.old_password) == plant.aws.value("plant/erp", "AWSPREVIOUS")
    plant.rotate_password()
    publish(script, plant)
    assert {plant.new_password} == set(plant.holdings().values())


def test_a_vault_that_fails_keeps_the_password_from_no_other(script: Script, make: Make) -> None:
    """Keeper has changed it already: exit 4 says who holds it and who does not; the next rotation mends that."""
    plant = make()
    plant.set_field("deadline_seconds", "10")
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, rights=("get", "list"))

    publish(script, plant, 4, "cannot be taken back", f"the old one may still be in Azure Key Vault {VAULT}")
    assert {f"vault {VAULT}": plant.old_password, f"vault {STAGE_VAULT}": plant.new_password} == plant.holdings()
    assert "Result: uncertain" in (plant.keeper.value(plant.user_uid, "last_rotation") or "")

    plant.key_vault.grant(VAULT, plant.azure_app.client_id)
    plant.rotate_password()
    publish(script, plant)
    assert {plant.new_password} == set(plant.holdings().values())


def test_an_app_that_stays_ill_with_keepers_password_is_told(script: Script, make: Make) -> None:
    """There is nothing to go back to: every store keeps the new one, exit 4 names the app."""
    plant = make()
    plant.add_app("portal", SECRET, heals=lambda held: held["credential"] == plant.written(plant.old_password))

    publish(script, plant, 4, "container app portal did not become healthy", "every store holds it")
    assert {plant.new_password} == set(plant.holdings().values())


def test_without_a_password_from_keeper_there_is_nothing_to_publish(script: Script, make: Make) -> None:
    """A payload without `newPassword` is refused, and the way out named."""
    plant = make()
    stdin = plant.gateway.payload(plant.user_uid, attached=plant.attached)

    result = script.run(plant, stdin)
    assert 2 == result.returncode
    assert "field 'newPassword' is empty" in result.stderr
    assert "alnum:32" in result.stderr
    assert [] == writes(plant.wire.log)


def test_a_dry_run_after_keeper_changed_the_password_is_no_success(script: Script, make: Make) -> None:
    """Nothing is written, and since readers are cut off until it is, the exit status is 4."""
    plant = make()
    plant.set_field("dry_run", "True")

    publish(script, plant, 4, "'dry_run' is set", "Keeper has changed the password already")
    assert [] == writes(plant.wire.log)


def test_a_check_from_the_command_line_looks_and_succeeds(script: Script, make: Make) -> None:
    """An engineer finds out beforehand whether publishing would work; nothing is written."""
    plant = make()
    plant.add_app("portal", SECRET)

    result = script.run(plant, b"", arguments=["--check", "--record", plant.user_uid])
    assert (0, "") == (result.returncode, result.stderr)
    assert "Dry run: nothing was changed" in result.stdout
    assert [] == writes(plant.wire.log)


# -- values made here -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value_format", "shape"),
    [
        ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("hex:24", r"[0-9a-f]{48}"),
        ("alnum:32", r"[0-9A-Za-z]{32}"),
        ("base64:24", r"[0-9A-Za-z+/]{32}"),
    ],
)
def test_a_value_made_here_has_its_shape_and_stands_everywhere(
    script: Script, make: Make, value_format: str, shape: str
) -> None:
    """The record's hidden field `value` holds it, and so does every vault; each run makes another."""
    plant = make(value_format, template="{value}", first_time=True)

    publish(script, plant)
    (first,) = set(plant.holdings().values())
    assert re.fullmatch(shape, first)
    assert ["secret"] == [item["type"] for item in custom_fields(plant, "value")]
    publish(script, plant)
    (second,) = set(plant.holdings().values())
    assert first != second


def test_a_value_made_here_that_one_vault_refuses_is_put_back(script: Script, make: Make) -> None:
    """Nobody holds the new one afterwards; the vault's latest version is the old value, and can be read."""
    plant = make("alnum:32")
    plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=("get", "list"))
    plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))

    publish(script, plant, 1, "all put back as it was")
    assert {plant.old_password} == set(plant.holdings().values())
    assert plant.key_vault.versions(VAULT, SECRET)[-1].enabled


def test_an_app_that_stays_ill_has_its_old_value_back(script: Script, make: Make) -> None:
    """Stores first, then both apps once more: exit 1, and every app runs on what it ran on before."""
    plant = make("alnum:32")
    plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))
    well = plant.add_app("portal", SECRET)
    ill = plant.add_app("inventory", SECRET, heals=lambda held: held["credential"] == plant.written(plant.old_password))

    publish(script, plant, 1, "container app inventory did not become healthy", "all put back as it was")
    assert {plant.old_password} == set(plant.holdings().values())
    for app in (well, ill):
        assert (2, {"credential": plant.written(plant.old_password)}) == (app.restarts, app.holds)
        assert app.healthy
    versions = plant.key_vault.versions(VAULT, SECRET)
    assert [True, True] == [versions[0].enabled, versions[-1].enabled], "put back as a new version, not by disabling"


def test_an_app_that_was_ill_before_is_told_of_after_the_put_back(script: Script, make: Make) -> None:
    """What cannot be made well is at least named."""
    plant = make("alnum:32")
    plant.add_app("portal", SECRET, heals=False)

    publish(script, plant, 1, "all put back as it was, and reloaded again, but not healthy: container app portal")


# -- what is stored -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "value", "stored"),
    [
        ("Server=s;Password={password};", 'a;b"c', """Server=s;Password='a;b"c';"""),
        ("Server=s;Password={password}", """it's "so";""", '''Server=s;Password="it's ""so"";"'''),
        (
            "amqps://{login}:{password}@mq.example.com/erp",
            "a/b@c:d",
            "amqps://erp_user:a%2Fb%40c%3Ad@mq.example.com/erp",
        ),
        (
            "cache.example.com:6380,password={password},ssl=True",
            "abc=",
            "cache.example.com:6380,password=abc=,ssl=True",
        ),
        (
            "Driver={ODBC Driver 18 for SQL Server};Server=s;Uid={login};Pwd={{password}};",
            "a;b}c",
            "Driver={ODBC Driver 18 for SQL Server};Server=s;Uid=erp_user;Pwd={a;b}}c};",
        ),
        (
            "Endpoint=sb://erp.example.com/;SharedAccessKeyName=send;SharedAccessKey={password}",
            "c2VjcmV0+/w==",
            "Endpoint=sb://erp.example.com/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0+/w==",
        ),
        (
            '{"user": "{login}", "password": "{password}", "options": {}}',
            'a"b\\c',
            '{"user": "erp_user", "password": "a\\"b\\\\c", "options": {}}',
        ),
        ("", "just the value", "just the value"),
    ],
)
def test_a_template_is_filled_in_as_its_readers_read_it(
    script: Script, make: Make, template: str, value: str, stored: str
) -> None:
    """Each form has its own quotes; keys of Azure, lists and plain values have none."""
    plant = make(template=template)
    stdin = plant.gateway.payload(plant.user_uid, attached=plant.attached, new_password=value)

    result = script.run(plant, stdin)
    assert (0, "") == (result.returncode, result.stderr)
    assert value not in result.stdout
    assert stored == plant.key_vault.value(VAULT, SECRET)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("value_format", "md5", "`uuid`, `hex:NUMBER`"),
        ("value_format", "hex:3", "16 to 256 random bytes"),
        ("value_template", "Server=s;User Id={login};", "neither {password} nor {value}"),
        ("value_template", "Server=s;Password='{password}';", "within a longer value"),
        ("value_template", "API_KEY={password}", "'value_quoting'"),
        ("value_quoting", "xml", "'sql' or 'odbc' or 'azure' or 'url' or 'list' or 'json' or 'plain'"),
        ("secret_name", "not_a_name", "1 to 127 letters, digits and hyphens"),
        ("secret_name", "", "field 'secret_name' is empty"),
        ("key_vault_name", "", "nowhere to publish to"),
        ("container_apps", "portal", "RESOURCE-GROUP/APP"),
        ("container_apps", "plant-apps/portal", "'subscription_id'"),
        ("health_urls", "https://user:word@host/health", "https://host/health"),
        ("health_seconds", "1", "a whole number from 5 to 1800"),
        ("aws_secret_id", "a secret", "name (letters"),
        ("aws_secret_id", "plant/gr\u00f6\u00dfe", "name (letters"),
        ("aws_region", "the nearest", "a region such as"),
        ("aws_region", "eu-central-\u0661", "a region such as"),
        ("log_format", "xml", "'text' or 'json'"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_touched(make: Make, field: str, value: str, told: str) -> None:
    """One line that names the field and the way out, exit 2, and nothing written."""
    plant = make("alnum:32" if field != "value_template" else "keeper")
    if field == "aws_region":
        plant.add_aws_mirror("plant/erp")
    plant.set_field(field, value)

    result = publish(InProcess("publish_secret"), plant, 2, told)
    assert 1 == len(result.stderr.splitlines())
    assert field in result.stderr
    assert [] == writes(plant.wire.log)


def test_a_password_that_a_list_cannot_hold_is_refused(script: Script, make: Make) -> None:
    """A comma would end the value; the line does not show it, and says that Keeper's password is in use already."""
    plant = make(template="cache.example.com:6380,password={password},ssl=True")
    stdin = plant.gateway.payload(plant.user_uid, attached=plant.attached, new_password="one,two,three")

    result = script.run(plant, stdin)
    assert 2 == result.returncode
    assert "keep commas" in result.stderr
    assert "Keeper has changed the password already" in result.stderr
    assert "one,two" not in result.stderr
    assert [] == writes(plant.wire.log)


# -- one fault at every request -------------------------------------------------------------------


def test_one_503_at_any_request_ends_with_every_reader_on_one_value(script: Script) -> None:
    """Whichever request is refused once, a value made here stands everywhere, or the old one does."""
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        publish(script, plant)
        requests = len(plant.wire.log)
    assert requests > 15, "the happy path was found"

    for number in range(1, requests + 1, 3):
        with on_loopback(PublishPlant, value_format="alnum:32") as plant:
            rule = Rule(faults.status(503), number=number)
            plant.wire.rules.append(rule)
            result = script.run(plant)
            assert 1 == rule.hits
            assert result.returncode in (0, 1), result.stderr
            (held,) = set(plant.holdings().values())
            assert (held == plant.old_password) == bool(result.returncode), result.stderr


# -- the log --------------------------------------------------------------------------------------


def test_the_last_line_sums_the_run_up_for_a_siem(script: Script, make: Make) -> None:
    """One JSON object with the facts of the ops log, for a success, a failure and bad input."""
    plant = make("alnum:32")
    plant.set_field("log_format", "json")
    plant.set_field("environment", "stage")
    plant.set_field("rotation_reason", "a leak")
    plant.add_app("portal", SECRET)

    entry = json.loads(publish(script, plant).stdout.splitlines()[-1])
    assert ("rotated", 0, "stage", "a leak", True, "") == tuple(
        entry[name] for name in ("result", "exit_status", "environment", "reason", "health_verified", "error")
    )
    assert (plant.user_uid, ["container app portal"]) == (entry["record"], entry["services_restarted"])
    assert f"Azure Key Vault {VAULT} as: {SECRET}" in entry["stored_in"]

    plant.key_vault.grant(VAULT, plant.azure_app.client_id, rights=())
    entry = json.loads(publish(script, plant, 1).stdout.splitlines()[-1])
    assert ("failed", 1, []) == (entry["result"], entry["exit_status"], entry["stored_in"])
    assert "403" in entry["error"]

    plant.set_field("key_vault_name", "no such name")
    entry = json.loads(publish(script, plant, 2).stdout.splitlines()[-1])
    assert ("failed", 2) == (entry["result"], entry["exit_status"])


def test_a_date_field_gets_its_milliseconds() -> None:
    """`rotated_at` that a person made as a date, at the first publication and at the next."""

    def make_date(data: dict[str, Any]) -> None:
        data["custom"] = [item for item in data["custom"] if item.get("label") != "rotated_at"]
        data["custom"].append({"type": "date", "label": "rotated_at", "value": []})

    with on_loopback(PublishPlant, value_format="hex:24") as plant:
        plant.keeper.edit(plant.user_uid, make_date)
        for _ in range(2):
            assert 0 == InProcess("publish_secret").run(plant).returncode
            field = custom_fields(plant, "rotated_at")[0]
            moment = datetime.fromtimestamp(field["value"][0] / 1000, timezone.utc)
            assert "date" == field["type"]
            assert abs(moment - plant.clock.now()) < timedelta(minutes=2)
            plant.clock.advance(seconds=11)
