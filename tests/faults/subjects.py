"""What is tried: one entry for each attachable script that rotates a key.

A subject knows how to set its plant up and how to read the plant's state. All that must hold is
said once, in `trial.py`, in terms of what a subject sees.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.plant import VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant
from tests import invariants


@dataclass(frozen=True)
class View:
    """The state of a plant at one moment.

    copies: what each place holds, as key id and value; ("", "") for nothing. live: value of each key
    that could log in, by key id. labels: label of each of them. rest: whatever else must be as before
    when nothing was changed. shape: the state with what is random left out, equal where two states
    differ in nothing that a rotation could tell apart.
    """

    copies: Mapping[str, tuple[str, str]]
    live: Mapping[str, str]
    labels: Mapping[str, str]
    rest: Any
    shape: str

    def kind(self, place: str) -> str:
        """Say what stands in a place: `empty`, `alive`, `mixed` (halves of two live keys, or one half) or `dead`."""
        key_id, value = self.copies[place]
        if not key_id and not value:
            return "empty"
        if key_id and self.live.get(key_id) == value:
            return "alive"
        halves = (not key_id or key_id in self.live) and (not value or value in self.live.values())
        return "mixed" if halves else "dead"


@dataclass(frozen=True)
class Subject:
    """One script, the plant it runs in, and how to read that plant.

    pairs: places of two halves that cannot be written at once. check_rotated: raises AssertionError
    unless one rotation has been carried out in full; `spotless` says that no fault was in the way.
    deadline: seconds of a run, short enough that a request which hangs costs little: a single call may
    take an eighth of it.
    """

    script: str
    make: Callable[[Path], AnyPlant]
    view: Callable[[AnyPlant], View]
    check_rotated: Callable[[AnyPlant, bool], None]
    pairs: frozenset[str] = frozenset()
    deadline: int = 20


_PAIR = "Key Vault's pair"


def _plant(kind: type[AnyPlant], deadline: int, *, combined: bool, first_time: bool) -> Callable[[Path], AnyPlant]:
    def make(directory: Path) -> AnyPlant:
        plant = kind(directory, mirrored=True, first_time=first_time)
        plant.set_field("deadline_seconds", str(deadline))
        if combined:
            plant.set_field("key_vault_combined", "True")
        if combined and not first_time:
            id_field, value_field = list(plant.outputs)[:2]
            both = {id_field: plant.old_key_id, value_field: plant.old_password}
            plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both))
        return plant

    return make


def _view(plant: AnyPlant) -> View:
    issued = sorted(plant.issued(), key=lambda key: key.created_at)
    live = [key for key in issued if key.live and key.listed]
    record = plant.keeper.record(plant.user_uid)
    values = {item["label"]: (item["value"] or [""])[0] for item in record["custom"]}
    id_field, value_field = list(plant.outputs)[:2]
    names = (plant.id_name, plant.password_name, plant.combined_name)
    key_id, value, combined = (plant.key_vault.value(VAULT, name) or "" for name in names)
    both = json.loads(combined or "{}")
    enabled = [[one.enabled for one in plant.key_vault.versions(VAULT, name)] for name in names]
    copies = {
        "Keeper": (values.get(id_field, ""), values.get(value_field, "")),
        _PAIR: (key_id, value),
        "Key Vault's combined secret": (both.get(id_field, ""), both.get(value_field, "")),
    }
    fields = [label for label, held in values.items() if held]
    shape = repr((copies, [key.key_id for key in live], enabled, sorted(values), fields))
    known = {plant.old_key_id: plant.old_password, **{key.key_id: key.value for key in issued}}
    for number, (known_id, known_value) in enumerate(known.items()):
        shape = shape.replace(known_id, f"id{number}").replace(known_value, f"value{number}")
    return View(
        copies=copies,
        live={key.key_id: key.value for key in live},
        labels={key.key_id: key.label for key in live},
        rest=(record, key_id, value, combined),
        shape=shape,
    )


def _rotated(*, combined: bool) -> Callable[[AnyPlant, bool], None]:
    def check(plant: AnyPlant, spotless: bool) -> None:
        new = invariants.assert_true_state(plant, combined=combined, older_disabled=spotless)
        assert new != plant.old_key_id, "the key is a new one"

    return check


def _subject(
    script: str, kind: type[AnyPlant], *, combined: bool = True, first_time: bool = False, deadline: int = 20
) -> Subject:
    make = _plant(kind, deadline, combined=combined, first_time=first_time)
    return Subject(script, make, _view, _rotated(combined=combined), frozenset((_PAIR,)), deadline)


_MAIN_SCRIPT = "rotate_seeq_application_key"

SUBJECTS = {
    "seeq application": _subject(_MAIN_SCRIPT, Plant),
    "seeq application, pair only": _subject(_MAIN_SCRIPT, Plant, combined=False),
    "seeq application, first time": _subject(_MAIN_SCRIPT, Plant, first_time=True),
    # Entra's listings lag: putting back waits for them, and needs the time to.
    "azure app": _subject("rotate_azure_app_secret", AzureAppPlant, deadline=30),
    "seeq user": _subject("rotate_seeq_user_key", SeeqUserPlant),
}
MAIN = SUBJECTS["seeq application"]
SISTERS = {name: SUBJECTS[name] for name in ("azure app", "seeq user")}
