"""Every row of docs/reference/refusals.md: the system is brought to refuse so, and the line says what the row says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from pam_scripts.core.errors import ENDS
from pam_scripts.core.refusals import Refusal
from pam_scripts.issuers.seeq import refusals as seeq
from pam_scripts.stores.keeper import refusals
from sandbox.plant import AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, on_loopback
from sandbox.publishing import PublishPlant
from sandbox.services import keeper
from tests.support.in_process import InProcess
from tests.support.invariants import State, assert_as_before, assert_silent
from tools.reference import REFUSALS

NOBODY = "00000000-0000-0000-0000-000000000000"

STEMS: Mapping[type[AnyPlant], str] = {
    Plant: "rotate_seeq_application_key",
    SeeqUserPlant: "rotate_seeq_user_key",
    AzureAppPlant: "rotate_azure_app_secret",
    PublishPlant: "publish_secret",
}
"""The script of each plant."""


@dataclass(frozen=True)
class Provocation:
    """How a system is brought to refuse. kind, options: the plant. set_up: what is changed in it before the run."""

    kind: type[AnyPlant]
    set_up: Callable[[Any], object]
    options: Mapping[str, object] = field(default_factory=dict)


def log_in_as_a_reader(plant: Plant) -> None:
    """Enter a user without any right into the admin record."""
    plant.seeq.add_user("reader", "the reader's password")
    login = [keeper.login("reader"), keeper.password("the reader's password")]
    plant.keeper.edit(plant.admin_uid, lambda data: data.update(fields=login))


def rotate_single_sign_on(plant: Plant) -> None:
    """Name an application that an identity provider authenticates."""
    plant.set_field("application_id", plant.seeq.add_application("Single sign-on", oidc_directory_id="directory"))


def show_as_archived(plant: Plant) -> None:
    """Archive the application on a server that shows archived ones."""
    plant.seeq.archived_applications_found = True
    plant.seeq.archive_application(plant.application_id)


def become(**properties: Any) -> Callable[[SeeqUserPlant], None]:  # noqa: ANN401 - handed on to add_user
    """Return what has the record rotate the keys of another user, who differs in these properties."""

    def set_up(plant: SeeqUserPlant) -> None:
        plant.owner_id = plant.seeq.add_user("short", "a short password", **properties)
        plant.keeper.edit(plant.user_uid, lambda data: data.update(fields=[keeper.login("short")]))
        plant.set_field("username", "short")

    return set_up


def setattr_of_keeper(name: str, value: object, plant: AnyPlant) -> None:
    """Set what Secrets Manager does from now on."""
    setattr(plant.keeper, name, value)


def throttle(plant: AnyPlant) -> None:
    """Have no call served, and leave no time to wait until one is."""
    plant.keeper.calls_allowed = 0
    plant.set_field("deadline_seconds", "10")


def ask_for_an_unknown_key(plant: AnyPlant) -> None:
    """Take the server's own key out of the Gateway's configuration, and ask for one of a later SDK."""
    config = {name: value for name, value in plant.keeper.config().items() if not name.startswith("serverPublicKey")}
    plant.keeper.asks_for_key = 777
    environment = {**plant.environment(), "KSM_CONFIG": json.dumps(config)}
    vars(plant)["environment"] = lambda: environment


# By the row's key. A row more is one more here, or its test fails; so does one that no row has any more.
PROVOKED: Mapping[str, Provocation] = {
    refusals.THROTTLED.key: Provocation(Plant, throttle),
    **{
        f"keeper: {name}": Provocation(Plant, partial(setattr_of_keeper, "refuses", name))
        for name in ("access_denied", "invalid_client", "invalid_signature", "invalid_client_version")
    },
    refusals.UNKNOWN_KEY.key: Provocation(Plant, ask_for_an_unknown_key),
    refusals.CHANGING_KEY.key: Provocation(Plant, partial(setattr_of_keeper, "asks_for_key", 91)),
    refusals.NOT_SHARED.key: Provocation(Plant, lambda plant: plant.keeper.share(plant.user_uid, shared=False)),
    refusals.NOT_READABLE.key: Provocation(Plant, lambda plant: plant.keeper.unreadable.add(plant.user_uid)),
    refusals.NOT_EDITABLE.key: Provocation(
        Plant, lambda plant: plant.keeper.set_editable(plant.user_uid, editable=False)
    ),
    seeq.WRONG_LOGIN.key: Provocation(
        Plant,
        lambda plant: plant.keeper.edit(
            plant.admin_uid,
            lambda data: data.update(fields=[keeper.login("rotation.admin"), keeper.password("not the password")]),
        ),
    ),
    seeq.NO_RIGHT.key: Provocation(Plant, log_in_as_a_reader),
    seeq.CREATION_DISABLED.key: Provocation(
        SeeqUserPlant, lambda plant: setattr(plant.seeq, "key_creation_enabled", False), {"admin": "itself"}
    ),
    seeq.NO_APPLICATION.key: Provocation(Plant, lambda plant: plant.set_field("application_id", NOBODY)),
    seeq.ARCHIVED.key: Provocation(Plant, show_as_archived, {"first_time": True}),
    seeq.IDENTITY_PROVIDER.key: Provocation(Plant, rotate_single_sign_on, {"first_time": True}),
    seeq.NO_USER.key: Provocation(SeeqUserPlant, lambda plant: plant.set_field("user_id", NOBODY)),
    seeq.USER_DISABLED.key: Provocation(SeeqUserPlant, lambda plant: plant.seeq.disable_user(plant.user_id)),
    seeq.KEYS_DISABLED.key: Provocation(SeeqUserPlant, become(validity_minutes=0), {"mirrored": False}),
    seeq.USER_MUST_LOG_IN.key: Provocation(
        SeeqUserPlant, become(validity_minutes=600, logged_in_days_ago=2), {"mirrored": False}
    ),
}


def test_every_row_has_a_key_of_its_own_and_somebody_who_provokes_it() -> None:
    """No two rows are of one code of one system, and nothing is provoked that the page does not have."""
    keys = [refusal.key for refusal in REFUSALS]

    assert sorted({*keys}) == sorted(keys)
    assert {*keys} == {*PROVOKED}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.key)
def test_the_line_says_what_the_row_says(refusal: Refusal) -> None:
    """One error line with the row's words and way out, its exit status, and all as it was."""
    provocation = PROVOKED[refusal.key]
    with on_loopback(provocation.kind, **provocation.options) as plant:
        provocation.set_up(plant)
        before = State.of(plant)

        result = InProcess(STEMS[provocation.kind]).run(plant)

        assert refusal.status == result.returncode, result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert 1 == len(errors), result.stderr
        parts = (plant.user_uid, refusal.system, refusal.said, refusal.way_out)
        assert [] == [part for part in parts if part not in errors[0]], errors[0]
        assert errors[0].endswith(f"; {refusal.way_out}; exit status {refusal.status}: {ENDS[refusal.status]}")
        assert_silent(plant, result)
        if refusal.status in (1, 2):
            assert_as_before(plant, before)
