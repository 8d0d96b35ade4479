"""Systems that refuse: exit 1, one line that says what to grant or change, and everything as it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sandbox import faults
from sandbox.faults import Rule
from sandbox.plant import SEEQ_HOST, VAULT, Plant
from sandbox.services import keeper
from sandbox.services.key_vault import ALL
from tests.support.in_process import InProcess
from tests.support.invariants import (
    Runs,
    Script,
    State,
    assert_as_before,
    assert_credentials_alive,
    assert_silent,
    writes,
)

SetUp = Callable[[Plant], object]


@pytest.fixture(scope="module")
def in_process() -> InProcess:
    """Return the main script in this process: for refusals that come before anything is touched."""
    return InProcess("rotate_seeq_application_key")


def refuse(
    script: Runs, plant: Plant, *parts: str, environment: dict[str, str | None] | None = None, written: bool = False
) -> None:
    """Rotate, and check for exit 1, one error line with all the parts, and that nothing is changed.

    written: the refusal comes after the first write, which must then be put back.
    """
    before = State.of(plant)

    result = script.run(plant, environment=environment)

    assert 1 == result.returncode, result.stderr
    lines = result.stderr.splitlines()
    assert 1 == len(lines), result.stderr
    assert lines[0].startswith("error: ")
    states = ("nothing changed", "all put back as it was")
    assert [] == [part for part in parts if part not in lines[0]], lines[0]
    assert any(state in lines[0] for state in states), lines[0]
    assert_as_before(plant, before)
    assert_credentials_alive(plant)
    assert_silent(plant, result)
    assert written == bool(writes(plant.wire.log)), writes(plant.wire.log)


# -- Seeq -----------------------------------------------------------------------------------------


def log_in_as(plant: Plant, username: str, password: str) -> None:
    """Enter another login into the admin record."""

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login(username), keeper.password(password)]

    plant.keeper.edit(plant.admin_uid, change)


def test_a_wrong_admin_password_is_told(script: Script, plant: Plant) -> None:
    """A login that Seeq refuses points to the admin record's fields."""
    log_in_as(plant, "rotation.admin", "not the password")

    refuse(
        script,
        plant,
        "seeq: log in with the credential of record 'Seeq admin' (",
        "401",
        "check the admin record's 'login', 'password'",
    )


def test_a_user_without_the_right_to_make_keys_is_told_which(script: Script, plant: Plant) -> None:
    """A 403 on the creation names the capability, and the record no longer carries the lease."""
    plant.seeq.add_user("reader", "the reader's password")
    log_in_as(plant, "reader", "the reader's password")

    refuse(script, plant, "create key for application", "403", '"User and Group Administration"', written=True)


def test_an_unknown_application_is_told(in_process: InProcess, plant: Plant) -> None:
    """An id that Seeq does not know points to the field."""
    plant.set_field("application_id", "00000000-0000-0000-0000-000000000000")

    refuse(in_process, plant, "read application 00000000", "404", "check 'application_id'")


@pytest.mark.parametrize(
    ("found", "parts"),
    [(True, ("it is archived", "restore it")), (False, ("404", "may be archived"))],
    ids=["shown-as-archived", "not-found"],
)
def test_an_archived_application_is_told(
    found: bool, parts: tuple[str, ...], in_process: InProcess, make_plant: Callable[..., Plant]
) -> None:
    """Whether Seeq shows archived applications or hides them, the line says so."""
    plant = make_plant(first_time=True)
    plant.seeq.archived_applications_found = found
    plant.seeq.archive_application(plant.application_id)

    refuse(in_process, plant, plant.application_id, *parts)


def test_an_application_of_an_identity_provider_is_told(
    in_process: InProcess, make_plant: Callable[..., Plant]
) -> None:
    """An application with an OIDC directory has its secret elsewhere."""
    plant = make_plant(first_time=True)
    application_id = plant.seeq.add_application("Single sign-on", oidc_directory_id="directory")
    plant.set_field("application_id", application_id)

    refuse(in_process, plant, "(OIDC)", "rotate its secret at the identity provider")


def test_a_server_that_leads_elsewhere_is_told(in_process: InProcess, plant: Plant) -> None:
    """A redirect is not followed with credentials in hand."""
    plant.wire.rules.append(Rule(faults.status(302), host=SEEQ_HOST))

    refuse(in_process, plant, "seeq: ", "302", "enter the address it leads to")


