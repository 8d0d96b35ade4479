"""What Azure Resource Manager refuses: each with its own way out, and seen by a look before a rotation meets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sandbox.faults import Rule, status
from sandbox.plant import Plant, on_loopback
from sandbox.services.container_apps import LEAST, LOCKS_READ, PERMISSIONS_READ, SUBSCRIPTION_READ
from tests.support.in_process import InProcess
from tests.support.invariants import assert_silent, writes


@pytest.fixture
def plant() -> Iterator[Plant]:
    """Return a plant with one app, and a script that only looks."""
    with ExitStack() as stack:
        made = stack.enter_context(on_loopback(Plant, mirrored=False))
        made.add_app("reports", "unread")
        made.set_field("dry_run", "True")
        yield made


@pytest.fixture(scope="module")
def script() -> InProcess:
    """Return the script in this process."""
    return InProcess("rotate_seeq_application_key")


def refused(script: InProcess, plant: Plant, *parts: str) -> None:
    """Look, and check for exit 1 and one line with all the parts."""
    result = script.run(plant)
    assert 1 == result.returncode, result.stderr
    (line,) = result.stderr.splitlines()
    assert [] == [part for part in (*parts, "nothing changed") if part not in line], line
    assert [] == writes(plant.wire.log)
    assert_silent(plant, result)


def may_look(plant: Plant) -> None:
    """Grant what a look takes beside the least that a restart does."""
    rights = (*LEAST, PERMISSIONS_READ, LOCKS_READ, SUBSCRIPTION_READ)
    plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, rights)


def move_subscription(plant: Plant) -> None:
    """Have the record name a subscription of another tenant."""
    other = plant.container_apps.add_subscription(plant.entra.add_tenant())
    plant.set_field("subscription_id", other, plant.configuration_uid)


def name_nothing(plant: Plant) -> None:
    """Have it name a subscription that there is none of."""
    plant.set_field("subscription_id", "00000000-0000-4000-8000-000000000000", plant.configuration_uid)


@pytest.mark.parametrize(
    ("set_up", "parts"),
    [
        (
            move_subscription,
            ("InvalidAuthenticationTokenTenant; the subscription is another tenant's", "'subscription_id' and 'tenant"),
        ),
        (name_nothing, ("SubscriptionNotFound; there is no such subscription", "'azure_cloud'")),
        (
            lambda plant: plant.set_field("container_apps", "elsewhere/reports"),
            ("ResourceGroupNotFound; the subscription has no such resource group", "check 'container_apps'"),
        ),
        (
            lambda plant: plant.set_field("container_apps", "plant-apps/report"),
            ("ResourceNotFound; the resource group has no such container app", "check 'container_apps'"),
        ),
        (
            lambda plant: plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, ()),
            ("AuthorizationFailed; the Azure credential lacks a right", "revisions/restart/action"),
        ),
    ],
    ids=["another-tenants", "no-subscription", "no-group", "no-app", "no-right"],
)
def test_what_is_wrong_is_told_with_its_own_way_out(
    set_up: Callable[[Plant], object], parts: tuple[str, ...], script: InProcess, plant: Plant
) -> None:
    """By the code that Azure gives, in our words."""
    set_up(plant)

    refused(script, plant, *parts)


@pytest.mark.parametrize("where", ["app", "group", "subscription"])
def test_a_lock_is_seen_by_a_look(where: str, script: InProcess, plant: Plant) -> None:
    """Wherever it is put, where locks may be read; the scope is named."""
    may_look(plant)
    app = plant.apps[0].scope
    scope = {"app": app, "group": app.partition("/providers")[0], "subscription": "/".join(app.split("/")[:3])}[where]
    assert 0 == script.run(plant).returncode

    plant.container_apps.lock(scope)
    refused(script, plant, f"container app reports: a lock forbids it, on {scope}: remove the read-only lock")


def test_a_subscription_that_may_only_be_read_is_seen_by_a_look(script: InProcess, plant: Plant) -> None:
    """Its own state says so, where it may be read."""
    may_look(plant)
    plant.container_apps.disable(plant.subscription_id)

    refused(script, plant, "the subscription is disabled, and may only be read", "have the subscription enabled again")


def test_a_look_that_may_see_none_of_it_raises_no_alarm(script: InProcess, plant: Plant) -> None:
    """The least that a restart takes lets nobody read locks, permissions or the subscription."""
    plant.container_apps.lock(plant.apps[0].scope)
    plant.container_apps.disable(plant.subscription_id)

    assert 0 == script.run(plant).returncode


def test_a_trouble_of_the_servers_own_is_no_answer(script: InProcess, plant: Plant) -> None:
    """What may be asked and does not answer is asked again."""
    may_look(plant)
    plant.wire.rules.append(Rule(status(500), path="*/locks", times=2))

    assert 0 == script.run(plant).returncode
