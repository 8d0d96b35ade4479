"""People and clocks: whatever happens to a plant between rotations, and what must hold after each step all the same.

What a person broke, or a key's own end, is spared until the next rotation that succeeds: what stood in a place then
need not log in, and is put back as it was. What a person did that forbids a rotation (a right that was taken away, a
secret marked as another's) is a hindrance: until it is mended a rotation may fail, and must then change nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pam_scripts.core.times import parse_iso
from pam_scripts.rotation.shape import OWNER_TAGS
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.plant import VAULT, AnyPlant, AzureAppPlant, SeeqUserPlant, running
from sandbox.services import Refusal, keeper
from sandbox.services.key_vault import ALL, Right
from tests.faults.subjects import Subject, View, words_of
from tests.faults.trial import KILLED, Bench, Trial, Violation, Witness, judge_end, said
from tests.support import invariants

_OUR_TAGS = {*OWNER_TAGS, "key-type", "expiry", "rotated-at", "rotation-id"}
_SOMEBODY = "somebody-else"
_ELSEWHERE = "https://elsewhere.example.com"

# No lease is longer than the longest run that a record can ask for, and a minute.
_LONGEST_LEASE = timedelta(seconds=120 + 2 * 1800 + 60)

# Days for which no login but a script's keeps the admin's secret and the user's keys alive.
_LONGEST_STORY: Mapping[type[AnyPlant], float] = {SeeqUserPlant: 80.0}
_LONGEST = 300.0


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong in one run: the words for it, and how the trial is given its rules."""

    name: str
    rules: Callable[[Trial], Sequence[Rule]]


