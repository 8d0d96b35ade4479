"""A password that Keeper has changed already, on its way to stores and apps that are in trouble, as it is attached."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sandbox.faults import Rule, status
from sandbox.log import Request
from sandbox.plant import VAULT, on_loopback
from sandbox.publishing import SECRET, STAGE_VAULT, PublishPlant
from sandbox.services.container_apps import APP_READ, REVISION_READ
from tests.support.invariants import LEASE, Script, assert_silent, custom_fields


@pytest.fixture(scope="session")
def publisher(make_script: Callable[[str], Script]) -> Script:
    """Return the script as it is attached."""
    return make_script("publish_secret")


def publish(script: Script, plant: PublishPlant, status: int = 0, *parts: str) -> None:
    """Run the script; check its exit status, and that its error line has these parts."""
    plant.set_field("health_seconds", "5")
    result = script.run(plant)
    assert status == result.returncode, result.stderr
    assert [] == [part for part in parts if part not in result.stderr.splitlines()[-1]], result.stderr
    assert_silent(plant, result)
    assert [] == custom_fields(plant, LEASE), "no lease is left"


def busy_for(seconds: float) -> Callable[[Request], bool]:
    """Return a condition that holds for so long from the first request on that it is asked about."""
    began: list[float] = []

    def is_busy(_request: Request) -> bool:
        began.append(time.monotonic())
        return began[-1] - began[0] < seconds

    return is_busy


@pytest.mark.parametrize(("host", "code"), [("stage-vault*", 503), ("keepersecurity*", 429)])
def test_a_store_that_is_busy_for_long_has_the_password_in_the_end(publisher: Script, host: str, code: int) -> None:
    """Four waits take some eight seconds, and the run has more than a hundred."""
    with on_loopback(PublishPlant) as plant:
        app = plant.add_app("portal", SECRET)
        rule = Rule(status(code), host=f"*{host}", where=busy_for(10))
        plant.wire.rules.append(rule)

        publish(publisher, plant)
        assert rule.hits >= 5, "more than four waits were needed"
        assert {plant.new_password} == set(plant.holdings().values())
        assert 1 == app.restarts


def test_a_vault_that_fails_keeps_no_app_from_its_restart(publisher: Script) -> None:
    """The other vault has the new password: who reads that runs on it, and the failed one is named."""
    with on_loopback(PublishPlant) as plant:
        app = plant.add_app("portal", SECRET)
        plant.set_field("deadline_seconds", "20")
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=())

        told = f"it is stored in Keeper record 'ERP database' ({plant.user_uid}), Azure Key Vault {VAULT}; "
        publish(publisher, plant, 4, f"{told}the old one may still be in Azure Key Vault {STAGE_VAULT}")
        assert {f"vault {VAULT}": plant.new_password, f"vault {STAGE_VAULT}": plant.old_password} == plant.holdings()
        assert (1, {"credential": plant.written(plant.new_password)}) == (app.restarts, app.holds)


def test_an_app_that_may_not_be_restarted_keeps_no_other_from_it(publisher: Script) -> None:
    """Each is restarted for itself, and the one that was not is named."""
    with on_loopback(PublishPlant) as plant:
        first, second = plant.add_app("portal", SECRET), plant.add_app("inventory", SECRET)
        plant.container_apps.lock(first.scope)

        publish(
            publisher,
            plant,
            4,
            "409 Conflict (ScopeLocked; a lock forbids it",
            "every store holds it; not known to be reloaded:",
            "portal",
        )
        assert (0, 1) == (first.restarts, second.restarts)
        assert {"credential": plant.written(plant.new_password)} == second.holds


def test_an_app_that_cannot_be_looked_at_keeps_the_password_from_no_store(publisher: Script) -> None:
    """It is named at the end, when every store has the new password."""
    with on_loopback(PublishPlant) as plant:
        plant.add_app("portal", SECRET)
        plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, (APP_READ, REVISION_READ))
        plant.set_field("container_apps", "plant-apps/other")

        publish(publisher, plant, 4, "404", "every store holds it; not known to be reloaded: container app other")
        assert {plant.new_password} == set(plant.holdings().values())


def test_a_diagnosis_after_keeper_changed_the_password_is_no_success(publisher: Script) -> None:
    """Readers are cut off until it is published."""
    with on_loopback(PublishPlant) as plant:
        plant.set_field("diagnose", "True")

        publish(publisher, plant, 4, "'diagnose' is set; Keeper has changed the password already")


def test_a_check_that_fails_says_that_nothing_changed(publisher: Script) -> None:
    """Nobody has rotated anything: exit 1, as for any other script."""
    with on_loopback(PublishPlant) as plant:
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=())

        result = publisher.run(plant, b"", arguments=["--check", "--record", plant.user_uid])
        assert 1 == result.returncode, result.stderr
        assert "nothing changed" in result.stderr


def test_a_record_that_may_not_be_saved_after_keeper_changed_the_password_says_so(publisher: Script) -> None:
    """Exit 2 for what a person must set right, and who lacks what."""
    with on_loopback(PublishPlant) as plant:
        plant.keeper.set_editable(plant.user_uid, editable=False)

        publish(publisher, plant, 2, "not editable", "no store has the value")
