"""Restarts of container apps that are declined, or whose answers are lost, with the script as it is attached."""

from __future__ import annotations

import json

import pytest

from sandbox.faults import Rule, effect_no_answer, status
from sandbox.plant import VAULT, Plant
from tests.support.invariants import Script, State, assert_as_before, assert_rotates, in_keeper


def read_by_apps(plant: Plant, *names: str) -> None:
    """Have apps read the combined secret, and be well as long as what they read logs in."""
    plant.set_field("key_vault_combined", "True")
    plant.set_field("health_seconds", "5")
    for name in names:
        plant.add_app(name, heals=lambda held: plant.logs_in(*json.loads(held["credential"] or "{}").values()))


def put_back(script: Script, plant: Plant, *parts: str) -> None:
    """Rotate; check that it fails with these words, that all is as before, and that no key is left over."""
    before = State.of(plant)
    result = script.run(plant)
    assert 1 == result.returncode, result.stderr
    assert [] == [part for part in (*parts, "all put back as it was") if part not in result.stderr], result.stderr
    assert_as_before(plant, before)
    assert [plant.old_key_id] == [key.key_id for key in plant.issued() if key.live]


@pytest.mark.parametrize("where", ["app", "group", "subscription"])
def test_a_lock_is_named_and_nothing_is_left_over(script: Script, plant: Plant, where: str) -> None:
    """A lock does not pass: the app goes on as it was, however often it is tried, and the way out is told."""
    read_by_apps(plant, "reports")
    app = plant.apps[0].scope
    scope = {
        "app": app,
        "group": app.partition("/providers")[0],
        "subscription": f"/subscriptions/{plant.subscription_id}",
    }[where]
    plant.container_apps.lock(scope)

    for _ in range(2):
        put_back(
            script, plant, f"409 Conflict (ScopeLocked; a lock forbids it, on {scope})", "; remove the read-only lock"
        )
    assert 0 == plant.apps[0].restarts
    assert "cannot perform" not in script.run(plant).stderr, "what the server wrote freely is not repeated"

    plant.container_apps.lock(scope, read_only=False)
    assert_rotates(script, plant)


def test_a_subscription_that_may_only_be_read_puts_everything_back(script: Script, plant: Plant) -> None:
    """The same for one that is disabled."""
    read_by_apps(plant, "reports")
    plant.container_apps.disable(plant.subscription_id)

    put_back(script, plant, "ReadOnlyDisabledSubscription", "have the subscription enabled again")


@pytest.mark.parametrize("code", ["ContainerAppOperationInProgress", "ContainerAppProvisioningFailed"])
def test_an_app_that_is_stuck_goes_on_as_it_was(script: Script, plant: Plant, code: str) -> None:
    """Whether the name of the conflict lets hope for an end or not: declined is not restarted."""
    read_by_apps(plant, "reports", "alarms")
    plant.container_apps.conflict(99, code)

    put_back(script, plant, code, "look at the app's provisioning state in Azure")
    tries = [request for request in plant.wire.log if request.path.endswith("/restart")]
    assert (5 if "InProgress" in code else 1) == len(tries), "what passes is waited for"


def test_an_operation_that_passes_is_waited_for(script: Script, plant: Plant) -> None:
    """Another operation on the app is under way for a moment: the restart goes through after it."""
    read_by_apps(plant, "reports")
    plant.container_apps.conflict(2, "ContainerAppOperationInProgress")

    assert_rotates(script, plant)
    assert 1 == plant.apps[0].restarts


@pytest.mark.parametrize("declined", [1, 99], ids=["once", "for good"])
def test_a_restart_that_took_effect_unseen_is_undone_or_its_key_lives(
    script: Script, plant: Plant, declined: int
) -> None:
    """The answer is lost, the repetition refused: the app holds the new key, which dies only after a second restart."""
    both = {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}
    plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both))
    read_by_apps(plant, "reports")
    restart = "*/restart"
    lost = Rule(effect_no_answer(), path=restart, nth=1)
    plant.wire.rules += [Rule(status(403), path=restart, times=declined, where=lambda _: lost.hits > 0), lost]

    if declined == 1:
        put_back(script, plant, "403")
        assert 2 == plant.apps[0].restarts
    else:
        result = script.run(plant)
        assert 4 == result.returncode, result.stderr
        assert "container app reports may hold the new access key" in result.stderr
    app = plant.apps[0]
    assert plant.logs_in(*json.loads(app.holds["credential"] or "{}").values())
    assert app.healthy
    assert plant.logs_in(*in_keeper(plant))
