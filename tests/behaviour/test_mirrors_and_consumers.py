"""A key's mirrors beyond one vault, and those who read it, with the scripts that rotate keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from sandbox.faults import Rule, status
from sandbox.log import Request
from sandbox.plant import VAULT, AzureAppPlant, Plant, on_loopback
from sandbox.services import keeper
from sandbox.services.container_apps import APP_READ, PERMISSIONS_READ, REVISION_READ, REVISION_RESTART
from tests.support.invariants import (
    Script,
    State,
    assert_as_before,
    assert_looks,
    assert_rotates,
    in_keeper,
    in_vault,
    writes,
)

SECRET = "plant/reports"


def in_aws(plant: Plant, stage: str = "AWSCURRENT") -> tuple[str, str]:
    """Return the key's id and value that a reader of AWS gets at a staging label; empty for none."""
    held = json.loads(plant.aws.value(SECRET, stage) or "{}")
    return held.get("access_key_id", ""), held.get("access_key_password", "")


def old_key(plant: Plant) -> str:
    """Return what the mirror in AWS holds before the first rotation."""
    return json.dumps({"access_key_id": plant.old_key_id, "access_key_password": plant.old_password})


def fail(script: Script, plant: Plant, status: int, *parts: str, written: bool = False) -> str:
    """Rotate; check for the exit status, the parts of what is said, and that all but the log is as before."""
    before = State.of(plant)
    result = script.run(plant)
    assert status == result.returncode, result.stderr
    assert [] == [part for part in parts if part not in result.stderr], result.stderr
    assert_as_before(plant, before)
    assert written == bool(writes(plant.wire.log))
    assert plant.logs_in(*in_keeper(plant))
    return result.stderr


# -- AWS ------------------------------------------------------------------------------------------


def test_the_key_stands_in_aws_too_and_the_one_before_is_previous(script: Script, plant: Plant) -> None:
    """One secret holds both as JSON; after two rotations AWSPREVIOUS is the first one's key."""
    plant.add_aws_mirror(SECRET, old_key(plant))

    assert_rotates(script, plant)
    first = in_aws(plant)
    assert in_keeper(plant) == first == in_vault(plant)
    assert plant.old_key_id == in_aws(plant, "AWSPREVIOUS")[0]
    assert_rotates(script, plant)
    assert (in_keeper(plant), first) == (in_aws(plant), in_aws(plant, "AWSPREVIOUS"))


def test_a_secret_that_never_held_a_key_gets_its_first(script: Script, plant: Plant) -> None:
    """A secret made for the purpose, with nothing in it, is no obstacle."""
    plant.add_aws_mirror(SECRET)

    assert_rotates(script, plant)
    assert in_keeper(plant) == in_aws(plant)


def test_aws_alone_will_do(script: Script, plant: Plant) -> None:
    """A record without a Key Vault mirrors to AWS only, and asks no vault."""
    plant.set_field("key_vault_name", "")
    plant.add_aws_mirror(SECRET, old_key(plant))

    assert_rotates(script, plant)
    assert in_keeper(plant) == in_aws(plant)
    assert not [request for request in plant.wire.log if "vault" in request.host]


def test_a_put_that_aws_refuses_puts_everything_back(script: Script, plant: Plant) -> None:
    """Keeper and Key Vault hold the old key again, the new one is deleted, and the right to grant is named."""
    plant.add_aws_mirror(SECRET, old_key(plant))
    plant.aws.deny(plant.aws_key_id, "secretsmanager:PutSecretValue")

    fail(script, plant, 1, "AccessDeniedException", "PutSecretValue", "all put back as it was", written=True)
    assert plant.old_key_id == in_aws(plant)[0]


def test_a_refusal_after_aws_was_written_moves_the_label_back(script: Script, plant: Plant) -> None:
    """The version before is AWSCURRENT again: no new version is needed for that."""
    plant.add_aws_mirror(SECRET, old_key(plant))
    plant.set_field("health_seconds", "5")
    plant.add_app("reports", heals=False)

    fail(script, plant, 1, "all put back as it was", written=True)
    assert (plant.old_key_id, plant.old_password) == in_aws(plant)
    assert ["AWSCURRENT"] == [stage for one in plant.aws.versions(SECRET)[:1] for stage in one.stages]


