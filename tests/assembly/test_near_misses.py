"""Labels that are nearly ours are said, with the one that was meant; whatever means something is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from keepercommander.record_types import FieldTypes, RecordFields

from pam_scripts.assembly.script import Script
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.fields import Record, normalised
from pam_scripts.gateway.payload import Job
from pam_scripts.publish_secret import SCRIPT as PUBLISH
from pam_scripts.rotate_azure_app_secret import SCRIPT as AZURE
from pam_scripts.rotate_seeq_application_key import SCRIPT as APPLICATION
from pam_scripts.rotate_seeq_user_key import SCRIPT as USER
from pam_scripts.stores.keeper.labels import STANDARD_LABELS
from tests.conftest import ROOT
from tools.reference import SMALLEST

Values = Mapping[str, str]


def job(user: Values, admin: Values | None = None, configuration: Values | None = None) -> Job:
    """Return a job with these fields in its records."""
    return Job(
        Record.from_flat({"uid": "U", "title": "User", **user}),
        Record.from_flat({"uid": "C", "title": "Configuration", **(configuration or {})}),
        [Record.from_flat({"uid": "A", "title": "Admin", **(admin or {})})],
    )


@pytest.mark.parametrize(
    ("script", "label", "meant"),
    [
        (APPLICATION, "keep_previous_key", "'keep_previous_keys'"),
        (APPLICATION, "Keep Previous Kyes", "'keep_previous_keys'"),
        (APPLICATION, "container_app", "'container_apps'"),
        (APPLICATION, "expiry", "'expiry_days'"),
        (APPLICATION, "expiryDay", "'expiry_days'"),
        (APPLICATION, "Key Vault", "'key_vault_name' or 'key_vault_combined'"),
        (APPLICATION, "health_url", "'health_urls'"),
        (APPLICATION, "aplication_id", "'application_id'"),
        (AZURE, "dryrun2fa", ""),
        (AZURE, "drry_run", "'dry_run'"),
        (AZURE, "deadline", "'deadline_seconds'"),
        (USER, "delete_other_label", "'delete_other_labels'"),
        (PUBLISH, "value_templates", "'value_template'"),
        (PUBLISH, "adopt secret", "'adopt_secrets'"),
        (PUBLISH, "who to ask", ""),
        (PUBLISH, "uuid", ""),
    ],
)
def test_a_label_that_is_nearly_ours_is_said(script: Script, label: str, meant: str) -> None:
    """Two letters or fewer differ, or it is how the words of ours begin; as it is spelt, with what was meant."""
    remarks = script.remarks(job({label: "1"}))

    if not meant:
        assert [] == list(remarks)
        return
    (line,) = remarks
    assert line.startswith(f"record 'User' (U): field '{label}' is not known, and not read; did you mean ")
    assert meant in line


@pytest.mark.parametrize("value", ["", "<words of a template>"])
def test_a_field_that_is_empty_has_no_effect_that_anybody_would_miss(value: str) -> None:
    """Nor has one with a template's words."""
    assert [] == list(APPLICATION.remarks(job({"keep_previous_key": value})))


def test_a_limit_that_is_misspelt_beside_a_credential_is_said() -> None:
    """Without it nothing would be limited, in an attached record or in the PAM Configuration."""
    lines = APPLICATION.remarks(job({}, {"allow_target": "A1"}, {"allow_vault": "one", "allow_health_host": "*"}))

    assert ["record 'Admin' (A)", *["record 'Configuration' (C)"] * 2] == [line.partition(":")[0] for line in lines]
    assert "'allow_targets'" in lines[0]
    assert "'allow_vaults'" in lines[1]
    assert "'allow_health_hosts'" in lines[2]


def test_a_login_that_is_misspelt_in_the_pam_configuration_is_said() -> None:
    """It has labels of its own there; none of an attached record's is meant."""
    (line,) = APPLICATION.remarks(job({}, {}, {"seeq_admn_login": "keeper-rotation"}))

    assert line.endswith("did you mean 'seeq_admin_login'?")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_nothing_is_said_of_what_means_something(script: Script) -> None:
    """All fields of all scripts, each filled in, in any record; Keeper's own; what the Gateway reads."""
    labels = [field.label for each in SCRIPTS for field in (*each.fields, *each.logins, *each.configured)]
    labels += [*STANDARD_LABELS, "NOOP", "Private Key Type", "rotation_lease", "Tenant Id", "text2"]
    everything = dict.fromkeys(labels, "1")

    assert [] == list(script.remarks(job(everything, everything, everything)))


@pytest.mark.parametrize("path", sorted((ROOT / "record_templates").glob("*.json")), ids=lambda path: path.stem)
def test_nothing_is_said_of_records_made_from_a_template(path: Path) -> None:
    """Whatever is filled in, and whatever is left as it was."""
    template = json.loads(path.read_text(encoding="utf-8"))
    if "pam_data" in template:
        (user,) = template["pam_data"]["users"]
        labels = [[field["label"] for field in user["custom"]], []]
    else:
        labels = [[label.partition(":")[2] for label in one["custom_fields"]] for one in template["records"]]
    script = next(each for each in SCRIPTS if each.stem == path.name.partition(".")[0])
    pam_user, admin = (dict.fromkeys(each, "1") for each in labels)

    assert pam_user
    assert [] == list(script.remarks(job(pam_user, admin)))


def test_nothing_is_said_of_a_record_made_for_keepers_sample() -> None:
    """Its labels, and the PAM Azure Configuration in the spellings of the vault and of Commander."""
    labels = ("application_object_id", "client_secret_id", "client_secret", "expires", "NOOP", "Private Key Type")
    admin = ("Tenant Id", "Client Id", "Client Secret", "azureId", "subscriptionId", "resourceGroups", "tenantId")

    assert [] == list(AZURE.remarks(job(dict.fromkeys(labels, "1"), {}, dict.fromkeys(admin, "1"))))


def test_keepers_own_labels_are_those_that_its_command_knows() -> None:
    """Every type of a field that Commander has, so that none is taken for a misspelling."""
    assert {normalised(name) for name in (*FieldTypes, *RecordFields)} <= {normalised(one) for one in STANDARD_LABELS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.parametrize("owner", SCRIPTS, ids=lambda script: script.stem)
def test_a_record_of_another_script_is_refused_with_its_name(script: Script, owner: Script) -> None:
    """Both scripts are named; a record of one's own is not refused, and the smallest is never another's."""
    user, admin = SMALLEST[owner.stem]
    user = {"username": "reports", **user} if owner is USER else user
    problems = [str(problem) for problem in script.read(job(user, admin)).problems]
    told = [problem for problem in problems if " is for " in problem]

    if script is owner or (script is PUBLISH and owner is USER):
        assert [] == told
    else:
        assert problems[:1] == told
        assert f"is for {owner.stem}, as its field '" in told[0]
        assert f"this is {script.stem}" in told[0]
