"""The secret of one Keycloak client, as an issuer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pam_scripts.core.errors import ApiError, Yielded
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.keycloak.client import Client, Representation, no_right
from pam_scripts.issuers.keycloak.refusals import (
    IN_VAULT,
    NO_CLIENT,
    NO_RIGHT,
    NO_SECRET,
    NOT_ACCEPTED,
    NOT_OPENID,
    OTHER_AUTHENTICATOR,
    OVERWRITTEN,
    ROTATED_BY_POLICY,
    SYSTEM,
)
from pam_scripts.rotation.roles import NOT_TOLD, Credential, Decision, Issuer, Key, Run, Snapshot, Traits

_TRAITS = Traits(
    system=SYSTEM,
    noun="client secret",
    login_proof="the new secret gets a token",
    # Nodes of a cluster drop the former secret from memory a moment after the one that was asked.
    activation_delay=5.0,
    replaces=True,
)

_CHANGED = " (changed meanwhile)"
_POLICY_ATTRIBUTES = ("client.secret.rotated", "client.secret.expiration.time")


@dataclass(frozen=True)
class Named:
    """Which client a record names.

    shown: as messages name it before the server knows it. of_login: whether it is the one that the admin logs in as.
    names: the words by which limits may name it, given the server's own id of it.
    """

    client_id: str
    shown: str
    of_login: bool
    names: Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class _Made:
    """The secret that this run has set, or was about to. before: what stood there just before that."""

    key: Key
    secret: Secret = field(repr=False)
    before: Secret = field(repr=False)


class ClientSecret(Issuer):
    """The secret of the client that a record names.

    There is one at a time, and its id is the client's. What is listed under that id is the secret that was there at the
    look, or the one made here; any other, which somebody has set since, is listed under another word.
    """

    def __init__(self, named: Named, make: Callable[[], Secret], client: Client, run: Run) -> None:
        self._named = named
        self._make = make
        self._client = client
        self._run = run
        self._uuid = ""
        self._seen: Secret | None = None
        self._provable = True
        self._made: _Made | None = None

    @property
    def traits(self) -> Traits:
        """What is known of Keycloak beforehand; a client without a service account cannot prove its secret."""
        return _TRAITS if self._provable else replace(_TRAITS, login_proof="")

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
        """GET the client: the one secret that it has; raise Refused where that is not ours to change."""
        first = not self._seen
        present = self._read()
        if first:
            self._refuse_unfit(present)
            self._seen = present.secret
            self._provable = present.has_service_account
            self._run.say(f"Retrieved {self.target}")
            if not self._provable:
                self._run.say(
                    f"{self.target} has no service account, so that no login proves its secret: it is read back instead"
                )
        return [self._key_of(present)] if present.secret else []

    def missing_rights(self) -> list[str]:
        """Say so where the login may only look at the client."""
        return [] if self._read().manageable else [f"{NO_RIGHT.words}, {self._client.login_shown}: {NO_RIGHT.way_out}"]

    def decide(self, _keys: Sequence[Key], _held: Sequence[Snapshot], /) -> Decision | None:
        """Leave nothing to keep or delete: the new secret ends the present one."""
        self._run.say(
            f"The present secret of {self.target} ends when the new one is set: until every store has that, "
            "nobody can log in anew"
        )
        return Decision()

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:  # noqa: ARG002 - no end
        """PUT the client as it is, with a new secret; raise Yielded where somebody has set one since the look."""
        present, made = self._read(), self._made
        if present.masked:
            raise no_right(f"set the secret of {self.target}")
        if present.secret not in (self._seen, made.secret if made else self._seen):
            raise Yielded(
                f"{SYSTEM}: somebody has set another secret of {self.target} since it was looked at",
                next_step="rotate again",
            )
        secret, before = (made.secret, made.before) if made else (self._make(), present.secret)
        self._made = _Made(Key(self._named.client_id, label, utc_now(), item_id=self._uuid), secret, before)
        self._client.set_secret(present, secret, "set the secret")
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
        """Put back what was there before, for the secret made here; no other has a key of its own to delete."""
        if self._made and key == self._made.key and self._read().secret == self._made.secret:
            self.revive()

    def revive(self) -> None:
        """PUT the client as it is now, with the secret of before, where ours stands; raise where another's does."""
        made = self._made
        if not made:
            return
        present = self._read()
        if present.secret == made.secret:
            self._client.set_secret(present, made.before, "put back the former secret")
            present = self._read()
        if present.secret != made.before:
            raise OVERWRITTEN.as_error(f"{SYSTEM}: put back the former secret of {self.target}")

    # -- within -----------------------------------------------------------------------------------

    def _read(self) -> Representation:
        if not self._uuid:
            uuid = self._client.find(self._named.client_id, self._named.shown)
            if not uuid:
                raise NO_CLIENT.as_error(f"{SYSTEM}: {self._named.shown}")
            self._uuid = uuid
        return self._client.read(self._uuid, self._named.client_id)

    def _key_of(self, present: Representation) -> Key:
        if self._made and present.secret == self._made.secret:
            return self._made.key
        name, before = self._named.client_id, self._made.before if self._made else self._seen
        # Somebody else has set it since.
        return Key(name if present.secret == before else f"{name}{_CHANGED}", "", NOT_TOLD, item_id=self._uuid)

    def _refuse_unfit(self, present: Representation) -> None:
        """Raise Refused for a client whose secret cannot be replaced so that it could be put back."""
        whole, attributes = present.whole, present.attributes
        found = {
            NOT_OPENID: whole.get("protocol") not in (None, "openid-connect"),
            NO_SECRET: whole.get("publicClient") is True or whole.get("bearerOnly") is True,
            OTHER_AUTHENTICATOR: whole.get("clientAuthenticatorType") != "client-secret",
            NO_RIGHT: not present.manageable,
            IN_VAULT: present.secret.reveal().startswith("${vault."),
            ROTATED_BY_POLICY: any(attributes.get(name) for name in _POLICY_ATTRIBUTES),
        }
        for refusal, is_so in found.items():
            if is_so:
                raise refusal.as_error(f"{SYSTEM}: {self.target}")
