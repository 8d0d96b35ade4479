"""What a run has left behind, held against the promises; people may have acted before it, and in the middle of it.

What a person does in the middle of a run moves what is right. The state to come back to is that of before, with what
the person has changed as either of the two left it; what a run could not see any more, it may not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.faults import Fault, Rule
from sandbox.gateway import RotationResult
from sandbox.log import Request
from sandbox.plant import VAULT
from tests.faults.spots import Spot
from tests.faults.subjects import View
from tests.faults.trial import Violation, has_read, said
from tests.support import invariants

if TYPE_CHECKING:
    from tests.faults.people import Scene

# What stands somewhere beside the keys: a section of the record and a label in it, or `vault` and a secret's number.
Fact = tuple[str, str]

# What rotations write into the record themselves.
_OUTPUTS = ("last_rotation", invariants.LEASE)


@dataclass
class Deed:
    """What a person does in the middle of a run, right before the request at a spot.

    name, number: of an act. former, present: the plant right before it and right after, None while it is not done.
    secrets: the vault's secrets that it changed. since: how many requests there had been by then.
    """

    name: str
    number: int
    spot: Spot
    former: View | None = None
    present: View | None = None
    secrets: frozenset[str] = frozenset()
    since: int = 0
    _due: Rule = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._due = self.spot.rule(Fault())

    def is_due(self, request: Request) -> bool:
        """Count the request, and say whether it is the one."""
        return self._due.takes(request)

    @property
    def done(self) -> bool:
        """Whether its request came."""
        return self.present is not None

    @property
    def made(self) -> Mapping[str, str]:
        """The keys that it made, with their values."""
        return _without(self.present, self.former)

    @property
    def killed(self) -> Mapping[str, str]:
        """The keys that it ended, with their values."""
        return _without(self.former, self.present)

    @property
    def changed(self) -> Mapping[Fact, object]:
        """What it changed beside the keys, as it left it."""
        if not (self.former and self.present):
            return {}
        former, present = _facts(self.former), _facts(self.present)
        return {fact: present.get(fact) for fact in {*former, *present} if former.get(fact) != present.get(fact)}

    def was_seen(self, log: Sequence[Request], *, before: Request | None = None) -> bool:
        """Say whether what it changed was read since: in the record, in each secret, and in the list of the keys.

        before: a request by which it must have been.
        """
        reads: list[Callable[[Request], bool]] = [reads_secret(name) for name in self.secrets]
        if any(section != "vault" for section, _ in self.changed):
            reads.append(lambda request: request.path.endswith("/get_secret"))
        if self.made or self.killed:
            reads.append(lists_keys)
        since = [one for one in log if one.number > self.since and (before is None or one.number < before.number)]
        return all(any(is_read(one) for one in since) for is_read in reads)


def reads_secret(name: str) -> Callable[[Request], bool]:
    """Return what tells a reading of this secret's newest version."""
    return lambda request: request.method == "GET" and bool(re.fullmatch(rf"/secrets/{name}/?", request.path))


def lists_keys(request: Request) -> bool:
    """Say whether a request asks the issuer for the list of the target's keys."""
    by_get = request.method == "GET" and re.search(r"/(applications|accesskeys)", request.path)
    return bool(by_get) or request.path.endswith("/listKeys") or b"Action=ListAccessKeys" in request.body


def _without(view: View | None, other: View | None) -> Mapping[str, str]:
    if not (view and other):
        return {}
    return dict(view.live.items() - other.live.items())


def _facts(view: View) -> Mapping[Fact, object]:
    """Return what stands where, beside the keys: in the record by section and label, in the vault by number."""
    record, *rest = view.rest
    facts: dict[Fact, Any] = {("vault", str(number)): value for number, value in enumerate(rest)}
    for section, content in record.items():
        if isinstance(content, list):
            for item in content:
                place = (section, item.get("label") or item["type"])
                facts[place] = [*facts.get(place, []), item]
        else:
            facts[section, ""] = content
    return facts


