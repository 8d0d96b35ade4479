"""The secret of one Keycloak client, as an issuer.

What the executor `secret-rotation` of a client policy does is from Keycloak's sources, `ClientSecretRotationExecutor`
and `ClientResource`. It acts after an update; before one, only the attributes that it set earlier show that it applies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pam_scripts.core.errors import ApiError, BadInput, OutOfTime, Yielded
from pam_scripts.core.retry import retrying
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, utc_now
from pam_scripts.gateway.request import KEEP_PREVIOUS_KEYS
from pam_scripts.issuers.keycloak.client import (
    EXPIRES,
    ROTATED_EXPIRES,
    ROTATION_ATTRIBUTES,
    Client,
    Representation,
    no_right,
)
from pam_scripts.issuers.keycloak.refusals import (
    IN_VAULT,
    NO_CLIENT,
    NO_RIGHT,
    NO_SECRET,
    NOT_ACCEPTED,
    NOT_OPENID,
    OTHER_AUTHENTICATOR,
    OVERWRITTEN,
    SYSTEM,
)
from pam_scripts.rotation.roles import NOT_TOLD, Credential, Decision, Issuer, Key, Run, Snapshot, Traits

_TRAITS = Traits(
    system=SYSTEM,
    noun="client secret",
    login_proof="the new secret gets a token",
    # Nodes of a cluster drop the former secret from memory a moment after the one that was asked.
    activation_delay=5.0,
    # A secret has no id of its own, so that no log tells which one was before it.
    tells_former=False,
    labelled=False,
)

_CHANGED = " (changed meanwhile)"
_ROTATED = " (rotated)"

# An end that is nearer than this is not put back: at an update after it the policy makes another secret.
_TOO_NEAR = timedelta(minutes=2)


@dataclass(frozen=True, repr=False)
class NamedClient:
    """The client that a record names.

    shown: as messages name it before the server knows it. of_login: whether it is the client that the admin logs in as.
    keep: whether the former secret is to live on. names: returns the words by which limits may name it, given the
    server's own id of it.
    """

    client_id: str
    realm: str
    shown: str
    of_login: bool
    keep: bool
    names: Callable[[str], Sequence[str]]


@dataclass(frozen=True, repr=False)
class _Made:
    """The secret that this run has set, or was about to set.

    secret: None where the server makes it and has not answered yet. before: the client just before. kept: whether the
    server keeps the former secret alive beside it.
    """

    key: Key
    before: Representation
    secret: Secret | None = None
    kept: bool = False

    def matches(self, secret: Secret) -> bool:
        """Say whether a secret is the one that was made here.

        Where the server made it, and its answer was lost, that is any other than the one of before.
        """
        return secret == self.secret if self.secret else secret != self.before.secret


class ClientSecret(Issuer):
    """The secret of the client that a record names.

    The secret that was there at the look, and the one made here, are listed under the client's id. A secret that
    somebody else has set since, and the rotated one that a policy keeps, are listed as that id with a word behind it.
    """

    def __init__(self, named: NamedClient, make: Callable[[], Secret], client: Client, run: Run) -> None:
        self._named = named
        self._make = make
        self._client = client
        self._run = run
        self._uuid = ""
        self._seen: Representation | None = None
        self._provable = True
        self._made: _Made | None = None
        self._interrupted = False

    @property
    def traits(self) -> Traits:
        """What is known of Keycloak beforehand; no login proves the secret of a client without a service account.

        A new secret ends the one before it, unless a policy keeps that alive. Before the new one is set the client's
        attributes tell whether one does, afterwards what the server then shows.
        """
        told = bool(self._seen and self._seen.follows_policy)
        lives_on = self._made.kept if self._made and self._made.secret else told
        return replace(
            _TRAITS,
            login_proof=_proof(new=not self._interrupted) if self._provable else "",
            replaces=not (lives_on or self._interrupted),
            same_id=lives_on,
            earlier=self._interrupted,
        )

    @property
    def target(self) -> str:
        """The client, as messages name it."""
        return f"client {self._named.client_id}" if self._uuid else self._named.shown

    @property
    def known_as(self) -> Sequence[str]:
        """The server's id of the client, and the words that its owners know."""
        return self._named.names(self._uuid) if self._uuid else ()

    @property
    def login_key_id(self) -> str:
        """The client itself, where the admin logs in as that: its secret is not to end here."""
        return self._named.client_id if self._named.of_login else ""

    def connect(self) -> None:
        """Ask for the admin's token."""
        self._client.log_in()

    def list_keys(self) -> list[Key]:
        """GET the client: its secret, and the rotated one; raise Refused where the secret is not ours to change."""
        present = self._read()
        if not self._seen:
            refuse_unfit(present, self.target)
            self._seen = present
            self._provable = present.has_service_account
            self._run.say(f"Retrieved {self.target}")
            if not self._provable:
                self._run.say(
                    f"{self.target} has no service account, so that no login proves its secret: it is read back instead"
                )
        rotated = rotated_key(present)
        if self._made and not self._is_former(present.rotated):
            # Somebody has set another secret, and the one made here is the rotated one now.
            rotated = [replace(key, id=f"{key.id}{_CHANGED}") for key in rotated]
        return [*([self._key_of(present)] if present.secret else []), *rotated]

    def missing_rights(self) -> list[str]:
        """Say so where the login may only look at the client."""
        return [] if self._read().manageable else [f"{NO_RIGHT.words}, {self._client.login_shown}: {NO_RIGHT.way_out}"]

    def decide(self, _keys: Sequence[Key], held: Sequence[Snapshot], /) -> Decision | None:
        """Under a policy, decide what becomes of the rotated secret; without one nothing is left to delete or keep.

        A store that holds the rotated secret shows that a rotation was interrupted. Another new secret would end it, so
        that the present one is set everywhere instead. Raises BadInput where a former secret is to be kept and no
        policy does.
        """
        seen = self._seen
        assert seen  # noqa: S101 - the order: the keys are listed before
        if not seen.follows_policy:
            if self._named.keep:
                raise no_policy_keeps_former(self.target)
            self._run.say(
                f"The present secret of {self.target} ends when the new one is set: until every store has that, "
                "nobody can log in anew"
            )
            return Decision()
        end = seen.end(EXPIRES)
        self._run.say(
            f"A client policy (`secret-rotation`) rotates the secret of {self.target}"
            + (f", which ends {iso(end)}" if end else "")
        )
        rotated = rotated_key(seen) or [Key(self._rotated_id, "", NOT_TOLD, item_id=self._uuid)]
        what_goes = Decision(kept=rotated) if self._named.keep else Decision(to_delete=rotated)
        present, now = self._key_of(seen), utc_now()
        both_live = bool(seen.rotated) and not (rotated[0].expired(now) or present.expired(now))
        if both_live and any(_holds(one, seen.rotated) for one in held):
            self._interrupted = True
            self._run.warn(
                f"{SYSTEM}: {self.target}: a store holds its rotated secret, as an interrupted rotation leaves "
                "it: the present one is set everywhere, and no other is made; rotate once more for a new one"
            )
            return replace(what_goes, earlier=present)
        self._run.say(
            "The server makes the new secret, and keeps the present one alive: "
            + ("as long as the policy has it" if self._named.keep else "until every store has the new one")
        )
        return what_goes

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:  # noqa: ARG002 - the policy's
        """Set a new secret by PUT of the whole client; under a policy have the server make one, by POST.

        The key's end is what the server says. After an interrupted rotation its secret is returned, and none is made.
        Raises Yielded where somebody has set a secret since the look.
        """
        present, made, seen = self._read(), self._made, self._seen
        if present.masked:
            raise no_right(f"set the secret of {self.target}")
        if not ((seen and present.secret == seen.secret) or (made and made.secret and made.matches(present.secret))):
            raise Yielded(
                f"{SYSTEM}: somebody has set another secret of {self.target} since it was looked at",
                next_step="rotate again",
            )
        if self._interrupted:
            return self._key_of(present), Credential(self._named.client_id, present.secret)
        key = Key(self._named.client_id, label, utc_now(), item_id=self._uuid)
        if present.follows_policy:
            self._made = _Made(key, present)
            secret = self._client.make_secret(present)
        else:
            secret = made.secret if made and made.secret else self._make()
            self._made = _Made(key, made.before if made else present, secret)
            self._client.set_secret(present, secret, "set the secret")
        self._check_new_secret(self._made, secret)
        return self._made.key, Credential(self._named.client_id, secret)

    def log_in(self, credential: Credential) -> None:
        """Ask for a token as the client, where it may; and see that the server holds the secret."""
        refused: ApiError | None = None
        if self._provable:
            try:
                self._client.try_secret(credential.key_id, credential.secret)
            except ApiError as error:
                if not error.refused:
                    raise
                refused = error
        known = NOT_ACCEPTED if self._read().secret == credential.secret else OVERWRITTEN
        if known is NOT_ACCEPTED and not refused:
            return
        code = (refused.code if refused else None) or 409
        raise ApiError(
            SYSTEM,
            f"log in as client {credential.key_id}",
            known.words,
            code=code,
            name=known.codes[0],
            next_step=known.way_out,
            # No wait brings back what was overwritten.
            permanent=known is OVERWRITTEN,
        )

    def delete_key(self, key: Key) -> None:
        """End the rotated secret, if it is the one of before; for the secret made here put back that of before."""
        present = self._read()
        if key.id == self._rotated_id:
            if self._is_former(present.rotated):
                self._client.end_rotated(present)
        elif self._made and key == self._made.key and self._made.matches(present.secret):
            self.revive()

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """PUT the client without the rotated secret."""
        return (self._delete_by_update,)

    def revive(self) -> None:
        """PUT the client as it is now, with the secret of before, where ours stands; raise where another's does."""
        made = self._made
        if not made:
            return
        present = self._read()
        if made.matches(present.secret):
            changed = _as_before(made.before, present, utc_now())
            self._client.set_secret(present, made.before.secret, "put back the former secret", changed)
            present = self._read()
        if present.secret != made.before.secret:
            raise OVERWRITTEN.as_error(f"{SYSTEM}: put back the former secret of {self.target}")

    # -- within -----------------------------------------------------------------------------------

    @property
    def _rotated_id(self) -> str:
        return f"{self._named.client_id}{_ROTATED}"

    def _read(self) -> Representation:
        if not self._uuid:
            self._uuid = find(self._client, self._named)
        return self._client.read(self._uuid, self._named.client_id)

    def _check_new_secret(self, made: _Made, secret: Secret) -> None:
        """Read the client back: whether the former secret lives on, and when the new one ends."""
        self._made = replace(made, secret=secret, kept=made.before.follows_policy)
        try:
            present = retrying(self._run.deadline, self._read)
        except OutOfTime:
            # It was set all the same, and whoever asks for anything else comes to know of the time.
            return
        except ApiError as error:
            # Whatever this says, the secret was set before.
            error.unclear = True
            raise
        end = present.end(EXPIRES) if present.secret == secret else None
        kept = bool(made.before.secret) and present.rotated == made.before.secret
        self._made = replace(made, key=replace(made.key, expires_at=end), secret=secret, kept=kept)
        if made.before.follows_policy and not kept:
            self._run.warn(
                f"{SYSTEM}: {self.target}: the server has not kept the former secret alive: the client policy does not "
                "apply any more, or keeps none"
            )
        if end and not made.before.follows_policy:
            self._run.say(f"A client policy (`secret-rotation`) has given the new secret an end: {iso(end)}")

    def _key_of(self, present: Representation) -> Key:
        made = self._made
        if made and made.matches(present.secret):
            return made.key
        before = made.before if made else self._seen
        name = self._named.client_id
        if before and present.secret != before.secret:
            # Somebody else has set it since.
            return Key(f"{name}{_CHANGED}", "", NOT_TOLD, item_id=self._uuid)
        return Key(name, "", NOT_TOLD, present.end(EXPIRES), self._uuid)

    def _is_former(self, rotated: Secret) -> bool:
        """Say whether a rotated secret is the one that is to go: what the present one was, or what was seen."""
        before = self._made.before if self._made else self._seen
        known = (before.secret, before.rotated) if before else ()
        return bool(rotated) and rotated in known

    def _delete_by_update(self, key: Key) -> None:
        present = self._read()
        if key.id == self._rotated_id and self._is_former(present.rotated):
            without = dict.fromkeys((name for name in ROTATION_ATTRIBUTES if ".rotated" in name), "")
            self._client.set_secret(present, present.secret, "take the rotated secret away", without)