@pytest.mark.parametrize("what", ["missing", "deleted", "unknown key", "no right"])
def test_what_would_fail_in_aws_is_told_before_anything_is_touched(script: Script, plant: Plant, what: str) -> None:
    """A secret that is missing or to be deleted, a key AWS does not know, a right that is missing."""
    plant.add_aws_mirror(SECRET, old_key(plant))
    told = {
        "missing": "make the secret first",
        "deleted": "scheduled for deletion",
        "unknown key": "check the AWS access key",
        "no right": "take the Deny of secretsmanager:DescribeSecret",
    }[what]
    if what == "missing":
        plant.set_field("aws_secret_id", "plant/other")
    elif what == "deleted":
        plant.aws.schedule_deletion(SECRET)
    elif what == "unknown key":
        plant.aws.remove_identity(plant.aws_key_id)
    else:
        plant.aws.deny(plant.aws_key_id, "secretsmanager:DescribeSecret")

    fail(script, plant, 1, told, "nothing changed")


@pytest.mark.parametrize("where", ["attached", "configuration", "environment"])
def test_the_aws_credential_is_found_where_it_stands(script: Script, plant: Plant, where: str) -> None:
    """In an attached record, in the PAM AWS Configuration's own fields, or with the host: the first that is there."""
    plant.add_aws_mirror(SECRET, old_key(plant))
    key_id, key = plant.aws.add_identity("elsewhere")
    environment: dict[str, str | None] = {}
    if where != "attached":
        plant.attached.pop()
        plant.set_field("aws_region", "")
        plant.set_field("regionNames", "eu-central-1\neu-west-1", plant.configuration_uid)
    if where == "configuration":
        fields = [keeper.secret("accessKeyId", key_id), keeper.secret("accessSecretKey", key)]
        plant.keeper.edit(plant.configuration_uid, lambda data: data["fields"].extend(fields))
    if where == "environment":
        environment = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": key}

    assert_rotates(script, plant, environment=environment)
    assert in_keeper(plant) == in_aws(plant)
    used = {key_id if key_id in one.headers["authorization"] else "" for one in plant.wire.log if "aws" in one.host}
    assert {"" if where == "attached" else key_id} == used


def test_without_any_aws_credential_the_way_out_is_told(script: Script, plant: Plant) -> None:
    """Neither record nor host has one: exit 1, and nothing is touched."""
    plant.add_aws_mirror(SECRET, old_key(plant))
    plant.attached.pop()

    result = script.run(plant, environment={"AWS_EC2_METADATA_DISABLED": "true"})
    assert 1 == result.returncode
    assert "no AWS credential was found" in result.stderr
    assert [] == writes(plant.wire.log)


# -- OpenBao --------------------------------------------------------------------------------------


def test_the_key_stands_in_openbao_beside_key_vault(script: Script, plant: Plant) -> None:
    """By the attached file, with the packages of a Gateway's host alone; a check before it changes nothing."""
    both = {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}
    plant.add_openbao_mirror(SECRET, held={**both, "note": "of the team"})
    assert_looks(script, plant, "check")

    assert_rotates(script, plant)
    held = plant.openbao.value(SECRET) or {}
    assert in_keeper(plant) == (held["access_key_id"], held["access_key_password"]) == in_vault(plant)
    assert "of the team" == held["note"]
    assert [None] == [version.data for version in plant.openbao.versions(SECRET)[:-1]]


def test_what_fails_in_openbao_puts_key_vault_back_too(script: Script, plant: Plant) -> None:
    """The right is taken away right before the write: the line says which, and all is as before."""
    plant.add_openbao_mirror(SECRET)
    path = f"secret/data/{SECRET}"

    async def gate(request: Request) -> None:
        if "generate-access-key" in request.path:
            plant.openbao.allow_to_mirror(SECRET, but={path: ["read"]})

    plant.wire.gate = gate
    told = fail(script, plant, 1, f'path "{path}" {{ capabilities = ["update"] }}', "all put back", written=True)
    assert "add that line, or those lines, to one of the login's policies" in told
    assert not plant.openbao.value(SECRET)


# -- several vaults -------------------------------------------------------------------------------