@dataclass
class Verdict:
    """What a run that was not killed has left behind, held against the promises.

    faults: how many were in its way. deed: what a person did meanwhile. at_once: there were two, of which the one that
    is judged has gone further. one_by_one: both of them succeeded. issued: the values of all keys of before, those at
    their end, too.
    """

    scene: Scene
    before: View
    after: View
    result: RotationResult
    faults: int
    marked: bool
    log_before: str
    deed: Deed | None = None
    at_once: bool = False
    one_by_one: bool = False
    issued: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        done = self.deed if self.deed and self.deed.done else None
        self.deed = done
        self.made, self.killed = (done.made, done.killed) if done else ({}, {})
        self.changed = done.changed if done else {}
        # The keys that would be alive if the run had done nothing. A key is its id and its value: names come again, and
        # who ends what has a name ends what stood there before, too.
        self.live = {key_id: value for key_id, value in self.before.live.items() if key_id not in self.killed}
        self.live |= self.made

    def judge(
        self, lease: str, held_alive: Mapping[str, set[str]], theirs: Mapping[str, Mapping[str, str]]
    ) -> Sequence[Violation]:
        """Return what does not hold.

        lease: what the record's lease was to the run. held_alive: places that somebody had broken, with the ids of the
        live keys that each held meanwhile. theirs: tags that are not ours to touch, by the secret's name.
        """
        self.found: list[Violation] = []
        code = self.result.returncode
        self.undisturbed = not self.faults and not self.scene.hindrances and not self.deed
        self._yields(lease)
        if code == 0:
            self._true(theirs)
        else:
            self._all_or_nothing(held_alive)
        self._nothing_lost()
        self._log()
        lost = [fact for fact in self.changed if self._is_a_persons(fact) and not self._is_there(fact)]
        self.hold("Not ours", not lost, f"what a person has entered meanwhile is lost: {lost}")
        return self.found

    def hold(self, invariant: str, fact: object, what: str) -> None:
        """Note down a violation unless this is a fact."""
        if not fact:
            self.found.append(Violation(invariant, what))

    @property
    def _tells_of_log(self) -> bool:
        words = self.result.stderr
        return "still has this rotation's lease" in words or "the ops log was not written" in words

    def _yields(self, lease: str) -> None:
        code, scene = self.result.returncode, self.scene
        leased_by_hand = self.deed and self.deed.name == "edits the lease"
        if lease == "held" and not leased_by_hand:
            self.hold("Two at once", code in (1, 2), f"a lease is held, yet exit {code}")
            self.hold("Two at once", self.deed or self.before == self.after, "a lease is held, yet something changed")
        elif (
            lease == "free" and self.undisturbed and not self.at_once and (self.marked or scene.field("adopt_secrets"))
        ):
            declined = scene.is_cautious and not scene.converging and code in (1, 2)
            self.hold("Converges", code == 0 or declined, f"exit {code}: {self.result.stderr.strip()[-300:]}")
        if scene.is_hindered("marked as another's") and not self.deed:
            self.hold("Not ours", code != 0, "exit 0, though a secret is another's")
            changed = [name for name in self.before.copies if self.before.copies[name] != self.after.copies[name]]
            self.hold("Not ours", not changed, f"{changed} changed, though a secret is another's")
        left = scene.field(invariants.LEASE)
        excused = self._tells_of_log or not left or lease != "free" or code in (1, 2) or leased_by_hand
        self.hold("Converges", excused, "a lease is left, and nobody says so")

    def _true(self, theirs: Mapping[str, Mapping[str, str]]) -> None:
        scene, plant = self.scene, self.scene.plant
        if self.deed and not self.deed.was_seen(plant.wire.log):
            return
        new, before, made = self.after.copies["Keeper"], self.before.live.items(), self.made.items()
        others = self.after.live.items() - {new}
        keep = max(int(text or 0) for text in (scene.field("keep_previous_keys"), self._kept_before()))
        self.hold("True", self._ended_another or new not in before, "the key is no new one")
        self.hold("True", len(others - made) <= keep, f"{len(others)} other keys are alive, {keep} to be kept")
        # One that had come to its end lives again, where a policy keeps what was in use.
        known = {*before, *made, *self.before.copies.values(), *(copy for copy in others if copy[1] in self.issued)}
        if self.one_by_one:
            # Both have made a key, and the second may keep the first one's.
            made_by_both = set(re.findall(r"^Generated .* with ID: (\S+)", self.result.stdout, re.MULTILINE))
            known |= {(key_id, value) for key_id, value in others if key_id in made_by_both}
        self.hold("True", others <= known, "a key is alive that nobody knew before")
        others_listed = {key.key_id for key in plant.issued() if key.live and key.listed and key.value != new[1]}
        try:
            invariants.assert_true_state(
                plant, kept=others_listed, combined=True, older_disabled=self.undisturbed, logged=not self._tells_of_log
            )
        except AssertionError as error:
            self.hold("True", False, said(error))
        wrong = [place for place in self.after.copies if self.after.copies[place] != self.after.copies["Keeper"]]
        self.hold("True", not wrong, f"{wrong} differ from Keeper")
        ends = {key.key_id: key.expires_at for key in plant.issued()}
        end = ends.get(scene.field(scene.labels[0]))
        touched = self.deed.secrets if self.deed else frozenset[str]()
        if "expires" in plant.outputs and end:
            told = {scene.field("expires")}
            newest = [plant.key_vault.versions(VAULT, name)[-1] for name in scene.secrets if name not in touched]
            told |= {(version.tags or {}).get("expiry", "") for version in newest}
            self.hold("True", told == {f"{end:%Y-%m-%dT%H:%M:%SZ}"}, f"the key ends {end}, told is {told}")
        for name in {*theirs} - touched:
            kept = plant.key_vault.versions(VAULT, name)[-1].tags or {}
            self.hold("Not ours", theirs[name].items() <= kept.items(), f"tags of others at {name} are lost")

    @property
    def _ended_another(self) -> bool:
        """Whether the run says that it brought an interrupted rotation to its end, in place of making a key."""
        return "an interrupted rotation" in self.result.stderr

    def _kept_before(self) -> str:
        """Return what `keep_previous_keys` said when the run began."""
        found = _facts(self.before).get(("custom", "keep_previous_keys"))
        return str((found[0]["value"] or ["0"])[0]) if isinstance(found, list) else "0"

    def _all_or_nothing(self, held_alive: Mapping[str, set[str]]) -> None:
        code, before, after, words = self.result.returncode, self.before, self.after, self.result.stderr
        deleted = self.live.items() - after.live.items()
        in_the_way = self.faults + len(self.scene.hindrances) + bool(self.deed)
        stuck = "could not be put back" in words and in_the_way > 1
        nothing_to_put_back = any(copy[0] and copy not in self.live.items() for copy in before.copies.values())
        if deleted:
            self.hold("All or nothing", code in (3, 4), f"exit {code} says nothing changed, but a key was deleted")
        elif (code == 3 and (self.made or self.killed)) or (code == 4 and "last steps were not confirmed" in words):
            spoiled = {place for place in after.copies if self._was_changed(place)} | self.scene.spared
            held = {copy for place, copy in after.copies.items() if any(copy) and place not in spoiled}
            well = len(held) == 1 and held <= after.live.items() | self.killed.items()
            self.hold("True", well, f"exit {code}, but not every store has the new key")
        elif not stuck and not (code == 4 and nothing_to_put_back):
            differing = [place for place in after.copies if not self._is_as_before(place)]
            self.hold(
                "All or nothing", not differing, f"exit {code} before the first deletion, but changed: {differing}"
            )
        if code in (1, 2):
            unlike = self._unlike_before()
            self.hold("All or nothing", not unlike, f"exit {code}, but not as before: {unlike}")
            self.hold("All or nothing", self.live == after.live, f"exit {code}, but a new key is alive")
        written = {place for place in after.copies if self.killed and before.kind(place) == "alive"}
        for place in written | self._mended(held_alive):
            key_id, value = after.copies[place]
            # Half a pair was never a credential, nor are halves of two: they are put back as what they were.
            whole = key_id and value and before.kind(place) != "mixed"
            dead = whole and key_id not in after.live
            excused = key_id in self.killed and (self._is_left(place) or not self._died_before_written(place))
            by_hand = self._is_left(place) and self._was_changed(place)
            self.hold("Alive", not dead or excused or by_hand, f"{place} held a live key, and a dead one was put back")
        mixed = [place for place in after.copies if after.kind(place) == "mixed" and place not in self.scene.spared]
        self.hold("Alive", not mixed or stuck, f"left mixed: {mixed}")

    def _mended(self, held_alive: Mapping[str, set[str]]) -> set[str]:
        """Return the places that held a live key meanwhile which nobody else has ended.

        Not where nobody can tell that what stood there before is dead: then that is put back.
        """
        listed = {key.key_id for key in self.scene.plant.issued() if key.listed}
        return {
            place
            for place, keys in held_alive.items()
            if keys - {*self.killed}
            and (self.scene.tells_dead or self.before.copies[place][0] in {"", *listed, *self.before.live})
        }

    def _is_left(self, place: str) -> bool:
        """Say whether a place holds what it did when a person had acted."""
        return bool(self.deed and self.deed.present and self.deed.present.copies[place] == self.after.copies[place])

    def _was_changed(self, place: str) -> bool:
        """Say whether the person who acted has changed what stood in a place."""
        former, present = (self.deed.former, self.deed.present) if self.deed else (None, None)
        return bool(former and present and former.copies[place] != present.copies[place])

    def _died_before_written(self, place: str) -> bool:
        """Say whether a run wrote a place after it had seen in the list that a person had ended a key."""
        hosts = {"Keeper": "/update_secret"}
        log = self.scene.plant.wire.log
        writes = [
            one
            for one in log
            if (one.path.endswith(hosts.get(place, "/update_secret")) and place in hosts)
            or (place not in hosts and invariants.is_vault_write(one))
        ]
        if not (self.deed and writes):
            return False
        return writes[-1].number > self.deed.since and self.deed.was_seen(log, before=writes[-1])

    def _is_as_before(self, place: str) -> bool:
        """Say whether a place holds what it held, or, in a half that a person has changed, what that one entered.

        So does an app that was started while a person's value stood where it reads.
        """
        was, now = self.before.copies[place], self.after.copies[place]
        if has_read(place, now, self.scene.typed):
            return True
        if not (self.deed and self.deed.former and self.deed.present):
            return was == now
        former, present = self.deed.former.copies[place], self.deed.present.copies[place]
        return all(
            half == then or (by_hand != until and half == by_hand)
            for half, then, until, by_hand in zip(now, was, former, present, strict=True)
        )

    def _unlike_before(self) -> list[Fact]:
        before, after = _facts(self.before), _facts(self.after)
        return [
            fact
            for fact in {*before, *after}
            if before.get(fact) != after.get(fact)
            and not (fact in self.changed and self.changed[fact] == after.get(fact))
        ]

    def _is_a_persons(self, fact: Fact) -> bool:
        """Say whether it is in the record, and no field that rotations write."""
        return fact[0] != "vault" and fact[1] not in (*self.scene.plant.outputs, *_OUTPUTS)

    def _is_there(self, fact: Fact) -> bool:
        return _facts(self.after).get(fact) == self.changed.get(fact)

    def _nothing_lost(self) -> None:
        before, after, words = self.before, self.after, self.result.stdout + self.result.stderr
        unheld_before = before.live.items() - {*before.copies.values()}
        taken_out: set[tuple[str, str]] = set()
        if self.deed and self.deed.former and self.deed.present:
            taken_out = {*self.deed.former.copies.values()} - {*self.deed.present.copies.values()}
        lost = after.live.items() - {*after.copies.values()} - unheld_before - self.made.items() - taken_out
        for key_id, _ in sorted(lost):
            named = key_id in words or (after.labels[key_id] and after.labels[key_id] in words)
            # An id that a person has entered where a value belongs is blotted out.
            named = named or (self.scene.in_the_open and "***" in words)
            self.hold(
                "Nothing lost", named, f"key {key_id} ('{after.labels[key_id]}') is alive, in no store, not named"
            )

    def _log(self) -> None:
        """Of this run's own entry: it must not promise more than the systems said."""
        entry = self.scene.field("last_rotation").partition("\n\n")[0]
        facts = dict(line.partition(": ")[::2] for line in entry.splitlines())
        own = "Rotation" in facts and f"rotation {facts['Rotation']}," in self.result.stdout
        if not own or facts["Rotation"] in self.log_before or self.at_once:
            return
        due, status = facts.get("Next due", ""), facts.get("Exit status")
        ends = {f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}" for key in self.scene.plant.issued() if key.expires_at}
        # One that a person has deleted at the run's end is not asked for any more.
        deleted = any(key_id in entry for key_id in self.killed)
        self.hold("True", deleted or due in {"none", *ends}, f"by the log the key ends {due}; keys end {ends}")
        self.hold("True", status == str(self.result.returncode), f"by the log the exit status is {status}")
        stored = facts.get("Stored in", "none")
        self.hold("True", self.result.returncode not in (1, 2) or stored == "none", f"by the log {stored} has the key")