def test_a_web_page_in_the_way_is_told(in_process: InProcess, plant: Plant) -> None:
    """A captive portal's page is no answer, however often it comes."""
    plant.set_field("deadline_seconds", "10")
    plant.wire.rules.append(Rule(faults.html_body(), host=SEEQ_HOST))

    refuse(in_process, plant, "seeq: ", "is a proxy in the way?")


def test_a_host_that_cannot_be_reached_is_told(in_process: InProcess, plant: Plant) -> None:
    """An address that nothing answers at ends in one line that names it, after one try, and the one ahead of it."""
    plant.set_field("seeq_server_url", "https://seeq.example.org", plant.admin_uid)

    way = "no connection to seeq.example.org (through the proxy 127.0.0.1:"
    refuse(in_process, plant, "seeq: log in with the credential of record 'Seeq admin' (", way, "check firewall")
    assert plant.wire.refused.count("seeq.example.org:443") <= 2


def test_an_untrusted_certificate_is_told(script: Script, plant: Plant) -> None:
    """A server of a private CA that nobody named points to both ways to name it."""
    plant.set_field("deadline_seconds", "10")

    refuse(
        script,
        plant,
        "certificate is not trusted",
        "REQUESTS_CA_BUNDLE",
        "'ca_bundle'",
        environment={"REQUESTS_CA_BUNDLE": None},
    )


def test_no_variable_switches_verification_off(script: Script, plant: Plant) -> None:
    """The Keeper SDK's own KSM_SKIP_VERIFY, with an untrusted certificate, changes nothing."""
    plant.set_field("deadline_seconds", "10")

    refuse(
        script,
        plant,
        "certificate is not trusted",
        environment={"REQUESTS_CA_BUNDLE": None, "KSM_SKIP_VERIFY": "1", "PYTHONHTTPSVERIFY": "0"},
    )
    assert [] == plant.wire.log


# -- Key Vault and Entra --------------------------------------------------------------------------


def test_a_caller_that_may_not_read_secrets_is_told(in_process: InProcess, plant: Plant) -> None:
    """Without the right to get, the role to grant is named before anything is written."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, {"list", "set"})

    refuse(in_process, plant, "key vault: read secret", "403", "grant the role 'Key Vault Secrets Officer'")


@pytest.mark.parametrize("combined", ["False", "True"])
def test_a_caller_that_may_not_set_secrets_is_told(combined: str, script: Script, plant: Plant) -> None:
    """Without the right to set, Keeper is put back, the new key is gone, and the role to grant is named."""
    plant.set_field("key_vault_combined", combined)
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, {"get", "list"})

    refuse(script, plant, "key vault: set secret", "403", "grant the role 'Key Vault Secrets Officer'", written=True)


def test_a_name_that_a_deleted_secret_keeps_is_told(in_process: InProcess, plant: Plant) -> None:
    """A soft-deleted secret is found before a key is made."""
    for name in (plant.id_name, plant.password_name):
        plant.key_vault.delete(VAULT, name)

    refuse(in_process, plant, plant.id_name, "a deleted secret of this name still exists", "recover it, or purge it")


def test_a_deleted_secret_that_may_not_be_looked_at_is_told_by_the_write(script: Script, plant: Plant) -> None:
    """Where only the write can tell that a name is taken, everything is put back."""
    for name in (plant.id_name, plant.password_name):
        plant.key_vault.delete(VAULT, name)
    plant.wire.rules.append(Rule(faults.status(403), path="/deletedsecrets/*"))

    refuse(script, plant, plant.id_name, "409", "recover it, or purge it", written=True)


def test_a_vault_that_is_not_there_is_told(in_process: InProcess, plant: Plant) -> None:
    """A vault name that has no address ends in one line that names the vault."""
    plant.set_field("key_vault_name", "another-vault")
    plant.set_field("deadline_seconds", "10")

    refuse(in_process, plant, "key vault: ", "another-vault", "no answer")


def use_azure(plant: Plant, **changes: str) -> None:
    """Change custom fields of the PAM Azure Configuration, given with underscores for blanks."""
    for name, value in changes.items():
        plant.set_field(name.replace("_", " "), value, plant.configuration_uid)


def wrong_secret(plant: Plant) -> None:
    """Enter a value that is no secret of the application."""
    use_azure(plant, Client_Secret="not~the~secret~of~the~application")


def expired_secret(plant: Plant) -> None:
    """Enter a secret of the application that has ended."""
    _, value = plant.entra.add_secret(plant.azure_app.client_id, expires_in_days=-1)
    use_azure(plant, Client_Secret=value)


def unknown_tenant(plant: Plant) -> None:
    """Enter a tenant that Entra does not know."""
    use_azure(plant, Tenant_Id="00000000-0000-4000-8000-000000000000")


def another_tenant(plant: Plant) -> None:
    """Enter a tenant that does not have the application."""
    use_azure(plant, Tenant_Id=plant.entra.add_tenant())


def an_application_of_another_tenant(plant: Plant) -> None:
    """Enter an application that logs in, in a tenant that the vault is not of."""
    tenant_id = plant.entra.add_tenant()
    app = plant.entra.add_application(tenant_id, "elsewhere")
    use_azure(
        plant, Tenant_Id=tenant_id, Client_Id=app.client_id, Client_Secret=plant.entra.add_secret(app.client_id)[1]
    )


def unknown_application(plant: Plant) -> None:
    """Enter a client id that nobody has."""
    use_azure(plant, Client_Id="00000000-0000-4000-8000-000000000001")


@pytest.mark.parametrize(
    ("set_up", "parts"),
    [
        (wrong_secret, ("AADSTS7000215", "'client_secret'", "not its id")),
        (expired_secret, ("AADSTS7000222", "expired")),
        (unknown_tenant, ("check 'tenant_id'",)),
        (another_tenant, ("AADSTS700016", "check 'application_client_id' and 'tenant_id'")),
        (an_application_of_another_tenant, ("check 'tenant_id'", "the service belongs to another tenant")),
        (unknown_application, ("AADSTS700016", "'application_client_id'")),
    ],
)
def test_what_entra_refuses_is_told(set_up: SetUp, parts: tuple[str, ...], script: Script, plant: Plant) -> None:
    """Of Entra's refusals the code and the field to look at are told at once, and not its long text."""
    set_up(plant)

    refuse(script, plant, "key vault: ", "no token from Entra", *parts)
    assert 1 == len([request for request in plant.wire.log if request.host.startswith(VAULT)]), "no use in asking again"


