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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pam_scripts.core.times import parse_iso
from pam_scripts.rotation.shape import OWNER_TAGS
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.iam_users import IamPlant
from sandbox.log import Request
from sandbox.messaging import RabbitPlant
from sandbox.plant import VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, running
from sandbox.realm import KeycloakPlant
from sandbox.slots import MARK, SlotPlant
from tests.faults.acts import ACTS, delete_key
from tests.faults.schedules import CLIENTS, SAYS_SO, Conductor, Schedule, end_of
from tests.faults.subjects import Subject, View, words_of
from tests.faults.trial import KILLED, Bench, Trial, Violation, Witness, has_read, judge_end, said
from tests.faults.verdict import Deed, Verdict
from tests.support import invariants

_OUR_TAGS = {*OWNER_TAGS, "key-type", "expiry", "rotated-at", "rotation-id"}

# Seconds that a run may take: it does, where it waits for what nobody gives it.
_DEADLINE = 60.0

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
    has put a value where everybody can read it. amid: whether somebody acts in the middle of a run. converging: whether
    all is mended, and the next rotation must succeed.
    """

    def __init__(self, bench: Bench, subject: Subject) -> None:
        self.subject = subject
        self._bench = bench
        self._resources = contextlib.ExitStack()
        directory = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="people-")))
        self.plant: AnyPlant = self._resources.enter_context(running(subject.make(directory)))
        self.plant.set_field("deadline_seconds", f"{_DEADLINE:g}")
        self.hindrances: dict[str, Callable[[], None]] = {}
        self.spared: set[str] = set()
        self.story: list[str] = []
        self.ahead = 0.0
        self.typed: list[str] = []
        self.in_the_open = False
        self.amid = False
        self.converging = False
        self.exits: list[int] = []

    def close(self) -> None:
        """Stop the plant."""
        self._resources.close()

    # -- clocks -----------------------------------------------------------------------------------

    @property
    def host_clock(self) -> float:
        """By how many seconds the host's clock is ahead of real time."""
        return self.plant.clock.offset.total_seconds() + self.ahead

    def set_clock(self, ahead: float) -> None:
        """Have the host's clock be so many seconds ahead of the services'.

        AWS takes no request that was signed five minutes before or after its own time.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
        """
        asks_aws = isinstance(self.plant, IamPlant) or self.plant.aws_secret
        self.ahead = max(-240.0, min(240.0, ahead)) if asks_aws else ahead

    def host_now(self) -> datetime:
        """Say what time it is for the host."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.host_clock)

    def pass_time(self, days: float) -> None:
        """Let time pass, for services and host alike."""
        longest = _LONGEST_STORY.get(type(self.plant), _LONGEST)
        self.plant.clock.advance(days=min(days, max(longest - self.plant.clock.offset / timedelta(days=1), 0.0)))

    def _pause(self) -> None:
        """Let some seconds go by before a run; a key that comes to its end in them was ended by nobody."""
        held = self.subject.held(self.plant)
        self.plant.clock.advance(seconds=11)
        now = self.subject.held(self.plant)
        self.spared |= {place for place in now.copies if (held.kind(place), now.kind(place)) == ("alive", "dead")}

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

    def is_hindered(self, what: str) -> bool:
        """Say whether something of this kind forbids a rotation."""
        return any(name.startswith(what) for name in self.hindrances)

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

    def rotate(self, disturbance: Disturbance | None = None, deed: Deed | None = None) -> list[Violation]:
        """Have the script run once, some seconds after whatever was before; return what does not hold after it.

        deed: what a person does in the middle of it. Keeper forgets its count of a device's calls after ten seconds
        without one.
        """
        self._pause()
        plant, lease, before, theirs = self.plant, self.lease(), self.view(), self._tags_of_others()
        marked, log, issued = self.marked, self.field("last_rotation"), self._issued()
        trial = Trial(self.subject, plant, self._bench.warm, self._bench.file(self.subject))
        rules = disturbance.rules(trial) if disturbance else []
        plant.wire.log.clear()
        witness, troubles = Witness(trial, self.spared, self.typed), list[Exception]()
        plant.wire.rules, plant.wire.gate = list(rules), self._gate(witness, deed, troubles)
        result = trial.start(direct=True, clock=self.host_clock).wait()
        plant.wire.rules, plant.wire.gate = [], None
        witness.look()
        for trouble in troubles:
            raise trouble
        struck = sum(rule.hits for rule in rules)
        told = [f"{deed.name} ({deed.number}) before {deed.spot}"] if deed and deed.done else []
        told += [disturbance.name] if struck and disturbance else []
        self.story.append(f"{' and '.join(told) or 'a rotation'} -> {result.returncode}")
        found = [*witness.violations, *judge_end(result, _DEADLINE), *self._silent(result)]
        found += self._trusted(result, led_meanwhile=bool(deed and deed.done))
        if result.returncode != KILLED:
            verdict = Verdict(self, before, self.view(), result, struck, marked, log, deed, issued=issued)
            found += verdict.judge(lease, witness.held_alive, theirs)
        if found:
            self.story += [f"    | {line}" for line in (result.stdout + result.stderr).splitlines()]
        # What a kill leaves between the two sets of a pair is the one gap there is; where a new value ends the one
        # before it, all that was not written yet.
        left = {*before.copies} if self.subject.replaces else self.subject.pairs
        gap = left if result.returncode == KILLED else frozenset[str]()
        self._spare_what_was_broken({*self.spared, *gap}, deed.killed if deed else {})
        self.exits.append(result.returncode)
        return found

    def _gate(
        self, witness: Witness, deed: Deed | None, troubles: list[Exception]
    ) -> Callable[[Request], Awaitable[None]]:
        """Return what has the witness look before each request, and a person act before one of them."""

        async def gate(request: Request) -> None:
            witness.look(request)
            if deed and deed.is_due(request):
                try:
                    self._carry_out(deed, request)
                except Exception as trouble:  # noqa: BLE001 - the service would answer with it
                    troubles.append(trouble)
                witness.spare(self.spared, deed.killed)

        return gate

    def _carry_out(self, deed: Deed, request: Request) -> None:
        former, versions = self.view(), self._versions()
        self.amid = True
        ACTS[deed.name](self, deed.number)
        self.amid = False
        broken, held = self.spared, self.subject.held(self.plant)
        self.spared = broken | {place for place in held.copies if held.kind(place) in ("dead", "mixed")}
        deed.former, deed.present, deed.since = former, self.view(), request.number - 1
        now = self._versions()
        deed.secrets = frozenset(name for name in now if now[name] != versions[name])

    def _versions(self) -> Mapping[str, str]:
        names = (self.plant.id_name, self.plant.password_name, self.plant.combined_name)
        return {name: repr(self.plant.key_vault.versions(VAULT, name)) for name in names}

    def _spare_what_was_broken(self, places: set[str], killed: Mapping[str, str]) -> None:
        """Go on sparing these places, and where a key stands that a person has ended, as long as they are not well.

        So with an app that has read what a person typed in.
        """
        held = self.subject.held(self.plant)
        blamed = {
            place
            for place, copy in held.copies.items()
            if {*copy} & {*killed, *killed.values()} or has_read(place, copy, self.typed)
        }
        self.spared = {place for place in places | blamed if held.kind(place) in ("dead", "mixed")}

    # -- two runs at once -------------------------------------------------------------------------

    def rotate_two(self, turns: Sequence[int]) -> list[Violation]:
        """Have two runs rotate the record at once, their requests in the order of these turns."""
        self._pause()
        lease, before, theirs = self.lease(), self.view(), self._tags_of_others()
        marked, log, issued = self.marked, self.field("last_rotation"), self._issued()
        results, witness = self._play(turns, self.spared, [None, None])
        codes = [result.returncode for result in results]
        self.story.append(f"two at once, by turns of {turns} -> {codes}")
        found = [*witness.violations]
        for result in results:
            found += [*judge_end(result, _DEADLINE), *self._silent(result), *self._trusted(result)]
            says_so = any(phrase in result.stderr for phrase in SAYS_SO)
            well = lease == "free" and marked and not self.hindrances and not self.is_cautious
            if well and (result.returncode > 1 or not says_so):
                lost = result.returncode and f"exit {result.returncode}: {result.stderr.strip()[-200:]}"
                found += [Violation("Two at once", lost)] if lost else []
        # One succeeded, or none: then what is left is what the one says that says most.
        ends = sorted(results, key=lambda result: (result.returncode != 0, -result.returncode))
        whole = replace(ends[0], stderr="".join(one.stderr for one in ends), stdout="".join(one.stdout for one in ends))
        both = not any(codes)
        verdict = Verdict(
            self, before, self.view(), whole, 0, marked, log, at_once=True, one_by_one=both, issued=issued
        )
        found += verdict.judge(lease, witness.held_alive, theirs)
        if found:
            self.story += [f"    | {line}" for line in (whole.stdout + whole.stderr).splitlines()]
        self._spare_what_was_broken(set(self.spared), {})
        self.exits += codes
        return found

    def rotate_twins(self, turns: Sequence[int]) -> list[Violation]:
        """Have two records of the same target be rotated at once; then the second record is thrown away, and its keys.

        A key that says whose it is is safe from the other record. One that was made by hand is not: that two records
        were made for one target is a person's mistake, and what it breaks is spared.
        """
        if not isinstance(self.plant, (Plant, AzureAppPlant)):
            return []
        self._pause()
        plant, before, uid = self.plant, self.view(), self.plant.user_uid
        twin = self._add_twin()
        ours = {key_id for key_id in before.live if before.labels[key_id].startswith(f"keeper:{uid}:")}
        unsafe = {place for place, (key_id, _) in before.copies.items() if key_id not in ours}
        results, witness = self._play(turns, self.spared | unsafe, [None, twin])
        first, second = results
        after, codes = self.view(), [first.returncode, second.returncode]
        self.story.append(f"two records at once, by turns of {turns} -> {codes}")
        found = [*witness.violations]
        for result in results:
            found += [*judge_end(result, _DEADLINE), *self._silent(result), *self._trusted(result)]
        label_of_id, label_of_value = self.labels
        held = tuple(plant.keeper.value(twin, label) or "" for label in (label_of_id, label_of_value))
        if codes == [0, 0]:
            found.append(Violation("Two at once", "both records say that theirs is the one key"))
        if second.success and after.live.get(held[0]) != held[1]:
            found.append(Violation("True", "the second record says that it is rotated, and holds no live key"))
        if first.success and after.kind("Keeper") != "alive":
            found.append(Violation("True", "the first record says that it is rotated, and holds no live key"))
        if {*codes} <= {1, 2} and (before.live, before.copies, ("", "")) != (after.live, after.copies, held):
            found.append(Violation("All or nothing", "neither was rotated, but something changed"))
        told = first.stderr + second.stderr
        lost = {*after.live} - {*before.live} - {held[0], *(key_id for key_id, _ in after.copies.values())}
        found += [
            Violation("Nothing lost", f"{one} is alive, held by no store, not named") for one in lost if one not in told
        ]
        if found:
            self.story += [f"    | {line}" for one in results for line in (one.stdout + one.stderr).splitlines()]
        self._remove_twin(twin)
        self._spare_what_was_broken(self.spared | (unsafe if second.returncode not in (1, 2) else set()), {})
        self.exits += codes
        return found

    def _play(
        self, turns: Sequence[int], spared: set[str], records: Sequence[str | None]
    ) -> tuple[Sequence[RotationResult], Witness]:
        """Run the script for each of two records, None being the team's; return what came of it."""
        plant = self.plant
        trial = Trial(self.subject, plant, self._bench.warm, self._bench.file(self.subject))
        plant.wire.log.clear()
        witness = Witness(trial, spared, self.typed)
        conductor = Conductor(Schedule(turns), witness.look)
        plant.wire.gate, plant.wire.done = conductor.gate, conductor.done
        payloads = [plant.gateway.payload(uid or plant.user_uid, attached=plant.attached) + b"\n" for uid in records]
        runs = [
            trial.start(client, stdin=payload, clock=self.host_clock)
            for client, payload in zip(CLIENTS, payloads, strict=True)
        ]
        with ThreadPoolExecutor(len(runs)) as threads:
            ends = [
                threads.submit(end_of, client, run, plant, conductor) for client, run in zip(CLIENTS, runs, strict=True)
            ]
            results = [end.result() for end in ends]
        plant.wire.gate = plant.wire.done = None
        witness.look()
        return results, witness

    def _add_twin(self) -> str:
        """Add a second record for the same target, which has no key yet, and no mirror."""
        record = self.plant.keeper.record(self.plant.user_uid)
        emptied = (*self.plant.outputs, invariants.LEASE, "key_vault_name")
        custom = [{**item, "value": [] if item["label"] in emptied else item["value"]} for item in record["custom"]]
        return self.plant.keeper.add_record("pamUser", "A twin", fields=record["fields"], custom=custom)

    def _remove_twin(self, uid: str) -> None:
        self.plant.keeper.share(uid, False)
        for key in self.plant.issued():
            if key.listed and key.label.startswith(f"keeper:{uid}:"):
                delete_key(self.plant, key.key_id)

    def converge(self) -> list[Violation]:
        """Mend what people did, let leases end, and rotate: it must end in the true state."""
        self.story.append("all is mended")
        self.mend_all()
        self.pass_time(0.1)
        self.set_field("adopt_secrets", "True")
        if self.is_cautious:
            self._say_which_is_in_use()
        if self.lease() != "free":
            self.set_field(invariants.LEASE, "")
        self.spare()
        self.converging = True
        return self.rotate()

    @property
    def tells_dead(self) -> bool:
        """Whether the script can tell that what a store holds is dead.

        Of a user's keys it lists its record's own, and the name of a client says nothing of the secret beside it.
        """
        return not isinstance(self.plant, (SeeqUserPlant, KeycloakPlant))

    @property
    def is_cautious(self) -> bool:
        """Whether the script refuses to choose where people have blurred which key is in use: there are but two."""
        return isinstance(self.plant, (IamPlant, SlotPlant)) or self._is_both_users

    @property
    def _is_both_users(self) -> bool:
        """Whether mirrors have both of two users, and the record the password of neither."""
        plant = self.plant
        if not (isinstance(plant, RabbitPlant) and plant.spare):
            return False
        held = self.subject.held(plant)
        named = {key_id for place, (key_id, _) in held.copies.items() if place != "Keeper"}
        return {plant.username, plant.spare} <= named and held.kind("Keeper") != "alive"

    def _say_which_is_in_use(self) -> None:
        """Have a person enter one live key everywhere, and do away with the other."""
        self.set_field("take_over", "True")
        plant = self.plant
        live = [key for key in plant.issued() if key.live]
        if isinstance(plant, IamPlant):
            for key in [key for key in plant.issued() if key.listed and key not in live[:1]]:
                delete_key(plant, key.key_id)
        if live:
            pair = (live[0].key_id, live[0].value)
        elif isinstance(plant, SlotPlant):
            pair = (f"{plant.first}-{MARK}", plant.resource.value(plant.first))
        else:
            key_id, value = plant.add_key("")
            pair = (key_id.removesuffix(" (unpublished)"), value)
        for label, text in zip(self.labels, pair, strict=True):
            self.set_field(label, text)
        both = json.dumps(dict(zip(self.labels, pair, strict=True)))
        for name, text in (plant.id_name, pair[0]), (plant.password_name, pair[1]), (plant.combined_name, both):
            if name in self.secrets:
                plant.key_vault.set(VAULT, name, text)

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

    def _trusted(self, result: RotationResult, *, led_meanwhile: bool = False) -> list[Violation]:
        found = [Violation("Trusted", f"{host} was asked") for host in self.plant.wire.refused]
        if self.is_hindered("led elsewhere") and not led_meanwhile and result.returncode not in (1, 2, KILLED):
            found.append(Violation("Trusted", f"exit {result.returncode}, though the record leads elsewhere"))
        return found

    def _issued(self) -> frozenset[str]:
        return frozenset(key.value for key in self.plant.issued())

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