def test_every_vault_that_is_named_mirrors_the_key(script: Script, plant: Plant) -> None:
    """`key_vault_name` takes several, with commas."""
    plant.key_vault.add_vault("second-vault", plant.tenant_id, plant.cloud.vaults)
    plant.key_vault.grant("second-vault", plant.azure_app.client_id)
    plant.set_field("key_vault_name", f"{VAULT}, second-vault")

    assert_rotates(script, plant)
    names = (plant.id_name, plant.password_name)
    assert in_keeper(plant) == in_vault(plant)
    assert in_keeper(plant) == tuple(plant.key_vault.value("second-vault", name) for name in names)


def test_each_token_is_asked_for_once(script: Script, plant: Plant) -> None:
    """Two vaults, and the manager of the apps, share one login: one token for each kind of resource."""
    plant.key_vault.add_vault("second-vault", plant.tenant_id, plant.cloud.vaults)
    plant.key_vault.grant("second-vault", plant.azure_app.client_id)
    plant.set_field("key_vault_name", f"{VAULT}, second-vault")
    read_by_apps(plant, "reports", "alarms")

    assert_rotates(script, plant)
    asked = [request.path.rpartition("/")[2] for request in plant.wire.log if request.host.startswith("login.")]
    assert ["token", "token"] == sorted(asked)


# -- consumers ------------------------------------------------------------------------------------


def read_by_apps(plant: Plant, *names: str) -> None:
    """Have apps read the combined secret, and be well as long as what they read logs in."""
    plant.set_field("key_vault_combined", "True")
    plant.set_field("health_seconds", "5")
    for name in names:
        plant.add_app(name, heals=lambda held: plant.logs_in(*json.loads(held["credential"] or "{}").values()))


def test_apps_are_restarted_with_the_new_key_before_the_old_one_goes(script: Script, plant: Plant) -> None:
    """Both run on the new key and are healthy; the deletion comes after the last look at them."""
    read_by_apps(plant, "reports", "alarms")

    result = assert_rotates(script, plant)
    for app in plant.apps:
        assert (1, True) == (app.restarts, app.healthy)
        assert in_keeper(plant) == tuple(json.loads(app.holds["credential"] or "{}").values())
        assert f"Healthy: container app {app.name}" in result.stdout
    requests = [f"{request.method} {request.host}" for request in plant.wire.log]
    check_before_deleting = max(i for i, request in enumerate(requests) if request == "GET management.azure.com")
    assert check_before_deleting < requests.index("DELETE seeq.example.com")


@pytest.mark.parametrize("cloud", ["usgovernment", "china"])
def test_apps_are_restarted_in_their_own_cloud(make_script: Callable[[str], Script], cloud: str) -> None:
    """Tokens and restarts go to the authority and the Resource Manager of the cloud that `azure_cloud` names."""
    with on_loopback(AzureAppPlant, cloud=cloud) as plant:
        plant.set_field("health_seconds", "5")
        app = plant.add_app("reports", plant.password_name)

        assert_rotates(make_script("rotate_azure_app_secret"), plant)
        assert {"credential": in_keeper(plant)[1]} == app.holds
        assert {plant.cloud.management} == {one.host for one in plant.wire.log if one.host.startswith("management")}


def test_a_restart_that_azure_forbids_is_found_by_looking(script: Script, plant: Plant) -> None:
    """Where the permissions may be read, a dry run says which right is missing, and on which app."""
    read_by_apps(plant, "reports")
    rights = (APP_READ, REVISION_READ, PERMISSIONS_READ)
    plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, rights)

    result = assert_looks(script, plant, "check")
    assert 1 == result.returncode
    assert f"container app reports: grant {APP_READ}" in result.stderr
    assert REVISION_RESTART in result.stderr


def test_a_restart_that_azure_forbids_puts_everything_back(script: Script, plant: Plant) -> None:
    """Where nothing told beforehand, the rotation ends as if it had not begun: a refused app goes on as it was."""
    read_by_apps(plant, "reports")
    plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, (APP_READ, REVISION_READ))

    fail(script, plant, 1, "403", f"and {REVISION_RESTART} on it", "all put back as it was", written=True)


def test_an_app_that_is_not_there_is_told_before_anything_is_touched(script: Script, plant: Plant) -> None:
    """A typing error in `container_apps` costs nothing."""
    read_by_apps(plant, "reports")
    plant.set_field("container_apps", "plant-apps/report")

    fail(script, plant, 1, "404", "check 'container_apps' and 'subscription_id'", "nothing changed")


