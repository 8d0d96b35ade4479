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

from sandbox.plant import VAULT, Plant
from tests import invariants

# Short enough that a request which hangs costs little: a single call may take an eighth of it.
DEADLINE_SECONDS = 10


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
    """

    script: str
    make: Callable[[Path], Plant]
    view: Callable[[Plant], View]
    check_rotated: Callable[[Plant, bool], None]
    pairs: frozenset[str] = frozenset()


# -- rotate_seeq_application_key ------------------------------------------------------------------

_PAIR = "Key Vault's pair"


def _seeq_plant(*, combined: bool, first_time: bool) -> Callable[[Path], Plant]:
    def make(directory: Path) -> Plant:
        plant = Plant(directory, first_time=first_time)
        plant.set_field("deadline_seconds", str(DEADLINE_SECONDS))
        if combined:
            plant.set_field("key_vault_combined", "True")
        if combined and not first_time:
            both = {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}
            plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both))
        return plant

    return make


def _seeq_view(plant: Plant) -> View:
    keys = plant.seeq.all_keys(plant.application_id)
    live = plant.seeq.live_keys(plant.application_id)
    record = plant.keeper.record(plant.user_uid)
    values = {item["label"]: (item["value"] or [""])[0] for item in record["custom"]}
    names = (plant.id_name, plant.password_name, plant.combined_name)
    key_id, password, combined = (plant.key_vault.value(VAULT, name) or "" for name in names)
    both = json.loads(combined or "{}")
    enabled = [[one.enabled for one in plant.key_vault.versions(VAULT, name)] for name in names]
    copies = {
        "Keeper": (values.get("access_key_id", ""), values.get("access_key_password", "")),
        _PAIR: (key_id, password),
        "Key Vault's combined secret": (both.get("access_key_id", ""), both.get("access_key_password", "")),
    }
    fields = [label for label, value in values.items() if value]
    shape = repr((copies, [key.key_id for key in live], enabled, sorted(values), fields))
    for number, key in enumerate(keys):
        shape = shape.replace(key.key_id, f"id{number}").replace(key.password, f"value{number}")
    return View(
        copies=copies,
        live={key.key_id: key.password for key in live},
        labels={key.key_id: key.label for key in live},
        rest=(record, key_id, password, combined),
        shape=shape,
    )


def _seeq_rotated(*, combined: bool) -> Callable[[Plant, bool], None]:
    def check(plant: Plant, spotless: bool) -> None:
        new = invariants.assert_true_state(plant, combined=combined, older_disabled=spotless)
        assert new != plant.old_key_id, "the key is a new one"

    return check


def _seeq(*, combined: bool, first_time: bool = False) -> Subject:
    return Subject(
        "rotate_seeq_application_key",
        _seeq_plant(combined=combined, first_time=first_time),
        _seeq_view,
        _seeq_rotated(combined=combined),
        frozenset((_PAIR,)),
    )


SUBJECTS = {
    "seeq application": _seeq(combined=True),
    "seeq application, pair only": _seeq(combined=False),
    "seeq application, first time": _seeq(combined=True, first_time=True),
}
MAIN = SUBJECTS["seeq application"]
