"""Microsoft's `az` command, unmodified, against the sandbox's Entra, Graph, Key Vault and Resource Manager."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.plant import VAULT, AzureAppPlant, running
from sandbox.services.container_apps import LEAST, SECRETS_LIST
from tests.sandbox.foreign.conftest import Json, Run, answer

Az = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[AzureAppPlant]:
    """Serve a plant with a container app that reads a secret of its vault."""
    with running(AzureAppPlant(tmp_path)) as plant:
        plant.add_app("api", plant.password_name)
        plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, [*LEAST, SECRETS_LIST])
        yield plant


@pytest.fixture
def az(plant: AzureAppPlant, run: Run, tmp_path: Path) -> Az:
    """Return the command, with a place of its own to remember logins."""
    environment = {"AZURE_CONFIG_DIR": str(tmp_path / "azure"), "AZURE_CORE_COLLECT_TELEMETRY": "no"}
    return lambda *arguments: run(plant.wire, "az", *arguments, environment=environment)


def log_in(az: Az, plant: AzureAppPlant) -> Json:
    """Log in as the plant's application, and return the subscriptions that the command found."""
    who = ("--username", plant.azure_app.client_id, "--password", plant.azure_secret, "--tenant", plant.tenant_id)
    return answer(az("login", "--service-principal", *who))


def test_a_login_finds_the_subscriptions_and_their_apps(plant: AzureAppPlant, az: Az) -> None:
    """Whoever may do something in a subscription finds it; its apps are listed, shown, restarted."""
    app = plant.apps[0]
    place = ("--resource-group", app.resource_group, "--name", app.name)

    [subscription] = log_in(az, plant)
    listed = answer(az("containerapp", "list"))
    [revision] = answer(az("containerapp", "revision", "list", *place))
    answer(az("containerapp", "revision", "restart", *place, "--revision", revision["name"]))
    [secret] = answer(az("containerapp", "secret", "list", *place, "--show-values"))

    assert (plant.subscription_id, plant.tenant_id) == (subscription["id"], subscription["tenantId"])
    assert [app.name] == [one["name"] for one in listed]
    assert (app.latest.name, 1) == (revision["name"], app.restarts)
    assert plant.old_password == secret["value"]


def test_secrets_of_a_vault_are_set_shown_and_listed(plant: AzureAppPlant, az: Az) -> None:
    """What the command writes is a further version, and what it reads is the newest."""
    log_in(az, plant)
    where = ("--vault-name", VAULT, "--name", plant.password_name)

    answer(az("keyvault", "secret", "set", *where, "--value", "a new value", "--tags", "a=b"))
    shown = answer(az("keyvault", "secret", "show", *where))
    listed = answer(az("keyvault", "secret", "list", "--vault-name", VAULT))

    assert "a new value" == plant.key_vault.value(VAULT, plant.password_name)
    assert ("a new value", "b") == (shown["value"], shown["tags"]["a"])
    assert {plant.id_name, plant.password_name} == {one["name"] for one in listed}


def test_secrets_of_an_application_are_listed_made_and_deleted(plant: AzureAppPlant, az: Az) -> None:
    """Whether the application is named by its object id or by its client id; the new secret logs in."""
    log_in(az, plant)
    target = plant.target

    [old] = answer(az("ad", "app", "credential", "list", "--id", target.client_id))
    made = answer(az("ad", "app", "credential", "reset", "--id", target.object_id, "--append"))
    deleted = az("ad", "app", "credential", "delete", "--id", target.object_id, "--key-id", old["keyId"])

    assert 0 == deleted.returncode, deleted.stderr
    assert plant.old_key_id == old["keyId"]
    assert plant.entra.logs_in(target.client_id, made["password"])
    assert not plant.entra.logs_in(target.client_id, plant.old_password)


def test_a_service_principal_is_found_by_its_client_id(plant: AzureAppPlant, az: Az) -> None:
    """The command filters by the principal's names first, then reads it by its own id; another id finds none."""
    log_in(az, plant)
    target = plant.target

    shown = answer(az("ad", "sp", "show", "--id", target.client_id))
    missing = az("ad", "sp", "show", "--id", "00000000-0000-4000-8000-000000000000")

    assert (target.service_principal_id, target.client_id) == (shown["id"], shown["appId"])
    assert 0 != missing.returncode


def test_a_wrong_secret_is_told_by_its_code(plant: AzureAppPlant, az: Az) -> None:
    """The command repeats the number that Entra gave."""
    who = ("--username", plant.azure_app.client_id, "--password", "wrong", "--tenant", plant.tenant_id)

    refused = az("login", "--service-principal", *who)

    assert 0 != refused.returncode
    assert "AADSTS7000215" in refused.stderr