def test_a_busy_azure_is_asked_again(script: Script, plant: Plant) -> None:
    """Throttled, or refused because another change of the app is under way: the same again goes through."""
    read_by_apps(plant, "reports")
    plant.container_apps.throttle(1, 1)
    plant.container_apps.conflict(1)

    assert_rotates(script, plant)
    assert plant.apps[0].healthy


def test_a_newer_revision_that_never_came_up_is_nobodys_consumer(script: Script, plant: Plant) -> None:
    """Only the revision that serves is restarted and looked at."""
    read_by_apps(plant, "reports")
    plant.container_apps.add_revision(plant.apps[0], ready=False)

    assert_rotates(script, plant)
    assert 1 == plant.apps[0].revisions[0].restarts


def test_an_app_scaled_to_zero_is_no_obstacle(script: Script, plant: Plant) -> None:
    """There is nobody to restart; whoever starts next reads the new key."""
    plant.set_field("key_vault_combined", "True")
    plant.set_field("health_seconds", "5")
    plant.add_app("reports", replicas=0)

    assert_rotates(script, plant)


def test_a_restart_that_serves_the_old_value_is_found_by_the_apps_health(script: Script, plant: Plant) -> None:
    """A platform that hands the old key to new replicas is no harm while that key lives: `keep_previous_keys` = 1."""
    plant.key_vault.set(VAULT, plant.combined_name, old_key(plant))
    read_by_apps(plant, "reports")
    plant.apps[0].stale_restarts = 1
    plant.set_field("keep_previous_keys", "1")

    assert_rotates(script, plant)
    assert plant.apps[0].healthy


def test_a_health_page_that_stays_ill_puts_everything_back(script: Script, plant: Plant) -> None:
    """200 alone is not enough where the page is JSON with a status."""
    read_by_apps(plant, "reports")
    page = plant.add_app("gateway", heals=False, unhealthy_status=200)
    plant.set_field("container_apps", "plant-apps/reports")
    plant.set_field("health_urls", page.health_url)

    fail(script, plant, 1, f"{page.health_url} did not become healthy", "its status is 'Unhealthy'", written=True)
    assert 2 == plant.apps[0].restarts


# -- the log --------------------------------------------------------------------------------------


def test_the_last_ten_rotations_stay_in_the_log_the_newest_first(script: Script, plant: Plant) -> None:
    """A run that is refused before it takes the lease leaves the record, and so its log, alone."""
    ids = []
    for number in range(12):
        plant.key_vault.grant(VAULT, plant.azure_app.client_id, rights=() if number == 10 else ("get", "list", "set"))
        result = script.run(plant)
        assert (1 if number == 10 else 0) == result.returncode, result.stderr
        ids.append(in_keeper(plant)[0])

    entries = (plant.keeper.value(plant.user_uid, "last_rotation") or "").split("\n\n")
    assert 10 == len(entries)
    assert [ids[11], *ids[9:0:-1]] == [re.findall(r"^New key: (\S+)$", entry, re.MULTILINE)[0] for entry in entries]


def test_a_rotation_that_was_put_back_is_in_the_log(script: Script, plant: Plant) -> None:
    """The entry says that it failed and why, and names no place that holds the new key."""
    before = State.of(plant)
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, rights=("get", "list"))

    assert 1 == script.run(plant).returncode
    entry = plant.keeper.value(plant.user_uid, "last_rotation") or ""
    assert "Result: failed\n" in entry
    assert "Error: key vault: set secret" in entry
    assert "Stored in: none" in entry
    assert_as_before(plant, before)


def test_a_rotation_that_leaves_old_keys_alive_is_no_failure_in_the_log(script: Script, plant: Plant) -> None:
    """Exit 3: the entry says that it rotated, and what is still alive; so does the line for a SIEM."""
    plant.set_field("log_format", "json")
    plant.set_field("deadline_seconds", "20")
    plant.wire.rules.append(Rule(status(403), method="DELETE"))

    result = script.run(plant)
    assert 3 == result.returncode, result.stderr
    line = json.loads(result.stdout.splitlines()[-1])
    assert ("old_keys_alive", 3, [plant.old_key_id]) == (line["result"], line["exit_status"], line["still_alive"])
    entry = plant.keeper.value(plant.user_uid, "last_rotation") or ""
    assert "Result: old_keys_alive\n" in entry
    assert "Error: seeq: 1 other access key" in entry
    assert f"Still alive: {plant.old_key_id}" in entry
