"""What is tried: one entry for each attachable script that rotates a key.

A subject knows how to set its plant up and how to read the plant's state. All that must hold is
said once, in `trial.py`, in terms of what a subject sees.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pam_scripts.core.times import utc_now
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.lease import read_lease
from pam_scripts.rotation.ops_log import Entry
from pam_scripts.stores.openbao.mirror import VERSIONS_TAG
from sandbox.iam_users import IamPlant
from sandbox.messaging import RabbitPlant
from sandbox.plant import VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant
from sandbox.publishing import PublishPlant, new_password
from sandbox.realm import REALM, KeycloakPlant, KeycloakPolicyPlant
from sandbox.services import keeper
from sandbox.services.azure_resources import Kind
from sandbox.slots import SlotPlant
from tests.support import invariants


@dataclass(frozen=True)
class Held:
    """What a plant's places hold at one moment.

    copies: what each place holds, as key id and value; ("", "") for nothing. live: value of each key
    that could log in, by key id.
    """

    copies: Mapping[str, tuple[str, str]]
    live: Mapping[str, str]

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
class View(Held):
    """The whole state of a plant at one moment.

    labels: label of each live key. rest: whatever else must be as before when nothing was changed.
    shape: the state with what is random left out, equal where two states differ in nothing that a
    rotation could tell apart.
    """

    labels: Mapping[str, str]
    rest: Any
    shape: str


@dataclass(frozen=True)
class Subject:
    """One script, the plant it runs in, and how to read that plant: all of it, or what its places hold.

    forward_only: what is published is in use already, so that a failure puts nothing back.
    replaces: a new value ends the one before it, so that the stores hold a dead one until they are written.
    pairs: places of two halves that cannot be written at once. check_rotated: raises AssertionError
    unless one rotation has been carried out in full; `spotless` says that no fault was in the way.
    deadline: seconds of a run, short enough that a request which hangs costs little: a single call may
    take an eighth of it. ends: the exit status of a run that meets no fault of ours; mend: takes away the plant's
    own. resumes: a rotation was interrupted before, so that the key that is to be everywhere is in Keeper already.
    command: of `pam-scripts`, where that is run in place of the attached file: the words before the UID.
    """

    script: str
    make: Callable[[Path], AnyPlant]
    view: Callable[[AnyPlant], View]
    held: Callable[[AnyPlant], Held]
    check_rotated: Callable[[AnyPlant, bool], None]
    pairs: frozenset[str] = frozenset()
    deadline: int = 20
    forward_only: bool = False
    replaces: bool = False
    ends: int = 0
    resumes: bool = False
    mend: Callable[[AnyPlant], None] = lambda _plant: None
    command: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What is run."""
        return " ".join((*self.command, self.script))


_PAIR = "Key Vault's pair"
_SLOTS = "rotate_azure_resource_key"

PAUSE = 2.0
"""Seconds of the plant's clock that go by before a run comes after another, at least."""


def _plant(
    kind: Callable[..., AnyPlant], deadline: int, *, combined: bool, first_time: bool, read: bool
) -> Callable[[Path], AnyPlant]:
    def make(directory: Path) -> AnyPlant:
        plant = kind(directory, mirrored=True, first_time=first_time)
        plant.set_field("deadline_seconds", str(deadline))
        if combined:
            plant.set_field("key_vault_combined", "True")
        if combined and not first_time:
            id_field, value_field = list(plant.outputs)[:2]
            both = {id_field: plant.old_key_id, value_field: plant.old_password}
            plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both))
        if read:
            plant.add_aws_mirror("plant/reports", plant.key_vault.value(VAULT, plant.combined_name))
            app = plant.add_app("reports", restart_seconds=0.05, heals=lambda held: _lets_in(plant, held["credential"]))
            _be_impatient(plant, app.health_url)
        return plant

    return make


def _lets_in(plant: AnyPlant, held: str | None) -> bool:
    """Say whether what an app read still logs in."""
    both = json.loads(held or "{}")
    return plant.logs_in(*(both.get(label, "") for label in list(plant.outputs)[:2]))


def _be_impatient(plant: AnyPlant, *urls: str) -> None:
    """Have the record wait for its consumers as long as they take here."""
    plant.set_field("health_urls", ", ".join(urls))
    plant.set_field("health_seconds", "5")