class Scene:
    """One plant, its people, and the clocks of its services and of the Gateway's host.

    hindrances: how each thing that forbids a rotation is mended, by its name. spared: places that somebody else than
    a rotation broke. story: all that has happened, in words. exits: how the rotations ended. ahead: by how many
    seconds the host's clock is ahead of the services'. typed: what people have typed in. in_the_open: whether one
    has put a value where everybody can read it.
    """

    def __init__(self, bench: Bench, subject: Subject) -> None:
        self.subject = subject
        self._bench = bench
        self._resources = contextlib.ExitStack()
        directory = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="people-")))
        self.plant: AnyPlant = self._resources.enter_context(running(subject.make(directory)))
        self.plant.set_field("deadline_seconds", "60")
        self.hindrances: dict[str, Callable[[], None]] = {}
        self.spared: set[str] = set()
        self.story: list[str] = []
        self.ahead = 0.0
        self.typed: list[str] = []
        self.in_the_open = False
        self.exits: list[int] = []

    def close(self) -> None:
        """Stop the plant."""
        self._resources.close()

    # -- clocks -----------------------------------------------------------------------------------

    @property
    def host_clock(self) -> float:
        """By how many seconds the host's clock is ahead of real time."""
        return self.plant.clock.offset.total_seconds() + self.ahead

    def host_now(self) -> datetime:
        """Say what time it is for the host."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.host_clock)

    def pass_time(self, days: float) -> None:
        """Let time pass, for services and host alike."""
        longest = _LONGEST_STORY.get(type(self.plant), _LONGEST)
        self.plant.clock.advance(days=min(days, max(longest - self.plant.clock.offset / timedelta(days=1), 0.0)))

    # -- what people can lay their hands on -------------------------------------------------------

    @property
    def labels(self) -> tuple[str, str]:
        """The record's fields for the key's id and its value."""
        label_of_id, label_of_value = list(self.plant.outputs)[:2]
        return label_of_id, label_of_value

    @property
    def secrets(self) -> list[str]:
        """The names of the mirror's secrets that are there."""
        names = (self.plant.id_name, self.plant.password_name, self.plant.combined_name)
        return [name for name in names if self.plant.key_vault.versions(VAULT, name)]

    def type_in(self) -> str:
        """Make up a value that no system has issued, and nobody may print."""
        self.typed.append(f"typed-by-hand-{len(self.typed)}-Xy7!")
        return self.typed[-1]

    def set_field(self, label: str, value: str, kind: str = "text") -> None:
        """Enter a value into the record's field, or into a new one of this type."""

        def change(data: dict[str, Any]) -> None:
            found = [item for item in data["custom"] if item.get("label") == label]
            if not found:
                found = [{"type": kind, "label": label, "value": []}]
                data["custom"] += found
            found[0]["value"] = [value] if value else []

        self.plant.keeper.edit(self.plant.user_uid, change)

    def field(self, label: str) -> str:
        """Return what stands in a field of the record."""
        return self.plant.keeper.value(self.plant.user_uid, label) or ""

    def view(self) -> View:
        """Return the plant's state; the lease is looked at for itself."""
        view = self.subject.view(self.plant)
        record, *rest = view.rest
        custom = [item for item in record["custom"] if item["label"] != invariants.LEASE]
        return replace(view, rest=({**record, "custom": custom}, *rest))

    def hinder(self, name: str, mend: Callable[[], None]) -> None:
        """Note down what was done that forbids a rotation, and how it is undone; twice is once."""
        self.hindrances.setdefault(name, mend)

    def mend_all(self) -> None:
        """Undo whatever forbids a rotation."""
        while self.hindrances:
            self.hindrances.popitem()[1]()

    # -- steps ------------------------------------------------------------------------------------

    def act(self, name: str, number: int) -> list[Violation]:
        """Let a person do something; number: which of the things it can be done to."""
        self.story.append(f"a person {name} ({number})")
        ACTS[name](self, number)
        self.spare()
        return []

    def spare(self) -> None:
        """Blame whatever is broken now on others."""
        held = self.subject.held(self.plant)
        self.spared = {place for place in held.copies if held.kind(place) in ("dead", "mixed")}

    def lease(self) -> str:
        """Say whether the lease in the record is another rotation's: `held`, `free`, or `unclear` near the bounds."""
        match = re.fullmatch(r"\S+ until (\S+)", self.field(invariants.LEASE))
        try:
            until = parse_iso(match[1]) if match else None
        except ValueError:
            until = None
        left = until - self.host_now() if until else timedelta(0)
        slack = timedelta(seconds=30)
        if left <= -slack or not until or left > _LONGEST_LEASE + slack:
            return "free"
        return "held" if slack < left <= _LONGEST_LEASE - slack else "unclear"

    def rotate(self, disturbance: Disturbance | None = None) -> list[Violation]:
        """Have the script run once, some seconds after whatever was before; return what does not hold after it.

        Keeper forgets its count of a device's calls after ten seconds without one.
        """
        self.plant.clock.advance(seconds=11)
        plant, lease, before, theirs = self.plant, self.lease(), self.view(), self._tags_of_others()
        marked, log = self.marked, self.field("last_rotation")
        trial = Trial(self.subject, plant, self._bench.warm, self._bench.file(self.subject))
        rules = disturbance.rules(trial) if disturbance else []
        plant.wire.log.clear()
        plant.wire.rules, witness = list(rules), Witness(trial, self.spared)
        plant.wire.gate = witness.gate
        result = trial.start(direct=True, clock=self.host_clock).wait()
        plant.wire.rules, plant.wire.gate = [], None
        witness.look()
        struck = sum(rule.hits for rule in rules)
        self.story.append(f"{disturbance.name if struck and disturbance else 'a rotation'} -> {result.returncode}")
        found = [*witness.violations, *judge_end(result, 60.0), *self._silent(result), *self._trusted(result)]
        if result.returncode != KILLED:
            verdict = _Verdict(self, before, self.view(), result, struck, marked, log)
            found += verdict.judge(lease, witness.held_alive, theirs)
        if found:
            self.story += [f"    | {line}" for line in (result.stdout + result.stderr).splitlines()]
        # What a kill leaves between the two sets of a pair is the one gap there is.
        gap = self.subject.pairs if result.returncode == KILLED else frozenset[str]()
        held = self.subject.held(plant)
        self.spared = {place for place in self.spared | gap if held.kind(place) in ("dead", "mixed")}
        self.exits.append(result.returncode)
        return found

    def converge(self) -> list[Violation]:
        """Mend what people did, let leases end, and rotate: it must end in the true state."""
        self.story.append("all is mended")
        self.mend_all()
        self.pass_time(0.1)
        self.set_field("adopt_secrets", "True")
        if self.lease() != "free":
            self.set_field(invariants.LEASE, "")
        self.spare()
        return self.rotate()

    # -- what holds whatever came of it -----------------------------------------------------------

    def _silent(self, result: RotationResult) -> list[Violation]:
        output = result.stdout + result.stderr
        found = [Violation("Silent", "what a person typed in is printed") for each in self.typed if each in output]
        if self.in_the_open:
            # What a person left in the open is no rotation's doing; what is printed is.
            return found + [Violation("Silent", "in the output") for each in self.plant.secrets() if each in output]
        try:
            invariants.assert_silent(self.plant, result)
        except AssertionError as error:
            found.append(Violation("Silent", said(error)))
        return found

    def _trusted(self, result: RotationResult) -> list[Violation]:
        found = [Violation("Trusted", f"{host} was asked") for host in self.plant.wire.refused]
        if "led elsewhere" in self.hindrances and result.returncode not in (1, 2, KILLED):
            found.append(Violation("Trusted", f"exit {result.returncode}, though the record leads elsewhere"))
        return found

    def _tags_of_others(self) -> Mapping[str, Mapping[str, str]]:
        """Return what tags of the newest versions are not ours to touch, by the secret's name."""
        newest = {name: self.plant.key_vault.versions(VAULT, name)[-1].tags or {} for name in self.secrets}
        return {name: {tag: tags[tag] for tag in tags if tag not in _OUR_TAGS} for name, tags in newest.items()}

    @property
    def marked(self) -> bool:
        """Whether the mirror's secrets are known as this record's: by some version's mark, or by a listed key's id."""
        plant, (label_of_id, _) = self.plant, self.labels
        listed = {key.key_id for key in plant.issued() if key.listed}
        pair, combined = (plant.key_vault.value(VAULT, name) for name in (plant.id_name, plant.combined_name))
        named = {plant.combined_name: words_of(combined or "").get(label_of_id, "")}

        def is_ours(name: str) -> bool:
            versions = plant.key_vault.versions(VAULT, name)
            if any({*(one.tags or {})} & {*OWNER_TAGS} for one in versions):
                return True
            return versions[-1].enabled and named.get(name, pair) in listed

        return all(is_ours(name) for name in self.secrets)


