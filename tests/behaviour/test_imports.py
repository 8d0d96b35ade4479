"""What a run imports: the libraries of the systems that its record names, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from sandbox.plant import AnyPlant, AzureAppPlant, Plant, on_loopback
from tests.support.invariants import Script

APPLICATION, APP_SECRET = "rotate_seeq_application_key", "rotate_azure_app_secret"
KEY_VAULT, ENTRA, AWS = {"azure.keyvault.secrets"}, {"azure.identity", "msal"}, {"boto3", "botocore"}
HEAVY = {"azure.core", *KEY_VAULT, *ENTRA, *AWS}
# What a command line and a page of HTML need.
OF_PEOPLE = {"argparse", "html.entities"}


def mirror_in_aws(plant: AnyPlant) -> Mapping[str, str]:
    """Have the record ask for a mirror in AWS Secrets Manager."""
    plant.add_aws_mirror("plant/reports")
    return {}


def the_hosts_own_identity(plant: AnyPlant) -> Mapping[str, str]:
    """Have no record name an Azure application; return the variables that name the host's."""
    for label in ("Tenant Id", "Client Id", "Client Secret"):
        plant.set_field(label, "", plant.configuration_uid)
    return {
        "AZURE_TENANT_ID": plant.tenant_id,
        "AZURE_CLIENT_ID": plant.azure_app.client_id,
        "AZURE_CLIENT_SECRET": plant.azure_secret,
    }


@pytest.mark.parametrize(
    ("stem", "site", "mirrored", "prepare", "needed"),
    [
        (APPLICATION, Plant, False, None, set()),
        (APPLICATION, Plant, True, None, {"azure.core"} | KEY_VAULT),
        (APPLICATION, Plant, True, the_hosts_own_identity, {"azure.core"} | KEY_VAULT | ENTRA),
        (APPLICATION, Plant, False, mirror_in_aws, AWS),
        (APP_SECRET, AzureAppPlant, False, None, set()),
    ],
    ids=["Keeper alone", "Key Vault", "Key Vault as the host", "AWS", "an Azure application"],
)
def test_a_run_imports_the_libraries_of_its_own_systems_only(  # noqa: PLR0913, PLR0917 - one case's facts
    stem: str,
    site: type[AnyPlant],
    mirrored: bool,
    prepare: Callable[[AnyPlant], Mapping[str, str]] | None,
    needed: set[str],
    make_script: Callable[..., Script],
) -> None:
    """Without a mirror its SDK is not imported; azure-identity only where the host's own identity is used."""
    with on_loopback(site, mirrored=mirrored) as plant:
        environment = prepare(plant) if prepare else {}

        result = make_script(stem, cold=True).run(plant, environment={**environment, "PYTHONPROFILEIMPORTTIME": "1"})

    # Each line of this report of Python's own ends in the name of a module that was imported.
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "import time:" in line}
    assert result.success, result.stdout
    assert "keeper_secrets_manager_core" in imported
    assert needed == imported & HEAVY
    if needed <= {"azure.core"} | KEY_VAULT:
        assert set() == imported & OF_PEOPLE