def _at_rest(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without its log, which failures are written to as well, and without a lease that has ended."""
    ended = [item["label"] for item in record["custom"] if item["label"] == invariants.LEASE and _has_ended(item)]
    return {**record, "custom": [item for item in record["custom"] if item["label"] not in ("last_rotation", *ended)]}


def _has_ended(lease: Mapping[str, Any]) -> bool:
    _, until = read_lease("".join(lease["value"]))
    return bool(until and until <= utc_now())


def _values(record: dict[str, Any]) -> dict[str, str]:
    """Return what stands in the record's fields, by label."""
    return {item["label"]: (item["value"] or [""])[0] for item in record["custom"]}


def words_of(text: str) -> Mapping[str, str]:
    """Return the words of a JSON object; none of whatever else a person has entered."""
    with contextlib.suppress(ValueError):
        words = json.loads(text)
        return words if isinstance(words, dict) else {}
    return {}


def _held(plant: AnyPlant) -> Held:
    values = _values(plant.keeper.record(plant.user_uid))
    id_field, value_field = list(plant.outputs)[:2]
    names = (plant.id_name, plant.password_name, plant.combined_name)
    key_id, value, combined = (plant.key_vault.value(VAULT, name) or "" for name in names)
    both = words_of(combined)
    outside = {"AWS": plant.aws.value(plant.aws_secret) or ""} if plant.aws_secret else {}
    outside |= {f"OpenBao {name}": json.dumps(plant.openbao.value(name)) for name in plant.openbao_secrets}
    outside |= {f"app {app.name}": app.holds.get("credential") or "" for app in plant.apps}
    elsewhere = {place: words_of(text) for place, text in outside.items()}
    copies = {
        "Keeper": (values.get(id_field, ""), values.get(value_field, "")),
        _PAIR: (key_id, value),
        "Key Vault's combined secret": (both.get(id_field, ""), both.get(value_field, "")),
        **{place: (pair.get(id_field, ""), pair.get(value_field, "")) for place, pair in elsewhere.items()},
    }
    return Held(copies, {key.key_id: key.value for key in plant.issued() if key.live and key.listed})


def _view(plant: AnyPlant) -> View:
    held = _held(plant)
    issued = sorted(plant.issued(), key=lambda key: key.created_at)
    live = [key for key in issued if key.key_id in held.live]
    record = plant.keeper.record(plant.user_uid)
    values = _values(record)
    names = (plant.id_name, plant.password_name, plant.combined_name)
    enabled = [[one.enabled for one in plant.key_vault.versions(VAULT, name)] for name in names]
    fields = [label for label, held in values.items() if held and label != "last_rotation"]
    enabled += [[one.data is not None for one in plant.openbao.versions(name)] for name in plant.openbao_secrets]
    shape = repr((held.copies, [key.key_id for key in live], enabled, sorted({*values} - {"last_rotation"}), fields))
    known = {plant.old_key_id: plant.old_password, **{key.key_id: key.value for key in issued}}
    for number, (known_id, known_value) in enumerate(known.items()):
        shape = shape.replace(known_id, f"id{number}").replace(known_value, f"value{number}")
    return View(
        copies=held.copies,
        live=held.live,
        labels={key.key_id: key.label for key in live},
        rest=(
            _at_rest(record),
            *(plant.key_vault.value(VAULT, name) for name in names),
            *((plant.openbao.value(name), _told(plant.openbao.tags(name))) for name in plant.openbao_secrets),
        ),
        shape=shape,
    )


def _told(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what a secret's tags say of its newest version: the numbers of versions go on."""
    return {word: text for word, text in tags.items() if word != VERSIONS_TAG}


def _in_openbao(directory: Path) -> AnyPlant:
    """Make a plant whose mirror is in OpenBao alone, beside a word of somebody else's."""
    plant = Plant(directory, mirrored=False)
    plant.set_field("deadline_seconds", "20")
    both = dict(zip(list(plant.outputs)[:2], (plant.old_key_id, plant.old_password), strict=True))
    plant.add_openbao_mirror("plant/reports", held={**both, "note": "of the team"})
    return plant


def _rotated_in_openbao(plant: AnyPlant, spotless: bool) -> None:
    _rotated(combined=False)(plant, spotless)
    for name in plant.openbao_secrets:
        assert (plant.openbao.value(name) or {}).get("note") == "of the team", "others' words stay"
        tags, newest = plant.openbao.tags(name), plant.openbao.versions(name)[-1]
        assert tags.get("seeq-application-id") == plant.application_id, "it is tagged as the target's"  # type: ignore[attr-defined]
        assert tags[VERSIONS_TAG].startswith(f"{newest.number}={tags['rotation-id']}"), "by this rotation"
        older = [one.number for one in plant.openbao.versions(name)[:-1] if one.data is not None]
        assert not (spotless and older), "older versions cannot be read"


def _rotated(*, combined: bool) -> Callable[[AnyPlant, bool], None]:
    def check(plant: AnyPlant, spotless: bool) -> None:
        new = invariants.assert_true_state(plant, combined=combined, older_disabled=spotless)
        assert new != plant.old_key_id, "the key is a new one"
        copies = _held(plant).copies
        elsewhere = {pair for place, pair in copies.items() if place.startswith(("AWS", "OpenBao", "app "))}
        assert elsewhere <= {copies["Keeper"]}, "what is kept elsewhere, and what the apps hold, is what Keeper holds"

    return check


def _in_turn(plant: AnyPlant, spotless: bool) -> None:
    invariants.assert_true_state(plant, combined=True, older_disabled=spotless)
    assert plant.old_password not in {value for _, value in _held(plant).copies.values()}, "the password is a new one"


def _subject(  # noqa: PLR0913 - each is one thing that plants differ in
    script: str,
    kind: Callable[..., AnyPlant],
    *,
    combined: bool = True,
    first_time: bool = False,
    deadline: int = 20,
    read: bool = False,
) -> Subject:
    make = _plant(kind, deadline, combined=combined, first_time=first_time, read=read)
    return Subject(script, make, _view, _held, _rotated(combined=combined), frozenset((_PAIR,)), deadline)


# -- keys in slots --------------------------------------------------------------------------------


def _in_slots(
    directory: Path, *, of: Kind = "storage", first_time: bool = False, failing: Sequence[int] | None = None
) -> AnyPlant:
    """Make a plant with a resource of a kind, whose key in use is in the vault's combined secret, too.

    failing: which regenerations fail that take a while; none takes any where it is None.
    """
    plant = SlotPlant(directory, of=of, first_time=first_time)
    if failing is not None:
        # Whoever asks a second time finds it ended; after a run that asks no more it ends before the next.
        plant.resource.seconds, plant.resource.asked, plant.resource.failing = PAUSE / 2, 1, failing
    plant.set_field("deadline_seconds", "20")
    plant.set_field("key_vault_combined", "True")
    if not first_time:
        both = dict(zip(list(plant.outputs)[:2], (plant.old_key_id, plant.old_password), strict=True))
        plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both), tags=plant.marks())
    return plant