@dataclass
class _Verdict:
    """What a run that was not killed has left behind, held against the promises. faults: how many were in its way."""

    scene: Scene
    before: View
    after: View
    result: RotationResult
    faults: int
    marked: bool
    log_before: str

    def judge(self, lease: str, held_alive: set[str], theirs: Mapping[str, Mapping[str, str]]) -> Sequence[Violation]:
        self.found: list[Violation] = []
        code = self.result.returncode
        self.undisturbed = not self.faults and not self.scene.hindrances
        self._yields(lease)
        if code == 0:
            self._true(theirs)
        else:
            self._all_or_nothing(held_alive)
        self._nothing_lost()
        self._log()
        return self.found

    def hold(self, invariant: str, fact: object, what: str) -> None:
        if not fact:
            self.found.append(Violation(invariant, what))

    def _yields(self, lease: str) -> None:
        code, scene = self.result.returncode, self.scene
        if lease == "held":
            self.hold("Two at once", code in (1, 2), f"a lease is held, yet exit {code}")
            self.hold("Two at once", self.before == self.after, "a lease is held, yet something changed")
        elif lease == "free" and self.undisturbed and (self.marked or scene.field("adopt_secrets")):
            self.hold("Converges", code == 0, f"exit {code}: {self.result.stderr.strip()[-300:]}")
        if "marked as another's" in scene.hindrances:
            self.hold("Not ours", code != 0, "exit 0, though a secret is another's")
            changed = [name for name in self.before.copies if self.before.copies[name] != self.after.copies[name]]
            self.hold("Not ours", not changed, f"{changed} changed, though a secret is another's")
        left = scene.field(invariants.LEASE)
        told = "still has this rotation's lease" in self.result.stderr
        self.hold(
            "Converges", told or not left or lease != "free" or code in (1, 2), "a lease is left, and nobody says so"
        )

    def _true(self, theirs: Mapping[str, Mapping[str, str]]) -> None:
        scene, plant = self.scene, self.scene.plant
        label_of_id, _ = scene.labels
        new = scene.field(label_of_id)
        others = set(self.after.live) - {new}
        keep = int(scene.field("keep_previous_keys") or 0)
        self.hold("True", new not in self.before.live, "the key is no new one")
        self.hold("True", len(others) <= keep, f"{len(others)} other keys are alive, {keep} were to be kept")
        self.hold("True", others <= set(self.before.live), "a key is alive that nobody knew before")
        try:
            invariants.assert_true_state(plant, kept=others, combined=True, older_disabled=self.undisturbed)
        except AssertionError as error:
            self.hold("True", False, said(error))
        wrong = [place for place in self.after.copies if self.after.copies[place] != self.after.copies["Keeper"]]
        self.hold("True", not wrong, f"{wrong} differ from Keeper")
        ends = {key.key_id: key.expires_at for key in plant.issued()}
        end = ends.get(new)
        if "expires" in plant.outputs and end:
            told = {scene.field("expires")}
            told |= {(plant.key_vault.versions(VAULT, name)[-1].tags or {}).get("expiry", "") for name in scene.secrets}
            self.hold("True", told == {f"{end:%Y-%m-%dT%H:%M:%SZ}"}, f"the key ends {end}, told is {told}")
        for name, tags in theirs.items():
            kept = plant.key_vault.versions(VAULT, name)[-1].tags or {}
            self.hold("Not ours", tags.items() <= kept.items(), f"tags of others at {name} are lost")

    def _all_or_nothing(self, held_alive: set[str]) -> None:
        code, before, after, words = self.result.returncode, self.before, self.after, self.result.stderr
        deleted = set(before.live) - set(after.live)
        stuck = "could not be put back" in words and self.faults + len(self.scene.hindrances) > 1
        nothing_to_put_back = any(key_id and key_id not in before.live for key_id, _ in before.copies.values())
        if deleted:
            self.hold("All or nothing", code in (3, 4), f"exit {code} says nothing changed, but a key was deleted")
        elif not stuck and not (code == 4 and nothing_to_put_back):
            differing = [place for place in after.copies if before.copies[place] != after.copies[place]]
            self.hold(
                "All or nothing", not differing, f"exit {code} before the first deletion, but changed: {differing}"
            )
        if code in (1, 2):
            self.hold("All or nothing", before.rest == after.rest, f"exit {code}, but not as before")
            self.hold("All or nothing", before.live == after.live, f"exit {code}, but a new key is alive")
        for place in held_alive:
            key_id, value = after.copies[place]
            # Half a pair was never a credential: it is put back as what it was.
            dead = key_id and value and key_id not in after.live
            self.hold("Alive", not dead, f"{place} held a live key, and a dead one was put back")
        mixed = [place for place in after.copies if after.kind(place) == "mixed" and place not in self.scene.spared]
        self.hold("Alive", not mixed or stuck, f"left mixed: {mixed}")

    def _nothing_lost(self) -> None:
        before, after, words = self.before, self.after, self.result.stdout + self.result.stderr
        unheld_before = set(before.live) - {key_id for key_id, _ in before.copies.values()}
        held = {key_id for key_id, _ in after.copies.values()}
        for key_id in set(after.live) - held - unheld_before:
            named = key_id in words or (after.labels[key_id] and after.labels[key_id] in words)
            self.hold(
                "Nothing lost", named, f"key {key_id} ('{after.labels[key_id]}') is alive, in no store, not named"
            )

    def _log(self) -> None:
        """Of an entry that this run wrote: it must not promise more than the systems said."""
        entry = self.scene.field("last_rotation").partition("\n\n")[0]
        facts = dict(line.partition(": ")[::2] for line in entry.splitlines())
        if not facts.get("Rotation") or facts["Rotation"] in self.log_before:
            return
        due, status = facts.get("Next due", ""), facts.get("Exit status")
        ends = {f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}" for key in self.scene.plant.issued() if key.expires_at}
        self.hold("True", due in {"none", *ends}, f"by the log the key ends {due}; keys end {ends}")
        self.hold("True", status == str(self.result.returncode), f"by the log the exit status is {status}")
        stored = facts.get("Stored in", "none")
        self.hold("True", self.result.returncode not in (1, 2) or stored == "none", f"by the log {stored} has the key")


