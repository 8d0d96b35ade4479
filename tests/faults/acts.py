"""What people do to a plant, between runs and in the middle of one, by its words."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pam_scripts.rotation.shape import OWNER_TAGS
from sandbox.iam_users import IamPlant
from sandbox.messaging import RabbitPlant
from sandbox.plant import VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant
from sandbox.realm import REALM, KeycloakPlant, KeycloakPolicyPlant
from sandbox.services import Refusal, keeper
from sandbox.services.key_vault import ALL, Right
from sandbox.slots import SlotPlant
from tests.support import invariants

if TYPE_CHECKING:
    from tests.faults.people import Scene

_SOMEBODY = "somebody-else"
_ELSEWHERE = "https://elsewhere.example.com"

Act = Callable[["Scene", int], None]


def _pick(things: Sequence[Any], number: int) -> Any:  # noqa: ANN401 - one of whatever there is
    return things[number % len(things)]


def _make_key(scene: Scene, number: int) -> None:
    plant = scene.plant
    if isinstance(plant, IamPlant) and len([key for key in plant.issued() if key.listed]) > 1:
        return  # a user has two keys at most
    if is_one_at_a_time(plant):
        _set_another(scene)
        return
    plant.add_key(f"made by hand {number}", expires_in_days=(90, 1, 400)[number % 3])


def _delete_key(scene: Scene, number: int) -> None:
    live = sorted((key for key in scene.plant.issued() if key.live), key=lambda key: key.created_at)
    if live:
        delete_key(scene.plant, _pick(live[::-1], number).key_id)


def is_one_at_a_time(plant: AnyPlant) -> bool:
    """Say whether a plant's target has one key, which the next one ends, whoever makes that."""
    return isinstance(plant, KeycloakPlant) or (isinstance(plant, RabbitPlant) and not plant.spare)


def _set_another(scene: Scene) -> None:
    """Set another password or secret, which ends the one before it; between runs have Keycloak make it.

    That keeps the former one by its policy, to be taken away without a word on which one is meant: no run can tell
    whether that is still the one that it has just seen.
    """
    plant, value = scene.plant, scene.type_in()
    if isinstance(plant, KeycloakPlant) and scene.amid:
        plant.keycloak.set_secret(REALM, plant.client_id, value)
    elif isinstance(plant, KeycloakPlant):
        plant.keycloak.regenerate(REALM, plant.client_id)
    elif isinstance(plant, RabbitPlant):
        plant.rabbitmq.add_user(plant.username, value, plant.rabbitmq.user(plant.username)["tags"])


def delete_key(plant: AnyPlant, key_id: str) -> None:
    """Delete a key of the plant's target, as its system's own page does; a client's secret is replaced."""
    if isinstance(plant, AzureAppPlant):
        plant.entra.remove_secret(plant.target.client_id, key_id)
    elif isinstance(plant, IamPlant):
        plant.iam.delete_key(key_id)
    elif isinstance(plant, SlotPlant):
        value = next(key.value for key in plant.issued() if key.key_id == key_id)
        slot = next(slot for slot, (held, _) in plant.resource.keys.items() if held == value)
        plant.azure_resources.regenerate(plant.resource, slot)
    elif isinstance(plant, RabbitPlant):
        plant.rabbitmq.add_user(key_id, "", plant.rabbitmq.user(key_id)["tags"])
    elif isinstance(plant, KeycloakPlant):
        if key_id == plant.client_id:
            plant.keycloak.set_secret(REALM, plant.client_id, secrets.token_hex(16))
        else:
            plant.client["attributes"] = {name: one for name, one in plant.attributes.items() if ".rotated" not in name}
    else:
        plant.seeq.delete_key(key_id)


def _make_foreign_key(scene: Scene, number: int) -> None:
    # A user's keys serve several records: those of others are not seen. Other systems' keys have no label.
    if not isinstance(scene.plant, (Plant, AzureAppPlant)):
        return
    key_id, _ = scene.plant.add_key(f"keeper:{_SOMEBODY}:{number}")

    def mend() -> None:
        if key_id in {key.key_id for key in scene.plant.issued() if key.listed}:
            delete_key(scene.plant, key_id)

    scene.hinder(f"a key for another record {key_id}", mend)


