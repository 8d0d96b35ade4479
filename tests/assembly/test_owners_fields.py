"""What is read from the PAM Configuration and from attached records is declared, and what is declared is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pam_scripts.assembly.registry import CONSUMERS, MIRRORS
from pam_scripts.assembly.script import Script
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.fields import Fields, Record, normalised
from pam_scripts.gateway.payload import Job
from pam_scripts.issuers.seeq.server import SERVER_URLS
from tools.reference import SMALLEST

GUID = "0fe1a2b3-4c5d-4e7f-8091-a2b3c4d5e6f7"
# What asks for each mirror and each consumer, in a PAM User record.
ASKED = {
    "key_vault_name": "plant-stage-kv",
    "aws_secret_id": "plant",
    "aws_region": "eu-central-1",
    "vault_path": "secret/plant",
    "container_apps": "plant/app",
    "health_urls": "https://app.plant.example/health",
}
# Values that fields take which do not take any text.
VALUES = {
    "tenant_id": GUID,
    "client_id": GUID,
    "application_client_id": GUID,
    "subscription_id": GUID,
    "azure_cloud": "public",
    "seeq_server_url": "https://seeq.plant.example",
    "rabbitmq_url": "https://rabbitmq.plant.example:15671",
    "keycloak_url": "https://keycloak.plant.example",
    "vault_address": "https://bao.plant.example",
    "region_names": "eu-central-1",
    "ca_bundle": "",
    # The secret has two labels, of which the second is read where the first is empty.
    "access_secret_key": "",
    # The ways to log in to OpenBao exclude each other.
    "vault_jwt_role": "",
    "vault_jwt_file": "",
    "vault_token_file": "",
}


class Watched(dict[str, str]):
    """The values of a record's fields, which remember the labels that they were asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, label: str, default: str = "") -> str:  # type: ignore[override]
        """Return a value, as every reader of a record asks for it."""
        self.asked.add(label)
        return super().get(label, default)


def watched(title: str, values: Mapping[str, str]) -> tuple[Record, Watched]:
    """Return a record with these fields, and what remembers which of them were asked for."""
    record = Record.from_flat({"uid": title, "title": title, **values})
    values = Watched(record.values)
    return replace(record, values=values), values


def filled(fields: Fields) -> dict[str, str]:
    """Return a value for each of these fields, under a label that stands there once."""
    limits = {field.label: "*" for field in fields if field.label.startswith("allow_")}
    return {field.label: VALUES.get(field.label, "Auth") for field in fields} | limits


def declared(fields: Fields) -> set[str]:
    """Return the labels of fields, as labels are compared."""
    return {normalised(field.label) for field in fields}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_is_read_from_the_pam_configuration_is_what_it_declares(script: Script) -> None:
    """With every login there, every mirror and every consumer asked for: each label it has, and no other."""
    configuration, values = watched("Configuration", filled(script.configured))
    asked = {**ASKED, "aws_region": "", **SMALLEST[script.stem][0]}
    user = Record.from_flat({"uid": "U", "title": "User", **asked})

    assert [] == list(map(str, script.read(Job(user, configuration, ())).problems))
    assert declared(script.configured) == values.asked


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_is_read_from_an_attached_record_is_what_it_declares(script: Script) -> None:
    """With every login in one record: each label of a login and a limit, and no other."""
    admin, values = watched("Admin", filled(script.logins))
    user = Record.from_flat({"uid": "U", "title": "User", **ASKED, **SMALLEST[script.stem][0]})

    assert [] == list(map(str, script.read(Job(user, None, [admin])).problems))
    assert declared(script.logins) == values.asked


def test_every_mirror_and_every_consumer_is_asked_for_here() -> None:
    """So that one more is read in the tests above, too."""
    assert {kind.LABEL for kind in (*MIRRORS, *CONSUMERS)} <= ASKED.keys()
    assert SERVER_URLS.label in VALUES
