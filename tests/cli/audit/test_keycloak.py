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


def audited(plant: KeycloakPlant, command: Command, *more: str) -> list[dict[str, Any]]:
    """Return the rows of the plant's records, after a look that set nothing, and shows no secret.

    more: the UIDs of records beside the plant's own.
    """
    uids = (plant.user_uid, *more)
    for uid in uids:
        attach(plant, uid, plant.attached)
    result = command("audit", "--json", sandbox=plant)
    assert [] == [len(value) for value in plant.secrets() if value in result.stdout + result.stderr]
    asked = [one for one in plant.wire.log if one.host == HOST and not one.path.endswith("/token")]
    assert {"GET"} >= {one.method for one in asked}
    rows = {row["record"]: dict(row) for row in json.loads(result.stdout)["records"]}
    return [rows[uid] for uid in uids]


def found(row: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with a record and the way out, by the audit's code."""
    return {problem["code"]: f"{problem['what']}; {problem['way_out']}" for problem in row["problems"]}


def test_a_client_is_shown_and_what_keeps_another_from_rotating_is_a_finding(command: Command) -> None:
    """With the way out; nothing is wrong with the one that can be rotated."""
    with on_loopback(KeycloakPlant, mirrored=False) as plant:
        gone, public, kept, elsewhere = (plant.add_record(name) for name in ("gone", "public", "kept", "elsewhere"))
        clients = plant.keycloak.realms[REALM].clients
        del clients[plant.keycloak.client(REALM, "gone")["id"]]
        plant.keycloak.client(REALM, "public").update(publicClient=True)
        plant.set_field("keep_previous_keys", "1", kept)
        plant.set_field("keycloak_realm", "nowhere", elsewhere)
        own, *others = audited(plant, command, gone, public, kept, elsewhere)

    assert ("erp", "client erp") == (own["key_id"], own["target_name"])
    assert f"https://{HOST}/admin/master/console/#/{REALM}/clients" in own["links"].values()
    assert [] == [problem for problem in own["problems"] if problem["severity"] == "broken"]
    assert "no such client in that realm" in found(others[0])["gone"]
    wanted = ("has no secret that it logs in with", "no client policy", "no such realm")
    for row, words in zip(others[1:], wanted, strict=True):
        assert words in found(row)["setting"], found(row)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda plant: plant.let_admin("view-clients"), "admin-rights", "lacks the role manage-clients"),
        (lambda plant: plant.let_admin(), "admin-rights", "lacks the role manage-clients"),
        (lambda plant: plant.keycloak.set_secret(MASTER, ADMIN, "another"), "admin-refused", "401"),
    ],
    ids=["may only look", "no right", "refused"],
)
def test_a_login_that_does_not_do_is_a_finding(
    change: Callable[[KeycloakPlant], object], code: str, words: str, command: Command
) -> None:
    """By the audit's own code, with the way out."""
    with on_loopback(KeycloakPlant, mirrored=False) as plant:
        change(plant)
        (row,) = audited(plant, command)

    assert words in found(row).get(code, ""), found(row)


def test_a_policy_is_told_with_the_end_that_it_gives_and_the_secret_that_it_keeps(command: Command) -> None:
    """By the server, whatever the record says; a former secret that no record asks for is one too many."""
    with on_loopback(KeycloakPolicyPlant, mirrored=False) as plant:
        plant.keycloak.regenerate(REALM, plant.client_id)
        ended = plant.add_record("ended")
        plant.keycloak.client(REALM, "ended")["attributes"] = {EXPIRES: "1700000000"}
        row, ended_row = audited(plant, command, ended)
        end = plant.issued()[0].expires_at

    assert "client erp, whose secret a client policy rotates" == row["target_name"]
    assert end
    assert f"{end:%Y-%m-%dT%H:%M:%SZ}" == row["expires_at"]
    assert "erp (rotated)" in found(row)["old-keys"]
    assert {"expired", "no-live-key"} & {*found(ended_row)}, found(ended_row)