def _held_in_slots(plant: AnyPlant) -> Held:
    """Take for alive what stands somewhere and lets in, and what the record has held; nobody has the rest."""
    assert isinstance(plant, SlotPlant)
    copies = _held(plant).copies
    known = {*copies.values(), *((key.key_id, key.value) for key in plant.issued() if key.live)}
    return Held(copies, {key_id: value for key_id, value in known if plant.logs_in(key_id, value)})


def _view_of_slots(plant: AnyPlant) -> View:
    assert isinstance(plant, SlotPlant)
    held = _held_in_slots(plant)
    seen = _view(plant)
    shape = repr((held.copies, sorted(held.live), seen.shape))
    for number, (key_id, value) in enumerate(held.copies.values()):
        shape = shape.replace(key_id, f"{key_id.partition('-')[0]} {number}" if key_id else "")
        shape = shape.replace(value, f"value{number}") if value else shape
    return View(copies=held.copies, live=held.live, labels=dict.fromkeys(held.live, ""), rest=seen.rest, shape=shape)


def _rotated_in_slots(plant: AnyPlant, spotless: bool) -> None:
    assert isinstance(plant, SlotPlant)
    new = invariants.assert_true_state(plant, combined=True, older_disabled=spotless)
    assert new.partition("-")[0] in plant.resource.keys, "its id begins with its slot"
    assert plant.old_password not in {value for value, _ in plant.resource.keys.values()}, "the former one is gone"


def _succeed_from_now_on(plant: AnyPlant) -> None:
    assert isinstance(plant, SlotPlant)
    plant.resource.failing = ()


def _subject_in_slots(make: Callable[[Path], AnyPlant]) -> Subject:
    subject = Subject(_SLOTS, make, _view_of_slots, _held_in_slots, _rotated_in_slots, frozenset((_PAIR,)))
    return replace(subject, mend=_succeed_from_now_on)


# -- two secrets under one id ---------------------------------------------------------------------


