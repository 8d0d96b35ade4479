"""A roll back: the credential before the present one takes the place of a new one, and the order stays what it is.

The earlier key is alive already, so that nothing is made, and nothing deleted where it fails. What is published, put
back, reloaded and confirmed is what a rotation publishes; the key that is rolled back from goes at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, read_moment, utc_now
from pam_scripts.rotation.ops_log import KEPT
from pam_scripts.rotation.roles import Credential, Decision, Issuer, Key, Rotation, Snapshot, Sought, Traits

# Seconds for which a login with the earlier key is tried: it is no new one that a system has yet to learn of.
_PATIENCE = 10.0

_SUCCEEDED = ("rotated", "old_keys_alive")


def rolled_back(rotation: Rotation, *, keep: bool = False, further: bool = False) -> Rotation:
    """Return the rotation that brings back the credential before the present one.

    keep: leave the key alive that is rolled back from. further: where a roll back was the last that was done, go back
    once more; else that one is done again, so that running twice goes back once.
    """
    return replace(
        rotation, issuer=RollBack(rotation, keep=keep, further=further), plan=replace(rotation.plan, life=None)
    )


class RollBack(Issuer):
    """An issuer that hands out the earlier credential where it would make one; all else is the issuer's own."""

    def __init__(self, rotation: Rotation, *, keep: bool, further: bool) -> None:
        self._issuer = rotation.issuer
        self._rotation = rotation
        self._keep, self._further = keep, further
        self._earlier: Key | None = None
        self._read: Callable[[], Secret] = lambda: Secret("")

    @property
    def traits(self) -> Traits:
        """The issuer's own, but for what is true of a key that has been there for long."""
        traits = self._issuer.traits
        return replace(
            traits,
            earlier=True,
            login_proof=traits.login_proof.replace("new", "earlier"),
            activation_delay=min(traits.activation_delay, _PATIENCE),
        )

    # -- what is brought back ---------------------------------------------------------------------

    def decide(self, keys: Sequence[Key], held: Sequence[Snapshot]) -> Decision:
        """Choose the earlier key, and find who has its value; raise what keeps it from being brought back."""
        run, traits = self._rotation.run, self.traits
        if traits.replaces or not traits.tells_former:
            nothing = (
                f"a {traits.noun} of {self.target} ends with the next one, so that none from before is alive"
                if traits.replaces
                else f"it cannot be told whether a former {traits.noun} of {self.target} is alive"
            )
            raise Refused(
                f"{traits.system}: {nothing}", next_step="rotate: that makes a new one, and sets it everywhere"
            )
        told = self._rotation.truth.entries
        entries = self._of_this_target([one for one in told if one["result"] in _SUCCEEDED and one["new_key"]])
        if self.traits.login_proof:
            earlier, present = self._choose_key(entries, keys, held[0].key_id)
            published = {str(entry["rotation_id"]) for entry in entries if entry["new_key"] == earlier.id}
            sought = Sought(earlier.id, {*published, earlier.rotation_id} - {""})
            run.say(f"To be brought back: {earlier.shown}, created {iso(earlier.created_at)}")
        else:
            earlier, sought = self._choose_value(entries)
            present = None
            run.say(f"To be brought back: {earlier.label}")
        run.entry.rolled_back_to = earlier.id
        self._read, self._earlier = self._find(sought, earlier), earlier
        others = [key for key in keys if key != earlier and (self._keep or key != present)]
        return Decision(others, [key for key in keys if key == present and key not in others], earlier)

    def _of_this_target(self, entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return those since the record was made to ask for this target: what came before were another one's keys."""
        names = {"", *(name.lower() for name in self.known_as)}
        others = [at for at, entry in enumerate(entries) if str(entry["target_id"] or "").lower() not in names]
        return entries[: others[0]] if others and self.known_as else entries

    def _choose_key(
        self, entries: Sequence[Mapping[str, Any]], keys: Sequence[Key], held: str
    ) -> tuple[Key, Key | None]:
        """Return the key before the one that the record holds, and that one, None where it is gone.

        Where the record holds one that is older than what its log tells last, a roll back was interrupted, or a person
        has begun one: then that is the earlier key.
        """
        noun, target, system = self.traits.noun, self.target, self.traits.system
        alive = {key.id: key for key in keys if not key.expired(utc_now())}
        last = str(entries[0]["new_key"]) if entries else held
        if held not in alive:
            what = f"the {noun} {held} that it holds is not alive" if held in {key.id for key in keys} else ""
            raise Refused(
                f"{self._rotation.truth.name}: {what or f'what it holds is no {noun} of {target} that is listed'}, so "
                "that it cannot be told which one was before it",
                next_step="rotate: that makes a new one, and sets it everywhere",
            )
        if held == last and self._is_done(entries):
            self._rotation.run.say(f"Rolled back already: {held} is set everywhere once more; --further goes further")
            return alive[held], None
        if held != last and _is_before(alive[held], last, entries, alive):
            return alive[held], alive.get(last)
        before = _before(entries, 0) if held == last and entries else 0 if entries else None
        if before is not None:
            wanted = str(entries[before]["new_key"])
            dead = f"{noun} {wanted}, which {target} had before {held}, is not alive any more"
        else:
            older = [key for key in alive.values() if key.created_at < alive[held].created_at]
            wanted = max(older, key=lambda key: key.created_at).id if older else ""
            dead = f"no {noun} of {target} from before {held} is alive"
        if wanted not in alive:
            raise Refused(
                f"{system}: {dead}",
                next_step="rotate: that makes a new one; with 'keep_previous_keys' of 1 or more the one before stays "
                "alive from then on",
            )
        return alive[wanted], alive[held]

    def _choose_value(self, entries: Sequence[Mapping[str, Any]]) -> tuple[Key, Sought]:
        """Return the value before the one that the log tells last, as a key with the id of its rotation."""
        truth = self._rotation.truth
        if self._is_done(entries):
            origin, again = str(entries[0]["rolled_back_to"]), str(entries[0]["rotation_id"])
            self._rotation.run.say("Rolled back already: it is set everywhere once more; --further goes further")
            return Key(origin, f"the value of rotation {again}", utc_now()), Sought(rotations={again})
        before = _before(entries, 0) if entries else None
        if before is not None:
            entry = entries[before]
            rotation_id = str(entry["rotation_id"])
            label = f"the value of rotation {rotation_id}"
            end = read_moment(str(entry["next_due"] or ""))
            return Key(str(entry["new_key"]), label, utc_now(), end), Sought(rotations={rotation_id})
        # The oldest entry is the first rotation only where the log is not full.
        if not entries or len(truth.entries) >= KEPT or entries[-1]["rolled_back_to"]:
            told = "no rotation that has succeeded" if not entries else "none before the one whose value is in use"
            raise Refused(
                f"{truth.name}: its ops log tells of {told}, so that it cannot be told which value was before it",
                next_step="rotate: that makes a new one, and sets it everywhere",
            )
        first = str(entries[-1]["rotation_id"])
        when = f"before rotation {first}"
        return Key(when, f"the value from {when}", utc_now()), Sought(before=first)

    def _is_done(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Say whether a roll back was the last that was done, and no further one is wanted."""
        return bool(entries and entries[0]["rolled_back_to"]) and not self._further

    def _find(self, sought: Sought, earlier: Key) -> Callable[[], Secret]:
        """Return what reads the value; raise BadInput where no mirror has it, with what each says."""
        mirrors, truth = self._rotation.mirrors, self._rotation.truth
        reasons = []
        for mirror in mirrors:
            try:
                read = mirror.older(sought)
            except Refused as refusal:
                reasons.append(refusal.cause)
            except ApiError as error:
                if error.transient:
                    raise
                reasons.append(error.cause)
            else:
                self._rotation.run.say(f"Its value is in {mirror.name}")
                return read
        what = f"the value of {self.traits.noun} {earlier.id}" if self.traits.login_proof else earlier.label
        raise BadInput(
            f"{truth.name}: nothing has {what}"
            + (f": {'; '.join(reasons)}" if mirrors else ": the record names no mirror, and keeps no older value"),
            next_step="enable its version in the mirror, where that is disabled; or rotate: that makes a new one",
        )

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """Read the value; return it with the key as it is there, or, for a value, under this rotation's own id."""
        assert self._earlier  # noqa: S101 - the order: `decide` comes before
        secret = self._read()
        if self.traits.login_proof:
            return self._earlier, Credential(self._earlier.id, secret)
        key, _ = self._issuer.create_key(label, self._earlier.expires_at or expires_at)
        return key, Credential(key.id, secret)

    # -- the issuer's own -------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """The issuer's own."""
        return self._issuer.target

    @property
    def known_as(self) -> Sequence[str]:
        """The issuer's own."""
        return self._issuer.known_as

    @property
    def login_key_id(self) -> str:
        """The issuer's own."""
        return self._issuer.login_key_id

    def connect(self) -> None:
        """Do as the issuer does."""
        self._issuer.connect()

    def list_keys(self) -> list[Key]:
        """Do as the issuer does."""
        return self._issuer.list_keys()

    def missing_rights(self) -> list[str]:
        """Do as the issuer does: whoever may delete a key may make one."""
        return self._issuer.missing_rights()

    def log_in(self, credential: Credential) -> None:
        """Do as the issuer does."""
        self._issuer.log_in(credential)

    def delete_key(self, key: Key) -> None:
        """Do as the issuer does."""
        self._issuer.delete_key(key)

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """The issuer's own."""
        return self._issuer.other_ways_to_delete

    def others_alive(self) -> Sequence[str]:
        """Do as the issuer does."""
        return self._issuer.others_alive()

    def act_as(self, credential: Credential) -> None:
        """Do as the issuer does."""
        self._issuer.act_as(credential)


def _before(entries: Sequence[Mapping[str, Any]], at: int) -> int | None:
    """Return which entry tells of what was in use before what the entry at this place did; None where none does.

    What a roll back brought back was made by another rotation, before which yet another was.
    """
    found: int | None = at
    while found is not None and (origin := entries[found]["rolled_back_to"]):
        older = range(found + 1, len(entries))
        found = next((number for number in older if entries[number]["new_key"] == origin), None)
    return found + 1 if found is not None and found + 1 < len(entries) else None


def _is_before(held: Key, last: str, entries: Sequence[Mapping[str, Any]], alive: Mapping[str, Key]) -> bool:
    """Say whether a key is older than the one that the log tells last."""
    told: Collection[str] = {str(entry["new_key"]) for entry in entries[1:]}
    if held.id in told:
        return True
    if last in alive:
        return held.created_at < alive[last].created_at
    return held.rotation_id < str(entries[0]["rotation_id"])
