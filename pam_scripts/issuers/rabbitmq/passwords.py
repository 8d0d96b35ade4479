"""The password of one RabbitMQ user, or of two that take turns, as an issuer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pam_scripts.core.errors import ApiError, BadInput, Yielded
from pam_scripts.core.limits import Limit
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.gateway.request import ALLOW_TARGETS
from pam_scripts.issuers.rabbitmq.client import ADMINISTRATOR, Client, User
from pam_scripts.issuers.rabbitmq.refusals import BOTH_IN_USE, NOT_ADMINISTRATOR, SYSTEM
from pam_scripts.rotation.roles import NOT_TOLD, Credential, Decision, Issuer, Key, Run, Snapshot, Traits, resumed

_TRAITS = Traits(
    system=SYSTEM,
    noun="password",
    login_proof="the new password logs in",
    # Nodes of a cluster have the new hash a moment after the one that was asked.
    activation_delay=5.0,
    # The user whose turn it is may have a password that nobody knows.
    tells_former=False,
    labelled=False,
)

_UNPUBLISHED = " (unpublished)"

# By the server's name: what hashes a password, behind a salt of four bytes.
# https://www.rabbitmq.com/docs/passwords
_HASHES: Mapping[str, str] = {
    "rabbit_password_hashing_sha256": "sha256",
    "rabbit_password_hashing_sha512": "sha512",
    "rabbit_password_hashing_md5": "md5",
}
_SALT_BYTES = 4


@dataclass(frozen=True, repr=False)
class Users:
    """Whose password a record asks for.

    spare: the second user, empty for none. published: which of the two the record holds, with the password `held`.
    shown: by name, as messages name them before the server knows them. limit: whose passwords the login may set.
    close_connections: whether those of the user whose password has ended are to end, too. keep: whether the former of
    two is to live on.
    """

    username: str
    spare: str
    published: str
    held: Secret
    shown: Mapping[str, str]
    limit: Limit
    close_connections: bool
    keep: bool = False

    @property
    def names(self) -> Sequence[str]:
        """The one or two names."""
        return tuple(filter(None, (self.username, self.spare)))

    @property
    def next(self) -> str:
        """The user who gets the next password: the one that the record does not hold, where there are two."""
        return self.spare if self.spare and self.published != self.spare else self.username

    def key_id(self, name: str) -> str:
        """Return the id of the password that a user has before a rotation; no store holds that of the next user."""
        return f"{name}{_UNPUBLISHED}" if self.spare and name == self.next else name

    def refused(self, user: User, login: str) -> BadInput | None:
        """Return why a user's password may not be set; None where it may.

        An administrator must be named in the login's limit to the letter. login: the name that the script logs in by,
        whose own password is refused elsewhere.
        """
        if ADMINISTRATOR not in user.tags or user.name == login or self.limit.names(user.name):
            return None
        return BadInput(
            f"{SYSTEM}: {self.shown[user.name]} is an administrator",
            next_step="have the owner of the record with the login enter that user's exact name there, in "
            f"'{ALLOW_TARGETS.label}'",
        )


@dataclass(frozen=True, repr=False)
class _Made:
    """The password that this run has set, or was about to. before: the user as it was just before that."""

    key: Key
    password: Secret
    before: User


class Passwords(Issuer):
    """The passwords of the users that a record names.

    A password is listed under its user's name; a user without one has no key. Its hash tells whether it is the one made
    here. The user whose turn it is may have a password that no store holds, which ends with the next one: it is listed
    as the name with a word behind it.
    """

    def __init__(self, users: Users, make: Callable[[], Secret], client: Client, run: Run) -> None:
        self._users = users
        self._make = make
        self._client = client
        self._run = run
        self._known = False
        self._seen: dict[str, User] = {}
        # Of two users: the one whose password the record holds; both, where a rotation was interrupted.
        self._published: frozenset[str] = frozenset()
        self._next = users.next
        self._interrupted: Key | None = None
        self._made: _Made | None = None
        self._open: list[str] = []

    @property
    def traits(self) -> Traits:
        """What is known of RabbitMQ beforehand; with one user, a new password ends the one before it."""
        proof = _TRAITS.login_proof if self._interrupted is None else "the password logs in"
        return replace(
            _TRAITS,
            login_proof=proof,
            replaces=not self._users.spare,
            earlier=self._interrupted is not None,
        )

    @property
    def target(self) -> str:
        """The user, or the two, as messages name them."""
        shown = [f"user {name}" if self._known else self._users.shown[name] for name in self._users.names]
        return " and ".join(shown)

    @property
    def known_as(self) -> Sequence[str]:
        """The users' names, once they were seen."""
        return self._users.names if self._known else ()

    @property
    def login_key_id(self) -> str:
        """The administrator's own name: its password is not to end here."""
        return self._client.username

    def connect(self) -> None:
        """GET /api/whoami as the administrator."""
        self._client.own_tags()

    def list_keys(self) -> list[Key]:
        """GET /api/users/NAME of each: a key for every one that has a password."""
        users = [self._user(name) for name in self._users.names]
        if not self._known:
            self._seen = {user.name: user for user in users}
            for refused in (self._users.refused(user, self._client.username) for user in users):
                if refused:
                    raise refused
            held = (user for user in users if user.name == self._users.published)
            self._published = frozenset(user.name for user in held if _may_be(user, self._users.held))
            self._known = True
            self._run.say(f"Retrieved {self.target}")
        return [self._key_of(user) for user in users if user.password_hash]

    def missing_rights(self) -> list[str]:
        """Say so where the login is no administrator."""
        return list(filter(None, [missing_tag(self._client.login_shown, self._client.own_tags())]))

    def decide(self, _keys: Sequence[Key], held: Sequence[Snapshot], /) -> Decision | None:
        """Choose whose turn it is: of two, the user whose password no store holds.

        Where the record holds the password of one user and a mirror that of the other, a rotation was interrupted. A
        new password would end the mirror's, so that the record's is set everywhere instead. With one user there is
        nothing to keep or delete, as the new password ends the old. Raises Yielded where someone else changed the
        record after it was read, and Refused where mirrors have both users and the record tells nothing.
        """
        if not self._users.spare:
            self._run.say(
                f"The present password of {self.target} ends when the new one is set: until every store has that, "
                f"nobody can log in anew; a second user, as 'username_spare', spares you that"
            )
            return Decision()
        # A name without a password is no credential.
        if held[0].key_id != (self._users.published if self._users.held else ""):
            raise Yielded(
                f"{SYSTEM}: {self.target}: someone else changed its record after it was read", next_step="rotate again"
            )
        first, second = self._users.names
        in_mirrors = {name for one in held[1:] for name in one.held if self._has_password(name)}
        if {first, second} <= in_mirrors and not self._published:
            raise BOTH_IN_USE.as_error(f"{SYSTEM}: {self.target}")
        self._next, other = (first, second) if second in self._published else (second, first)
        if self._next in in_mirrors and self._published:
            return self._resume(other)
        if self._next in in_mirrors and other not in in_mirrors:
            self._next, other = other, self._next
        # What a store holds has the name under which it holds that.
        self._published |= in_mirrors - {self._next}
        keys = [self._key_of(user) for user in self._seen.values() if user.password_hash]
        return self._decision(keys, other)

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:  # noqa: ARG002 - no end
        """PUT /api/users/NAME with a new password, for the user whose turn it is; or hand out an interrupted run's.

        Raises Yielded where somebody has set another one since the look.
        """
        if self._interrupted:
            user = self._user(self._interrupted.id)
            if not _may_be(user, self._users.held):
                raise Yielded(
                    f"{SYSTEM}: somebody has set another password of user {user.name} since it was looked at",
                    next_step="rotate again",
                )
            return self._interrupted, Credential(user.name, self._users.held)
        user = self._user(self._next)
        password = self._made.password if self._made else self._make()
        before = self._made.before if self._made else user
        self._made = _Made(Key(user.name, label, utc_now()), password, before)
        self._client.set_password(user, password)
        return self._made.key, Credential(user.name, password)

    def log_in(self, credential: Credential) -> None:
        """GET /api/whoami as the user."""
        self._client.try_password(credential.key_id, credential.secret)

    def delete_key(self, key: Key) -> None:
        """For the password made here put back the former one; take away any other that is as it was seen."""
        if self._made and key == self._made.key:
            self.revive()
            return
        name = key.id.removesuffix(_UNPUBLISHED)
        user, seen = self._user(name), self._seen[name]
        if not user.password_hash or user.password_hash != seen.password_hash:
            return
        self._client.set_hash(user, "", user.algorithm)
        self._close(name)

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """The same once more: what was refused may have been refused by something on the way."""
        return (self.delete_key,)

    def revive(self) -> None:
        """PUT /api/users/NAME with the hash of before, where the password made here stands; leave alone another's."""
        if not self._made:
            return
        before, user = self._made.before, self._user(self._made.before.name)
        if _is_hash_of(user, self._made.password):
            self._client.set_hash(user, before.password_hash, before.algorithm)

    def act_as(self, credential: Credential) -> None:
        """End the user's connections where the new password has ended the old one; a failure is told at the end."""
        if not self._users.spare:
            self._close(credential.key_id)

    def others_alive(self) -> Sequence[str]:
        """Return the connections that were to end, and may not have."""
        return [f"the connections of user {name}, which live on with the former password" for name in self._open]

    # -- within -----------------------------------------------------------------------------------

    def _has_password(self, name: str) -> bool:
        return name in self._seen and bool(self._seen[name].password_hash)

    def _resume(self, name: str) -> Decision:
        """Go on where a rotation was interrupted: the record has its password, and a mirror that of the other user."""
        # Both are what some store holds.
        self._published = frozenset(self._users.names)
        keys = {user.name: self._key_of(user) for user in self._seen.values() if user.password_hash}
        self._interrupted = keys.pop(name)
        self._run.warn(resumed(f"{SYSTEM}: {self.target}", "password", f"that of {name}"))
        return replace(self._decision([*keys.values()], self._next), earlier=self._interrupted)

    def _decision(self, keys: Sequence[Key], former: str) -> Decision:
        kept = [key for key in keys if key.item_id == former and self._users.keep]
        return Decision(kept, [key for key in keys if key not in kept])

    def _user(self, name: str) -> User:
        shown = f"user {name}" if self._known else self._users.shown[name]
        return self._client.user(name, shown)

    def _key_of(self, user: User) -> Key:
        made = self._made
        if made and user.name == made.key.id and _is_hash_of(user, made.password):
            return made.key
        # Somebody else has set it since, or a rotation that was interrupted before.
        if made and user.name == made.key.id and user.password_hash != made.before.password_hash:
            return Key(f"{user.name}{_UNPUBLISHED}", "", NOT_TOLD, item_id=user.name)
        known = not self._users.spare or user.name in self._published
        return Key(user.name if known else f"{user.name}{_UNPUBLISHED}", "", NOT_TOLD, item_id=user.name)

    def _close(self, name: str) -> None:
        if not self._users.close_connections:
            self._run.say(f"Open connections of user {name} live on; 'close_connections' = 'True' ends them")
            return
        try:
            self._client.close_connections(name)
            self._run.say(f"Ended the connections of user {name}")
        except ApiError as error:
            self._run.warn(error.cause)
            self._open.append(name)


def missing_tag(login_shown: str, tags: Sequence[str]) -> str:
    """Say that a login lacks the tag `administrator`, and how to give it that; empty where it has it. tags: its own."""
    if ADMINISTRATOR in tags:
        return ""
    return f"{NOT_ADMINISTRATOR.words} ({login_shown}): {NOT_ADMINISTRATOR.way_out}"


def _may_be(user: User, password: Secret) -> bool:
    """Say whether a password may be a user's: it may be where the hash is of a kind that is not known here."""
    return bool(user.password_hash) and (user.algorithm not in _HASHES or _is_hash_of(user, password))


def _is_hash_of(user: User, password: Secret) -> bool:
    """Say whether a user's hash is that of a password: the salt stands before it."""
    name = _HASHES.get(user.algorithm)
    try:
        whole = base64.b64decode(user.password_hash, validate=True)
    except ValueError:
        return False
    if not name or len(whole) <= _SALT_BYTES:
        return False
    salt, digest = whole[:_SALT_BYTES], whole[_SALT_BYTES:]
    return hashlib.new(name, salt + password.reveal().encode(), usedforsecurity=False).digest() == digest