def _held_by_value(plant: AnyPlant) -> Held:
    """Take a secret for its own id: the former one lives beside the new one, and both have the client's."""
    copies = {place: (value, value) for place, (_, value) in _held(plant).copies.items()}
    return Held(copies, {key.value: key.value for key in plant.issued() if key.live})


def _view_by_value(plant: AnyPlant) -> View:
    held, seen = _held_by_value(plant), _view(plant)
    return View(
        copies=held.copies,
        live=held.live,
        labels={
            key.value: key.key_id if " (" in key.key_id else f"client secret {key.key_id}" for key in plant.issued()
        },
        rest=seen.rest,
        shape=seen.shape,
    )


# -- rotations that were interrupted --------------------------------------------------------------


def _with_newer(
    make: Callable[[Path], AnyPlant], newer: Callable[[Any], tuple[str, str]]
) -> Callable[[Path], AnyPlant]:
    """Make a plant whose record has the next key already, as a rotation leaves it that is killed before the mirrors."""

    def interrupted(directory: Path) -> AnyPlant:
        plant = make(directory)
        for name, text in zip(list(plant.outputs)[:2], newer(plant), strict=True):
            plant.set_field(name, text)
        # One save has written both.
        plant.set_field("rotated_at", f"{plant.clock.now() - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}")
        return plant

    return interrupted


def _newer_in_slots(plant: SlotPlant) -> tuple[str, str]:
    return f"{plant.second}-0123456789ab", plant.resource.value(plant.second)


def _newer_in_rabbitmq(plant: RabbitPlant) -> tuple[str, str]:
    value = new_password().replace("$%!", "")
    plant.rabbitmq.add_user(plant.idle, value, ["monitoring", "erp"])
    return plant.idle, value


def _newer_in_keycloak(plant: KeycloakPolicyPlant) -> tuple[str, str]:
    plant.keycloak.regenerate(REALM, plant.client_id)
    plant.set_field("expires", f"{plant.issued()[0].expires_at:%Y-%m-%dT%H:%M:%SZ}")
    return plant.client_id, str(plant.client["secret"])


def _newer_in_iam(plant: IamPlant) -> tuple[str, str]:
    # Keys of IAM have no label: the lease tells when a rotation was at work that never ended.
    begun = plant.clock.now() - timedelta(hours=2)
    plant.set_field(invariants.LEASE, f"{begun:%Y%m%dT%H%M%SZ}-0badc0de until {begun:%Y-%m-%dT%H:%M:%SZ}")
    return plant.add_key("", created_days_ago=2 / 24)


# -- values that are published --------------------------------------------------------------------


def _publishing(value_format: str) -> Callable[[Path], AnyPlant]:
    def make(directory: Path) -> AnyPlant:
        plant = PublishPlant(directory, value_format=value_format)
        plant.set_field("deadline_seconds", "20")
        plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))
        app = plant.add_app("portal", plant.id_name, restart_seconds=0.05)
        _be_impatient(plant, app.health_url)
        return plant

    return make


def _with_value_before(directory: Path) -> AnyPlant:
    """Make a plant with one mirror of each kind, and a second name in each."""
    plant = PublishPlant(directory, value_format="alnum:32")
    plant.vaults = (VAULT,)
    plant.set_field("key_vault_name", VAULT)
    plant.set_field("deadline_seconds", "20")
    plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))
    plant.add_openbao_mirror("plant/erp", held={"value": plant.written(plant.old_password)})
    plant.keep_previous("the-value-of-two-years-ago")
    app = plant.add_app("portal", plant.id_name, restart_seconds=0.05)
    _be_impatient(plant, app.health_url)
    return plant


def _held_values(plant: AnyPlant) -> Held:
    """Take a value for its own id: alive is what a place or an app holds, if it was made or given at all.

    Where there are second names, whoever reads the first and then the second knows what an app sends that was not
    restarted yet: what he does not know is dead.
    """
    assert isinstance(plant, PublishPlant)
    sent = {app.name: plant.value_in(app.holds.get("credential")) for app in plant.apps}
    held = {**plant.holdings(), **{f"app {name}": value for name, value in sent.items()}}
    for place, second in plant.second_holdings().items():
        held[f"second name in {place}"] = second
        for app in plant.apps:
            if not app.restarts and sent[app.name] not in (held[place], second):
                held[f"app {app.name} at who reads {place}"] = f"{sent[app.name]}, which is not known there"
    made = plant.made()
    known = {value: value for value in held.values() if value in made}
    return Held({place: (value, value) for place, value in held.items()}, known)


