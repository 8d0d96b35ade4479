"""What an audit says of resources with two keys, none of which it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pam_scripts.core.times import iso
from sandbox.plant import on_loopback
from sandbox.services.azure_resources import Kind
from sandbox.slots import SlotPlant
from tests.cli.conftest import Command, attach


def audited(plant: SlotPlant, command: Command) -> dict[str, Any]:
    """Return the row of the plant's record, after a look that asked for no key."""
    attach(plant, plant.user_uid, plant.attached)
    result = command("audit", "--json", sandbox=plant)
    assert [] == [len(value) for value in plant.secrets() if value in result.stdout]
    assert [] == [str(one) for one in plant.wire.log if one.path.endswith(("/listKeys", "/regenerateKey"))]
    (row,) = json.loads(result.stdout)["records"]
    return dict(row)


@pytest.mark.parametrize("of", ["storage", "redis"])
def test_the_key_is_shown_with_its_age_where_azure_tells_it(of: Kind, command: Command) -> None:
    """By Storage's own times; of a Redis by when the record says that it was rotated."""
    with on_loopback(SlotPlant, of=of) as plant:
        plant.set_field("rotated_at", "2026-11-01T00:00:00Z")
        row = audited(plant, command)
        told = iso(plant.resource.keys[plant.first][1]) if of == "storage" else "2026-11-01T00:00:00Z"

    assert (plant.old_key_id, told) == (row["key_id"], row["created_at"])
    assert f"https://portal.azure.com/#@/resource{plant.resource.id}" in row["links"].values()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda plant: setattr(plant.resource, "enabled", False), "cannot-log-in", "access keys are disabled"),
        (
            lambda plant: plant.set_field("resource_id", plant.resource.id.replace("plantdata", "another")),
            "gone",
            "404",
        ),
        (
            lambda plant: plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, ()),
            "not-readable",
            "grant read, listKeys and regenerateKey",
        ),
        (
            lambda plant: plant.container_apps.grant(
                plant.subscription_id,
                plant.azure_app.client_id,
                ["Microsoft.Storage/storageAccounts/read", "Microsoft.Authorization/permissions/read"],
            ),
            "admin-rights",
            "regenerateKey/action",
        ),
    ],
)
def test_what_keeps_its_key_from_working_is_a_finding(
    change: Callable[[SlotPlant], object], code: str, words: str, command: Command
) -> None:
    """By the audit's own code, with the way out."""
    with on_loopback(SlotPlant, mirrored=False) as plant:
        change(plant)
        row = audited(plant, command)

    found = {problem["code"]: f"{problem['what']}; {problem['way_out']}" for problem in row["problems"]}
    assert words in found[code]
