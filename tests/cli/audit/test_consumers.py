"""Consumers in an audit: a group is listed once, however many records name its apps, and nothing is restarted."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox.faults import Rule, no_effect_no_answer
from tests.cli.audit.conftest import Audited, fleet_of
from tests.cli.conftest import Command
from tests.support.fleet import GROUP, VAULT

MANAGER = "management.azure.com"


def test_a_group_is_listed_once_for_all_records(audited: Audited) -> None:
    """A thousand records with apps in three groups: a list for each, and one look more where it may not be listed."""
    asked = [request.path for request in audited.log if request.host == MANAGER]
    groups = [path.split("/")[4] for path in asked]

    assert [1, 1, 2] == sorted(map(groups.count, {*groups}))
    assert any(audited.fleet.values[uid, "container_apps"] for uid in audited.fleet.healthy)


def test_without_the_right_to_list_each_app_is_asked_for(tmp_path: Path, command: Command) -> None:
    """The findings are those of the list."""
    with fleet_of(tmp_path, 40, "consumer-version", "consumer-ill") as fleet:
        client, group = fleet.azure_app.client_id, f"/subscriptions/{fleet.subscription_id}/resourceGroups/{GROUP}"
        fleet.container_apps.grant(group, client, ())
        for name in fleet.apps:
            fleet.container_apps.grant(f"{group}/providers/Microsoft.App/containerApps/{name}", client)
        result = command("audit", "--json", sandbox=fleet)
        singles = [request.path for request in fleet.wire.log if "/containerApps/" in request.path]

    records = {
        one["record"]: [problem["code"] for problem in one["problems"]] for one in json.loads(result.stdout)["records"]
    }
    assert {uid: [name] for name, uid in fleet.uids.items()} == {uid: codes for uid, codes in records.items() if codes}
    assert len(fleet.apps) == len(singles)


def test_a_manager_that_does_not_answer_hides_nothing_of_vaults(tmp_path: Path, command: Command) -> None:
    """Records with apps say that these could not be asked; keys and mirrors are judged as ever."""
    with fleet_of(tmp_path, 40, "vault-mixed") as fleet:
        fleet.wire.rules.append(Rule(no_effect_no_answer(), host=MANAGER))
        result = command("audit", "--json", "--system-seconds", "1", sandbox=fleet)
        with_apps = {uid for uid in fleet.healthy if fleet.keeper.value(uid, "container_apps")}

    records = {one["record"]: one for one in json.loads(result.stdout)["records"]}
    found = {uid: [problem["code"] for problem in one["problems"]] for uid, one in records.items() if one["problems"]}
    assert with_apps
    assert {fleet.uids["vault-mixed"]: ["vault-mixed"], **{uid: ["consumer-unreadable"] for uid in with_apps}} == found
    assert all(records[uid]["mirror"] == "same" for uid in with_apps), VAULT