def find(client: Client, named: NamedClient) -> str:
    """Return the server's own id of a client; raise Refused where there is none."""
    uuid = client.find(named.client_id, named.shown)
    if not uuid:
        raise NO_CLIENT.as_error(f"{SYSTEM}: {named.shown}")
    return uuid


def no_policy_keeps_former(shown: str) -> BadInput:
    """Return the error for a former secret that is to be kept, of a client that no policy applies to."""
    return BadInput(
        f"{SYSTEM}: {shown}: '{KEEP_PREVIOUS_KEYS.label}' is 1, and a new secret ends the one before it: no client "
        "policy (`secret-rotation`) keeps that",
        next_step="enter 0 there, or have that policy apply to the client",
    )


def rotated_key(present: Representation) -> list[Key]:
    """Return the rotated secret that a client has, none or one."""
    name = f"{present.client_id}{_ROTATED}"
    return [Key(name, "", NOT_TOLD, present.end(ROTATED_EXPIRES), present.uuid)] if present.rotated else []


def refuse_unfit(present: Representation, shown: str) -> None:
    """Raise Refused for a client whose secret cannot be replaced so that it could be put back."""
    whole = present.whole
    found = {
        NOT_OPENID: whole.get("protocol") not in (None, "openid-connect"),
        NO_SECRET: whole.get("publicClient") is True or whole.get("bearerOnly") is True,
        OTHER_AUTHENTICATOR: whole.get("clientAuthenticatorType") != "client-secret",
        NO_RIGHT: not present.manageable,
        IN_VAULT: present.secret.reveal().startswith("${vault."),
    }
    for refusal, is_so in found.items():
        if is_so:
            raise refusal.as_error(f"{SYSTEM}: {shown}")


def _proof(*, new: bool) -> str:
    return _TRAITS.login_proof if new else _TRAITS.login_proof.replace("new", "present")


def _as_before(before: Representation, present: Representation, now: datetime) -> dict[str, str]:
    """Return the attributes to send so that all that goes with the secret is as before; empty ones are taken away.

    An end that is over or near is left as the policy has just set it: with it back, the policy would make another
    secret at once.
    """
    end = before.end(EXPIRES)
    leave = {EXPIRES} if end and end < now + _TOO_NEAR else set()
    old, new = before.attributes, present.attributes
    changed = [name for name in ROTATION_ATTRIBUTES if old.get(name) != new.get(name) and name not in leave]
    return {name: str(old.get(name) or "") for name in changed}


def _holds(snapshot: Snapshot, secret: Secret) -> bool:
    """Say whether a store holds a secret, by itself or in a JSON object."""
    value = secret.reveal()
    forms = (value, json.dumps(value)[1:-1])
    return any(form in text for text in snapshot.parts.values() for form in forms)
