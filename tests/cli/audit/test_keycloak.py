"""What an audit says of Keycloak's clients: whether each can be rotated, what a policy does, and when secrets end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.plant import on_loopback
from sandbox.realm import ADMIN, REALM, KeycloakPlant, KeycloakPolicyPlant
from sandbox.services.keycloak import EXPIRES, HOST, MASTER
from tests.cli.conftest import Command, attach


def audited(plant: KeycloakPlant, command: Command) -> dict[str, Any]:
    """Return the row of the plant's record, after a look that set nothing, and shows no secret."""
    attach(plant, plant.user_uid, plant.attached)
    result = command("audit", "--json", sandbox=plant)
    assert [] == [len(value) for value in plant.secrets() if value in result.stdout + result.stderr]
    asked = [one for one in plant.wire.log if one.host == HOST and not one.path.endswith("/token")]
    assert {"GET"} >= {one.method for one in asked}
    (row,) = json.loads(result.stdout)["records"]
    return dict(row)


def test_a_client_is_shown_and_nothing_is_wrong_with_it(command: Command) -> None:
    """Keycloak does not say since when its secret is there: the record does."""
    with on_loopback(KeycloakPlant, mirrored=False) as plant:
        plant.set_field("rotated_at", "2026-11-01T00:00:00Z")
        row = audited(plant, command)

    assert ("erp", "client erp") == (row["key_id"], row["target_name"])
    assert f"https://{HOST}/admin/master/console/#/{REALM}/clients" in row["links"].values()
    assert [] == [problem for problem in row["problems"] if problem["severity"] == "broken"]


def test_a_policy_is_told_and_so_is_the_end_that_it_gives(command: Command) -> None:
    """By the server, whatever the record says."""
    with on_loopback(KeycloakPolicyPlant, mirrored=False) as plant:
        row = audited(plant, command)
        end = plant.issued()[0].expires_at

    assert "client erp, whose secret a client policy rotates" == row["target_name"]
    assert end
    assert f"{end:%Y-%m-%dT%H:%M:%SZ}" == row["expires_at"]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda plant: plant.keycloak.realms[REALM].clients.clear(), "gone", "no such client in that realm"),
        (lambda plant: plant.client.update(publicClient=True), "setting", "has no secret that it logs in with"),
        (lambda plant: plant.set_field("keep_previous_keys", "1"), "setting", "no client policy"),
        (lambda plant: plant.set_field("keycloak_realm", "nowhere"), "setting", "no such realm"),
        (lambda plant: plant.let_admin("view-clients"), "admin-rights", "lacks the role manage-clients"),
        (lambda plant: plant.let_admin(), "admin-rights", "lacks the role manage-clients"),
        (lambda plant: plant.keycloak.set_secret(MASTER, ADMIN, "another"), "admin-refused", "401"),
    ],
    ids=["no such client", "public", "to keep", "no such realm", "may only look", "no right", "refused"],
)
def test_what_keeps_it_from_rotating_is_a_finding(
    change: Callable[[KeycloakPlant], object], code: str, words: str, command: Command
) -> None:
    """By the audit's own code, with the way out."""
    with on_loopback(KeycloakPlant, mirrored=False) as plant:
        change(plant)
        row = audited(plant, command)

    found = {problem["code"]: f"{problem['what']}; {problem['way_out']}" for problem in row["problems"]}
    assert words in found.get(code, ""), found


def test_a_secret_that_has_ended_and_one_left_beside_it_are_findings(command: Command) -> None:
    """As of any other issuer."""
    with on_loopback(KeycloakPolicyPlant, mirrored=False) as plant:
        plant.keycloak.regenerate(REALM, plant.client_id)
        left = audited(plant, command)
    with on_loopback(KeycloakPolicyPlant, mirrored=False) as plant:
        plant.client["attributes"] = {EXPIRES: "1700000000"}
        ended = audited(plant, command)

    assert "erp (rotated)" in {problem["code"]: problem["what"] for problem in left["problems"]}["old-keys"]
    assert {"expired", "no-live-key"} & {problem["code"] for problem in ended["problems"]}, ended["problems"]