def _view_of_values(plant: AnyPlant) -> View:
    assert isinstance(plant, PublishPlant)
    held = _held_values(plant)
    record = plant.keeper.record(plant.user_uid)
    filled = sorted(item["label"] for item in record["custom"] if item["value"] and item["label"] != "last_rotation")
    versions = [[one.enabled for one in plant.key_vault.versions(vault, plant.id_name)] for vault in plant.vaults]
    shape = repr((held.copies, versions, filled))
    for number, value in enumerate(sorted(held.live, key=lambda one: one != plant.old_password)):
        shape = shape.replace(value, f"value{number}")
    return View(
        copies=held.copies,
        live=held.live,
        labels=dict.fromkeys(held.live, ""),
        rest=(_at_rest(record), plant.holdings(), plant.second_holdings()),
        shape=shape,
    )


def _published(plant: AnyPlant, _spotless: bool) -> None:
    assert isinstance(plant, PublishPlant)
    held = {*plant.holdings().values(), *(plant.value_in(app.holds.get("credential")) for app in plant.apps)}
    assert 1 == len(held), "every place and every app has the same value"
    assert plant.old_password not in held, "which is a new one"
    assert plant.value_format != "keeper" or {plant.new_password} == held, "the one that Keeper made"
    assert [] == invariants.custom_fields(plant, invariants.LEASE), "no lease is left"
    second = {*plant.second_holdings().values()}
    assert not second & held, "the one before stands under second names"
    assert second <= plant.made(), "and nothing else"


# -- roll backs -----------------------------------------------------------------------------------

_ROLL_BACK = ("rollback", "--yes")
_FIRST, _SECOND = "20260101T000000Z-0badc0de", "20260201T000000Z-0badc0de"


def _log(plant: AnyPlant, *keys: str) -> None:
    """Have the ops log tell of two rotations, the newest first, with these new keys."""
    entries = [
        Entry(rotation_id=rotation_id, new_key=key, script="rotate", record=plant.user_uid).text()
        for rotation_id, key in zip((_SECOND, _FIRST), keys, strict=True)
    ]
    log = keeper.multiline("last_rotation", "\n\n".join(entries))
    plant.keeper.edit(plant.user_uid, lambda data: data["custom"].append(log))


def _with_earlier_key(directory: Path) -> AnyPlant:
    """Make a plant in which the key before the present one lives, and the vault has the versions of both."""
    plant = Plant(directory)
    plant.set_field("key_vault_combined", "True")
    plant.set_field("keep_previous_keys", "1")
    plant.set_field("deadline_seconds", "20")
    earlier = plant.add_key(label(plant.user_uid, _FIRST), created_days_ago=60)
    id_field, value_field = list(plant.outputs)[:2]
    for rotation_id, (key_id, value) in ((_FIRST, earlier), (_SECOND, (plant.old_key_id, plant.old_password))):
        tags = {"seeq-application-id": plant.application_id, "rotation-id": rotation_id}
        both = json.dumps({id_field: key_id, value_field: value})
        for name, text in (plant.id_name, key_id), (plant.password_name, value), (plant.combined_name, both):
            plant.key_vault.set(VAULT, name, text, tags=tags)
    _log(plant, plant.old_key_id, earlier[0])
    return plant


def _rolled_back(plant: AnyPlant, _spotless: bool) -> None:
    key_id = invariants.assert_true_state(plant, combined=True, older_disabled=False)
    (key,) = (one for one in plant.issued() if one.key_id == key_id)
    assert key.label == label(plant.user_uid, _FIRST), "it is the key before the one that was in use"


def _with_earlier_value(directory: Path) -> AnyPlant:
    """Make a plant whose vaults have the value before the present one in a version that is disabled."""
    plant = PublishPlant(directory, value_format="alnum:32")
    earlier = new_password().replace("$%!", "")
    for rotation_id, value in ((_FIRST, earlier), (_SECOND, plant.old_password)):
        plant.set_field("value", value)
        for vault in plant.vaults:
            tags = {"keeper-record": plant.user_uid, "rotation-id": rotation_id}
            version = plant.key_vault.set(vault, plant.id_name, plant.written(value), tags=tags)
            if rotation_id == _FIRST:
                plant.key_vault.change(vault, plant.id_name, version.version, enabled=False)
    plant.set_field("deadline_seconds", "20")
    app = plant.add_app("portal", plant.id_name, restart_seconds=0.05)
    _be_impatient(plant, app.health_url)
    _log(plant, _SECOND, _FIRST)
    return plant