# -- what people do -------------------------------------------------------------------------------

Act = Callable[[Scene, int], None]


def _pick(things: Sequence[Any], number: int) -> Any:  # noqa: ANN401 - one of whatever there is
    return things[number % len(things)]


def _make_key(scene: Scene, number: int) -> None:
    scene.plant.add_key(f"made by hand {number}", expires_in_days=(90, 1, 400)[number % 3])


def _delete_key(scene: Scene, number: int) -> None:
    live = sorted((key for key in scene.plant.issued() if key.live), key=lambda key: key.created_at)
    if live:
        _delete(scene.plant, _pick(live[::-1], number).key_id)


def _delete(plant: AnyPlant, key_id: str) -> None:
    if isinstance(plant, AzureAppPlant):
        plant.entra.remove_secret(plant.target.client_id, key_id)
    else:
        plant.seeq.delete_key(key_id)


def _make_foreign_key(scene: Scene, number: int) -> None:
    # A user's keys serve several records: those of others are not seen.
    if isinstance(scene.plant, SeeqUserPlant):
        return
    key_id, _ = scene.plant.add_key(f"keeper:{_SOMEBODY}:{number}")

    def mend() -> None:
        if key_id in {key.key_id for key in scene.plant.issued() if key.listed}:
            _delete(scene.plant, key_id)

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
    scene.hinder("marked as another's", lambda: vault.change(VAULT, name, version.version, tags=version.tags))


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
    scene.set_field("keep_previous_keys", str(number % 3))


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
    if not isinstance(scene.plant, AzureAppPlant):
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
    if isinstance(plant, AzureAppPlant):
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
