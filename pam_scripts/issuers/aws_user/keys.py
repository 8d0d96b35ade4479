"""The access keys of one IAM user, as an issuer.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id-credentials-access-keys-update.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from pam_scripts.core.errors import ApiError, PamScriptError, Yielded
from pam_scripts.core.retry import any_error, retrying
from pam_scripts.core.times import iso, utc_now
from pam_scripts.issuers.aws_user import UserSettings
from pam_scripts.issuers.aws_user.client import AccessKey, Caller, Iam
from pam_scripts.issuers.aws_user.refusals import (
    ACTIONS,
    BOTH_IN_USE,
    IN_USE,
    INACTIVE,
    NO_USER,
    OTHER_USER,
    SYSTEM,
    THIRD_KEY,
)
from pam_scripts.issuers.aws_user.whose import is_ours, is_used_by_somebody, label_of, last_use
from pam_scripts.logins import aws
from pam_scripts.rotation.roles import Credential, Decision, Issuer, Key, Run, Snapshot, Traits, resumed

# The most that AWS lets a user have.
_MOST = 2

# The times of AWS are whole seconds, and its clock need not be this host's.
_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, repr=False)
class _Attempt:
    """A creation whose answer is not there, or not yet. before: the ids that were listed when it began."""

    label: str
    before: frozenset[str]
    begun: datetime

    def may_have_made(self, key: AccessKey) -> bool:
        """Say whether this attempt may have made a key: its secret is lost then."""
        return key.id not in self.before and key.created_at >= self.begun - _CLOCKS_DIFFER


class AccessKeys(Issuer):
    """The access keys of one user."""

    def __init__(self, settings: UserSettings, iam: Iam, identity: aws.Identity, run: Run) -> None:
        self._settings, self._iam, self._identity, self._run = settings, iam, identity, run
        self._name = settings.name
        self._user: Caller | None = None
        self._caller: Caller | None = None
        self._present: dict[str, AccessKey] = {}
        self._made: dict[str, str] = {}
        self._attempt: _Attempt | None = None
        self._in_the_way: Key | None = None
        self._made_room: list[Key] = []
        self._new: Credential | None = None
        self._interrupted: Key | None = None

    @property
    def traits(self) -> Traits:
        """What is known of IAM beforehand: it is spread over many hosts, and a new key may take some seconds."""
        return Traits(
            system=SYSTEM,
            noun="access key",
            login_proof="the new key logs in" if self._interrupted is None else "the key logs in",
            activation_delay=60.0,
            logins_in_a_row=3,
            listing_delay=2.0,
            labelled=False,
            earlier=self._interrupted is not None,
        )

    @property
    def target(self) -> str:
        """The user as messages name it."""
        return f"user {self._name}"

    @property
    def known_as(self) -> Sequence[str]:
        """The user's unique id, its ARN, and its name."""
        return (self._user.user_id, self._user.arn, self._name) if self._user else ()

    @property
    def login_key_id(self) -> str:
        """The key that the script acts with, unless it is the record's own and will be replaced there."""
        return "" if self._settings.is_own_key else self._identity.key_id

    def connect(self) -> None:
        """Ask STS whose the access key is that the script acts with."""
        self._caller = self._iam.who()

    def list_keys(self) -> list[Key]:
        """List the keys; the first time find the user, and raise Refused where the key acted with is another user's."""
        if self._user is None:
            user = self._iam.user(self._name)
            caller = self._caller or self._iam.who()
            if self._settings.is_own_key and caller.user_id != user.user_id:
                raise OTHER_USER.as_error(f"{SYSTEM}: {self.target}")
            self._user, self._caller = user, caller
            self._run.say(f"Retrieved user: {self._name} ({user.user_id})")
        listed = self._iam.keys(self._name)
        self._present = {key.id: key for key in listed}
        return [Key(key.id, self._label_of(key), key.created_at) for key in listed]

    def missing_rights(self) -> list[str]:
        """Say what the policies do not allow, where the login may ask that."""
        if not (self._user and self._caller and self._caller.policy_source):
            return []
        try:
            missing = self._iam.missing(self._caller, self._user.arn, ACTIONS)
        except ApiError as error:
            if not error.refused:
                raise
            self._run.say("Whether the rights suffice is not known beforehand: iam:SimulatePrincipalPolicy would tell")
            return []
        return [f"grant {', '.join(missing)} on {self._user.arn}"] if missing else []

    def decide(self, keys: Sequence[Key], held: Sequence[Snapshot]) -> Decision | None:
        """Find out whether there is room for a new key, and which one must be deleted first where there is none.

        Raises Refused for a key that is somebody else's, or in use. Where a rotation was interrupted while it
        published, its key is set everywhere, and no other is made.
        """
        truth, *others = held
        what = f"{SYSTEM}: {self.target}"
        known = self._settings.held
        # An id without a secret is no credential.
        if truth.key_id != (known.key_id if known.secret else ""):
            raise Yielded(f"{what}: someone else changed its record after it was read", next_step="rotate again")
        in_truth = _named_in(truth, keys)
        in_use = in_truth.union(*(_named_in(other, keys) for other in others))
        if any(not self._present[key_id].active for key_id in in_truth):
            # A rotation makes the former key inactive just before it deletes it, while a newer one is there.
            if any(self._present[key.id].active for key in keys if key.id not in in_truth):
                raise Yielded(
                    f"{what}: the key that its record held is inactive and another one is there, as where another "
                    "rotation has just made that",
                    next_step=f"rotate again; if it comes back: {INACTIVE.way_out}",
                )
            raise INACTIVE.as_error(what)
        idle = [key for key in keys if key.id not in in_use]
        used = {key.id: self._say_use(key, keys) for key in idle}
        since = max((key.created_at for key in keys if key.id in in_truth), default=None)
        present = self._present.get(truth.key_id)
        ours = [key for key in idle if is_ours(self._settings, key, present, used[key.id])]
        self._refuse_what_others_use([key for key in idle if key not in ours], used, since)
        if len(keys) < _MOST:
            return None
        if not idle:
            return self._resume(keys, in_truth)
        self._in_the_way = min(ours or idle, key=lambda key: (self._present[key.id].active, key.created_at))
        rest = [key for key in keys if key.id != self._in_the_way.id]
        self._run.say(f"  goes first, since a user has two keys at most: {self._in_the_way.dated}")
        kept = rest if self._settings.keep else []
        return Decision(kept, [key for key in keys if key not in kept])

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:  # noqa: ARG002 - keys have no end
        """Make room where there is none, and make a key; or hand out that of an interrupted rotation."""
        if self._interrupted:
            return self._interrupted, self._settings.held
        self._make_room()
        self._attempt = _Attempt(label, frozenset(self._present), utc_now())
        try:
            made, credential = self._iam.create(self._name)
        except ApiError as error:
            if error.declined:
                self._attempt = None
            raise
        self._attempt = None
        self._made[made.id] = label
        self._new = credential
        return Key(made.id, label, made.created_at), credential

    def log_in(self, credential: Credential) -> None:
        """Ask STS whose the key is: the user's, or it is refused."""
        action = f"log in with access key {credential.key_id}"
        who = self._iam.who(aws.Identity(credential.key_id, credential.secret), action)
        if self._user and (who.arn, who.user_id) != (self._user.arn, self._user.user_id):
            raise ApiError(SYSTEM, action, f"it is not a key of {self.target}", permanent=True)

    def delete_key(self, key: Key) -> None:
        """Delete a key; one that was in use is first made inactive, and the new one seen to log in without it.

        Whatever fails in between, the key is made active again.
        """
        found = self._present.get(key.id)
        replaced = self._new is not None and key.id not in self._made and found is not None and found.active
        if not replaced or self._new is None:
            self._delete_if_there(key)
            return
        try:
            self._iam.switch(self._name, key.id, active=False)
            self._run.say(f"Made access key {key.id} inactive, to see the new one log in without it")
            self.log_in(self._new)
            self._delete_if_there(key)
        except PamScriptError:
            self._reactivate(key)
            raise

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """The same once more: what was refused may have been refused by something on the way."""
        return (self.delete_key,)

    @property
    def ended(self) -> Sequence[Key]:
        """The key that made room for the new one, if it could be used."""
        return self._made_room

    def act_as(self, credential: Credential) -> None:
        """Act with the new key where the one in use is about to be deleted."""
        self._new = credential
        if self._settings.is_own_key:
            self._identity = aws.Identity(credential.key_id, credential.secret)
            self._iam.act_as(self._identity)

    # -- within -----------------------------------------------------------------------------------

    def _label_of(self, key: AccessKey) -> str:
        """Return the label that a key would have, if IAM's keys had any: by what this run and the record say of it."""
        if key.id in self._made:
            return self._made[key.id]
        if self._attempt and self._attempt.may_have_made(key):
            return self._attempt.label
        return label_of(self._settings, key)

    def _say_use(self, key: Key, keys: Sequence[Key]) -> datetime | None:
        """Say when a key was last used that no store holds, with a warning where that is since the last rotation."""
        used = retrying(self._run.deadline, partial(self._iam.last_used, key.id))
        newer = max((one.created_at for one in keys if one.id == self._settings.held.key_id), default=None)
        if used and newer and used > newer and self._present[key.id].active:
            self._run.warn(
                f"{SYSTEM}: {self.target}: access key {key.id}, which no store holds, was used {iso(used)}, after the "
                "one that the record holds was made: somebody still has it"
            )
        else:
            self._run.say(f"No store holds access key {key.id}, {last_use(used)}")
        return used

    def _refuse_what_others_use(
        self, idle: Sequence[Key], used: dict[str, datetime | None], since: datetime | None
    ) -> None:
        """Raise Refused for a key of somebody else, unless it may be taken over and nobody uses it."""
        what = f"{SYSTEM}: {self.target}"
        told = "; ".join(f"{key.dated}, {last_use(used[key.id])}" for key in idle)
        if idle and not self._settings.take_over:
            raise THIRD_KEY.as_error(what, f": {told}")
        if any(is_used_by_somebody(self._present[key.id], used[key.id], since) for key in idle):
            raise IN_USE.as_error(what, f": {told}")

    def _resume(self, keys: Sequence[Key], in_truth: set[str]) -> Decision:
        """Go on where a rotation was interrupted: the truth has its key, and others have the former one."""
        ours = [key for key in keys if key.id in in_truth and is_ours(self._settings, key, None, None)]
        if len(in_truth) != 1 or not ours:
            raise BOTH_IN_USE.as_error(f"{SYSTEM}: {self.target}")
        self._interrupted = ours[0]
        self._run.warn(resumed(f"{SYSTEM}: {self.target}", "key", ours[0].id))
        former = [key for key in keys if key.id != ours[0].id]
        decision = Decision(former, []) if self._settings.keep else Decision([], former)
        return replace(decision, earlier=ours[0])

    def _make_room(self) -> None:
        """Delete the key that is in the way; raise Yielded where the keys are not those of the look any more."""
        seen = {*self._present}
        self.list_keys()
        if {*self._present} - seen:
            raise Yielded(f"{SYSTEM}: {self.target}: someone else made an access key", next_step="rotate again")
        doomed, self._in_the_way = self._in_the_way, None
        if doomed and doomed.id in self._present:
            retrying(self._run.deadline, partial(self._delete_if_there, doomed), any_error)
            if self._present.pop(doomed.id).active:
                self._made_room.append(doomed)
            self._run.say(f"Deleted access key {doomed.id}, to make room for the new one")

    def _delete_if_there(self, key: Key) -> None:
        try:
            self._iam.delete(self._name, key.id)
        except ApiError as error:
            if not NO_USER.matches(error.name):
                raise

    def _reactivate(self, key: Key) -> None:
        """Make a key active again; where it is gone after all, that is as good."""
        try:
            retrying(self._run.deadline, partial(self._iam.switch, self._name, key.id, active=True), any_error)
        except PamScriptError as error:
            if not (isinstance(error, ApiError) and NO_USER.matches(error.name)):
                self._run.warn(f"access key {key.id} may be inactive: {error.cause}")


def _named_in(snapshot: Snapshot, keys: Sequence[Key]) -> set[str]:
    """Return the ids of those keys that a store names, in whatever form."""
    return {key.id for key in keys if any(key.id in text for text in snapshot.parts.values())}