_MAIN_SCRIPT = "rotate_seeq_application_key"
_CLIENT = "rotate_keycloak_client_secret"

SUBJECTS = {
    "seeq application": _subject(_MAIN_SCRIPT, Plant),
    "seeq application, pair only": _subject(_MAIN_SCRIPT, Plant, combined=False),
    "seeq application, first time": _subject(_MAIN_SCRIPT, Plant, first_time=True),
    # Entra's listings lag: putting back waits for them, and needs the time to.
    "azure app": _subject("rotate_azure_app_secret", AzureAppPlant, deadline=30),
    "seeq user": _subject("rotate_seeq_user_key", SeeqUserPlant),
    # The names of its two users come again, the passwords do not.
    "rabbitmq, two users": replace(_subject("rotate_rabbitmq_password", RabbitPlant), check_rotated=_in_turn),
    # What there is one of ends with the next: killed between, a run leaves stores with the former one.
    "rabbitmq, one user": replace(
        _subject("rotate_rabbitmq_password", partial(RabbitPlant, spare=False)), check_rotated=_in_turn, replaces=True
    ),
    "keycloak": replace(_subject(_CLIENT, KeycloakPlant), check_rotated=_in_turn, replaces=True),
    "keycloak, with a policy": Subject(
        _CLIENT,
        _plant(KeycloakPolicyPlant, 20, combined=True, first_time=False, read=False),
        _view_by_value,
        _held_by_value,
        _in_turn,
        frozenset((_PAIR,)),
        20,
    ),
    # Lists of IAM lag as those of Entra do.
    "aws user": _subject("rotate_aws_access_key", IamPlant, deadline=30),
    "seeq application, read by an app, in AWS too": _subject(_MAIN_SCRIPT, Plant, read=True),
    "seeq application, in OpenBao": Subject(_MAIN_SCRIPT, _in_openbao, _view, _held, _rotated_in_openbao),
    "storage keys": _subject_in_slots(_in_slots),
    "storage keys, first time": _subject_in_slots(partial(_in_slots, first_time=True)),
    "redis keys": _subject_in_slots(partial(_in_slots, of="redis")),
    # The first operation makes the key, the second one throws the former away, and is begun once more.
    "redis keys, slowly": _subject_in_slots(partial(_in_slots, of="managed redis", failing=(2,))),
    "redis keys, failing": replace(_subject_in_slots(partial(_in_slots, of="managed redis", failing=(1,))), ends=1),
    "value made here": Subject("publish_secret", _publishing("alnum:32"), _view_of_values, _held_values, _published),
    "value from Keeper": Subject(
        "publish_secret", _publishing("keeper"), _view_of_values, _held_values, _published, forward_only=True
    ),
    "value made here, with the one before": Subject(
        "publish_secret", _with_value_before, _view_of_values, _held_values, _published
    ),
    # Before a run has its own time, the command reads all records in its.
    "roll back of a key": Subject(
        _MAIN_SCRIPT, _with_earlier_key, _view, _held, _rolled_back, frozenset((_PAIR,)), 30, command=_ROLL_BACK
    ),
    "roll back of a value": Subject(
        "publish_secret",
        _with_earlier_value,
        _view_of_values,
        _held_values,
        _published,
        deadline=30,
        command=_ROLL_BACK,
    ),
}
SUBJECTS |= {
    f"{name}, interrupted": replace(SUBJECTS[name], make=_with_newer(SUBJECTS[name].make, newer), resumes=True)
    for name, newer in (
        ("storage keys", _newer_in_slots),
        ("rabbitmq, two users", _newer_in_rabbitmq),
        ("keycloak, with a policy", _newer_in_keycloak),
        ("aws user", _newer_in_iam),
    )
}
MAIN = SUBJECTS["seeq application"]
SISTERS = {name: SUBJECTS[name] for name in ("azure app", "seeq user", "rabbitmq, two users", "aws user")}
IN_OPENBAO = SUBJECTS["seeq application, in OpenBao"]
IN_SLOTS = SUBJECTS["storage keys"]
WITH_PREVIOUS = SUBJECTS["value made here, with the one before"]
IN_KEYCLOAK = {name: SUBJECTS[name] for name in ("keycloak", "keycloak, with a policy")}
