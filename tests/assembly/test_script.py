"""What a script reads from its records, and what it says of itself: nobody is asked for that."""

from __future__ import annotations

import pytest

from pam_scripts.assembly.registry import CONSUMERS, MIRRORS
from pam_scripts.assembly.script import Script
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.fields import Record, normalised
from pam_scripts.gateway.payload import Job
from pam_scripts.publish_secret import SCRIPT as PUBLISH
from pam_scripts.rotate_azure_app_secret import SCRIPT as AZURE
from pam_scripts.rotate_seeq_application_key import SCRIPT as APPLICATION

SUBSCRIPTION = "53a58e5a-745f-41da-992c-0642f48d155a"


def job(**values: str) -> Job:
    """Return a job whose record has these fields, with an admin of each system at hand."""
    record = {"uid": "U", "title": "Key", "login": "reports", **values}
    admin = {"login": "admin", "password": "of the admin", "seeq_server_url": "https://seeq.example.com"}
    azure = {"Tenant Id": "tenant", "Client Id": "client", "Client Secret": "secret", "subscription_id": SUBSCRIPTION}
    return Job(
        Record.from_flat(record),
        Record.from_flat({"uid": "C", "title": "Plant Azure", **azure}),
        [Record.from_flat({"uid": "A", "title": "Seeq admin", **admin})],
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_no_label_stands_twice(script: Script) -> None:
    """Inputs and outputs, of the issuer and of every mirror and consumer, have labels that nobody could mix up."""
    labels = [normalised(field.label) for field in script.fields]

    assert labels
    assert sorted({*labels}) == sorted(labels)
    assert [False] * len(script.inputs) == [field.output for field in script.inputs]
    assert [True] * len(script.outputs) == [field.output for field in script.outputs]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_tells_a_record_as_the_scripts_is_a_field_of_it(script: Script) -> None:
    """A record is taken for a script's by fields that the script itself reads or writes."""
    labels = {field.label for field in script.fields}

    assert script.identified_by
    assert {script.written, *script.identified_by, *script.suggested_by} <= labels


def test_every_host_is_named_once_with_the_most_connections_that_anybody_needs() -> None:
    """Two vaults and an app share one authority, where one asks for all; a vault is asked for its secrets at a time."""
    asked = APPLICATION.read(
        job(application_id="A1", key_vault_name="first-vault, second-vault", container_apps="plant/portal")
    )

    assert [] == asked.problems
    assert {
        "first-vault.vault.azure.net": 2,
        "second-vault.vault.azure.net": 2,
        "login.microsoftonline.com": 0,
        "management.azure.com": 1,
        "seeq.example.com": 1,
    } == asked.hosts


def test_a_vault_that_is_named_twice_is_one_mirror() -> None:
    """By name and by address, in any letters."""
    asked = APPLICATION.read(
        job(application_id="A1", key_vault_name="plant-vault, https://PLANT-VAULT.vault.azure.net/, Plant-Vault")
    )

    assert ["plant-vault"] == [spec.name for spec in asked.mirrors]


def test_mirrors_and_consumers_are_read_though_the_issuers_part_is_wrong() -> None:
    """Of a record with several faults each is told; a mirror's names depend on the target, and wait for it."""
    asked = APPLICATION.read(job(application_id="A 1", key_vault_name="v", container_apps="plant/portal"))

    assert asked.issuer is None
    assert ([], 1) == (list(asked.mirrors), len(asked.consumers))
    assert ["application_id", "key_vault_name"] == [str(one).split("'")[3] for one in asked.problems]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 120),
        ({"health_urls": "https://portal.example.com/health"}, 120 + 2 * 180),
        ({"container_apps": "plant/portal", "health_seconds": "30"}, 120 + 2 * 30),
        ({"health_seconds": "30"}, 120),
        ({"container_apps": "plant/portal", "deadline_seconds": "90"}, 90),
    ],
    ids=["alone", "a page", "an app, sooner", "nobody to wait for", "said"],
)
def test_a_run_may_take_longer_where_consumers_are_waited_for(values: dict[str, str], seconds: int) -> None:
    """Twice what they may take: for the reload, and for the one after putting back; unless the record says how long."""
    assert seconds == APPLICATION.seconds(job(application_id="A1", **values))


def test_a_script_has_a_time_of_its_own() -> None:
    """What a slow system needs is the default of its script, in words and in deeds."""
    (deadline,) = (field for field in AZURE.inputs if field.label == "deadline_seconds")

    assert 240 == AZURE.seconds(job()) == int(deadline.default)


def test_an_admin_record_has_the_fields_of_whoever_logs_in() -> None:
    """The issuer's; where it has no login, those of all mirrors and consumers, each once."""
    others = [field.label for kind in (*MIRRORS, *CONSUMERS) for field in kind.ADMIN_FIELDS]
    labels = [field.label for field in PUBLISH.admin_fields]

    assert {*others} == {*labels}
    assert len({*labels}) == len(labels) < len(others)
    assert list(APPLICATION.issuer.ADMIN_FIELDS) == list(APPLICATION.admin_fields)