def _make_version(scene: Scene, number: int) -> None:
    """Enter a value by hand: what the Keeper record holds, or anything."""
    if not scene.secrets:
        return
    plant, name = scene.plant, _pick(scene.secrets, number)
    key_id, value = (scene.field(label) for label in scene.labels)
    if number % 2 or not value:
        key_id = value = scene.type_in()
    both = json.dumps(dict(zip(scene.labels, (key_id, value), strict=True)))
    plant.key_vault.set(VAULT, name, {plant.id_name: key_id, plant.password_name: value}.get(name, both))


def _switch_version(scene: Scene, number: int, *, enabled: bool) -> None:
    if scene.secrets:
        name = _pick(scene.secrets, number)
        version = _pick(scene.plant.key_vault.versions(VAULT, name)[::-1], number // 3)
        scene.plant.key_vault.change(VAULT, name, version.version, enabled=enabled)


def _tag(scene: Scene, number: int) -> None:
    if scene.secrets:
        name = _pick(scene.secrets, number)
        tags = scene.plant.key_vault.versions(VAULT, name)[-1].tags or {}
        scene.plant.key_vault.change(VAULT, name, tags={**tags, "team": f"reports {number}"})


def _drop_tags(scene: Scene, number: int) -> None:
    if scene.secrets:
        scene.plant.key_vault.change(VAULT, _pick(scene.secrets, number), tags=None)


def _mark_as_anothers(scene: Scene, number: int) -> None:
    if not scene.secrets:
        return
    vault, name = scene.plant.key_vault, _pick(scene.secrets, number)
    version = vault.versions(VAULT, name)[-1]
    vault.change(VAULT, name, tags={**(version.tags or {}), _pick(OWNER_TAGS, number): _SOMEBODY})
    scene.hinder(
        f"marked as another's: {version.version} of {name}",
        lambda: vault.change(VAULT, name, version.version, tags=version.tags),
    )


def _delete_secret(scene: Scene, number: int) -> None:
    if scene.secrets:
        name = _pick(scene.secrets, number)
        scene.plant.key_vault.delete(VAULT, name)

        def recover() -> None:
            # Unless it was purged meanwhile: then the next rotation makes it anew.
            with contextlib.suppress(Refusal):
                scene.plant.key_vault.recover(VAULT, name)

        scene.hinder(f"{name} is deleted", recover)


def _replace_value(scene: Scene, number: int) -> None:
    scene.set_field(scene.labels[1], scene.type_in() if number % 2 else "")


def _replace_id(scene: Scene, number: int) -> None:
    scene.set_field(scene.labels[0], scene.type_in() if number % 2 else "")


def _swap(scene: Scene, _number: int) -> None:
    """Enter id and value the wrong way round."""
    scene.in_the_open = True
    key_id, value = (scene.field(label) for label in scene.labels)
    for label, text in zip(scene.labels, (value, key_id), strict=True):
        scene.set_field(label, text)


def _edit_log(scene: Scene, number: int) -> None:
    entry = _pick(["", "call Jane before you touch this", "Rotated: \n\n\n: x"], number)
    scene.set_field("last_rotation", entry, "multiline")


def _edit_lease(scene: Scene, number: int) -> None:
    now = scene.host_now()
    moments = [
        now + timedelta(days=9000),
        now + timedelta(minutes=10),
        now - timedelta(days=1),
        now + timedelta(hours=3),
    ]
    lease = f"0123456789abcdef until {_pick(moments, number):%Y-%m-%dT%H:%M:%SZ}"
    scene.set_field(invariants.LEASE, _pick([lease, lease, lease, lease, "mine", "x until tomorrow"], number))


def _keep_keys(scene: Scene, number: int) -> None:
    scene.set_field("keep_previous_keys", str(number % (_most_kept(scene.plant) + 1)))


def _most_kept(plant: AnyPlant) -> int:
    """Return how many previous keys can be kept: one of two, and of one that the next one ends only by a policy."""
    if is_one_at_a_time(plant):
        return int(isinstance(plant, KeycloakPolicyPlant))
    return 1 if isinstance(plant, (IamPlant, SlotPlant, RabbitPlant)) else 2


def _set_life(scene: Scene, number: int) -> None:
    if "expires" in scene.plant.outputs:
        scene.set_field("expiry_days", _pick(["1", "30", "90", "700"], number))


def _double_field(scene: Scene, number: int) -> None:
    label, kind = _pick([*scene.plant.outputs.items()], number)
    plant, surplus = scene.plant, {"type": kind, "label": label, "value": [scene.type_in()]}
    plant.keeper.edit(plant.user_uid, lambda data: data["custom"].append(surplus))

    def mend() -> None:
        def change(data: dict[str, Any]) -> None:
            data["custom"] = [item for item in data["custom"] if item != surplus]

        plant.keeper.edit(plant.user_uid, change)

    scene.hinder(f"{label} stands twice {len(scene.typed)}", mend)


def _lead_elsewhere(scene: Scene, _number: int) -> None:
    if isinstance(scene.plant, (Plant, SeeqUserPlant)):
        former = scene.field("seeq_server_url")
        scene.set_field("seeq_server_url", _ELSEWHERE)
        scene.hinder("led elsewhere", lambda: scene.set_field("seeq_server_url", former.replace(_ELSEWHERE, "")))


def _take_vault_right(scene: Scene, number: int) -> None:
    plant, client = scene.plant, scene.plant.azure_app.client_id
    right: Right = _pick(["get", "list", "set"], number)
    plant.key_vault.grant(VAULT, client, ALL - {right})
    scene.hinder("no right to the vault", lambda: plant.key_vault.grant(VAULT, client))


def _take_record(scene: Scene, number: int) -> None:
    plant, uid = scene.plant, scene.plant.user_uid
    give = plant.keeper.set_editable if number % 2 else plant.keeper.share
    give(uid, False)
    scene.hinder("editable" if number % 2 else "shared", lambda: give(uid, True))


def _change_admin_password(scene: Scene, _number: int) -> None:
    plant = scene.plant
    if not isinstance(plant, (Plant, SeeqUserPlant)):
        return
    uid = plant.attached[0]
    right = plant.keeper.record(uid)["fields"]

    def enter(fields: list[keeper.Field]) -> None:
        plant.keeper.edit(uid, lambda data: data.update(fields=fields))

    enter([right[0], keeper.password(scene.type_in())])
    scene.hinder("a wrong password", lambda: enter(right))


def _share_again(scene: Scene, number: int) -> None:
    """Share the record by itself as well: it comes twice, and the second copy may be one that cannot be saved."""
    scene.plant.keeper.share_again(scene.plant.user_uid, editable=bool(number % 2))


ACTS: Mapping[str, Act] = {
    "makes a key": _make_key,
    "deletes a key": _delete_key,
    "enters a version": _make_version,
    "disables a version": lambda scene, number: _switch_version(scene, number, enabled=False),
    "enables a version": lambda scene, number: _switch_version(scene, number, enabled=True),
    "tags a secret": _tag,
    "takes the tags off a secret": _drop_tags,
    "replaces the value in Keeper": _replace_value,
    "replaces the id in Keeper": _replace_id,
    "swaps id and value in Keeper": _swap,
    "edits the ops log": _edit_log,
    "edits the lease": _edit_lease,
    "sets how many keys are kept": _keep_keys,
    "sets how long keys live": _set_life,
    "shares the record a second time": _share_again,
    "makes a key for another record": _make_foreign_key,
    "marks a secret as another's": _mark_as_anothers,
    "deletes a secret": _delete_secret,
    "enters a field twice": _double_field,
    "leads the record elsewhere": _lead_elsewhere,
    "takes a right of the vault's": _take_vault_right,
    "takes a right to the record": _take_record,
    "changes the admin's password": _change_admin_password,
}
"""What people do, by its words; those from `makes a key for another record` on forbid a rotation."""

HARMLESS = list(ACTS)[: list(ACTS).index("makes a key for another record")]
HINDERING = list(ACTS)[len(HARMLESS) :]