def test_no_azure_credential_anywhere_is_told(script: Script, plant: Plant) -> None:
    """Without record, configuration and identity of the host, the three places are named."""
    use_azure(plant, Tenant_Id="", Client_Id="", Client_Secret="")
    plant.set_field("deadline_seconds", "10")

    refuse(
        script,
        plant,
        "key vault: ",
        "attached record, PAM Configuration, or managed identity",
        # The host that runs the tests may be a virtual machine with an identity of its own.
        environment={"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"},
    )


# -- Keeper ---------------------------------------------------------------------------------------


def test_a_device_that_is_locked_out_is_told(script: Script, plant: Plant) -> None:
    """A configuration that Keeper no longer accepts points to the application's device."""
    config = {**plant.keeper.config(), "clientId": base64.b64encode(b"\x07" * 64).decode()}
    environment: dict[str, str | None] = {"KSM_CONFIG": base64.b64encode(json.dumps(config).encode()).decode()}

    refuse(
        script,
        plant,
        "keeper: get secret: 403",
        "access_denied",
        "Secrets Manager application and its device",
        environment=environment,
    )


def test_another_rotations_lease_is_respected(in_process: InProcess, plant: Plant) -> None:
    """Who holds the record, until when, and what to do after that is told; nothing is touched."""
    until = (datetime.now(timezone.utc) + timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    plant.set_field("rotation_lease", f"20261122T000000Z-0badc0de until {until}")

    refuse(in_process, plant, "another rotation (20261122T000000Z-0badc0de)", until, "let it finish")


def test_a_record_locked_while_the_rotation_runs_is_put_back_or_told(script: Script, plant: Plant) -> None:
    """A save that is refused for good leaves no key behind and the record as it was."""
    plant.wire.rules.append(Rule(faults.status(403), path="*/update_secret", nth=2))

    refuse(script, plant, "keeper: update secret: 403", written=True)


def test_all_the_rights_together_make_it_work(script: Script, plant: Plant) -> None:
    """The very plant that all of these tests start from does rotate."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"delete", "recover", "purge"})

    assert 0 == script.run(plant).returncode
