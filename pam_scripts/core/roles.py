"""The roles of a rotation: an issuer makes a key, stores keep copies of it. No vendor in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from pam_scripts.core.ops_log import Entry
from pam_scripts.core.patience import Deadline
from pam_scripts.core.secret import Secret


@dataclass(frozen=True)
class Key:
    """A live key as its issuer lists it; never its value.

    id: what a client names when it logs in. item_id: the issuer's own name for it, where it has
    one. expires_at: None where the key has no end.
    """

    id: str
    label: str
    created_at: datetime
    expires_at: datetime | None = None
    item_id: str = ""

    def expired(self, now: datetime) -> bool:
        """Say whether the key has come to its end and logs nobody in."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def shown(self) -> str:
        """The key as messages name it."""
        return f"{self.id} ('{self.label}')" if self.label else self.id


@dataclass(frozen=True)
class Credential:
    """What a client logs in with: the key's id and its secret value."""

    key_id: str
    secret: Secret


@dataclass(frozen=True)
class Publication:
    """A credential on its way into the stores, with what they note down beside it."""

    credential: Credential
    rotation_id: str
    rotated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Copy:
    """What one store holds at one moment.

    parts: the store's own places for the credential, and the value in each that has one.
    shown: what messages say of it where the credential has no id.
    origin: whatever the store itself needs to put this state back.
    """

    parts: Mapping[str, str] = field(repr=False)
    key_id: str = ""
    shown: str = ""
    origin: Any = field(default=None, repr=False)

    def holds(self, parts: Mapping[str, str]) -> bool:
        """Say whether all of these parts stand here, and nothing else."""
        return dict(self.parts) == dict(parts)

    def holds_any(self, parts: Mapping[str, str]) -> bool:
        """Say whether any of these parts stands here."""
        return any(self.parts.get(place) == value for place, value in parts.items())


class Issuer(Protocol):
    """Where keys are born and die.

    Every call raises ApiError where the system does not do or does not say, and Refused where its
    state forbids the rotation.
    """

    @property
    def system(self) -> str:
        """The system's name, as messages begin."""

    @property
    def noun(self) -> str:
        """What the system calls its keys: `access key`, `client secret`."""

    @property
    def target(self) -> str:
        """Whose keys these are, as messages name it."""

    @property
    def proof(self) -> str:
        """What a login proves, as messages say it: `the new key logs in`; empty where nobody can log in."""

    @property
    def reversible(self) -> bool:
        """Whether a new key can be undone. Where it cannot, a rotation only goes forward."""

    @property
    def own_key_id(self) -> str:
        """The id of the key that this script itself is logged in with, empty where it is none."""

    @property
    def settling(self) -> float:
        """Seconds that a new key may take until it logs in everywhere."""

    @property
    def logins_in_a_row(self) -> int:
        """How many logins must succeed in a row before a new key counts as proven."""

    @property
    def lag(self) -> float:
        """Seconds that a listing may be behind what was done."""

    @property
    def ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """The ways to delete a key, best first; whether one worked is judged by listing."""

    @property
    def deletions_at_once(self) -> int:
        """How many deletions of one target's keys may be under way at a time."""

    def connect(self) -> None:
        """Log in as whoever makes the keys; looks at nothing yet."""

    def list_keys(self) -> list[Key]:
        """Return every key that is not deleted, expired ones too."""

    def missing_rights(self) -> list[str]:
        """Return what must be granted before a rotation can work, as far as the system can tell."""

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """Make a key. An ApiError leaves open whether there is one now: look for its label."""

    def log_in(self, credential: Credential) -> None:
        """Log in with a credential, for real; raise ApiError where it is refused."""

    def act_as(self, credential: Credential) -> None:
        """Make later calls with the new key, where those so far were made with one that is to be deleted."""


class Store(Protocol):
    """Where copies of the credential are kept."""

    @property
    def name(self) -> str:
        """The store as messages name it."""

    @property
    def places(self) -> Sequence[str]:
        """Where in the store the credential stands, one line each."""

    def examine(self) -> Copy:
        """Return what the store holds, having looked for all that would make a write fail."""

    def read(self) -> Copy:
        """Return what the store holds."""

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return what stands in the store once it holds this credential."""

    def write(self, publication: Publication) -> None:
        """Write those parts that do not stand there yet. An ApiError leaves open which do: read."""

    def put_back(self, before: Copy, publication: Publication | None) -> None:
        """Bring back what stood here before this publication; leave alone what others wrote since."""


class Mirror(Store, Protocol):
    """A store that follows the truth."""

    def connect(self) -> None:
        """Log in to the store; looks at nothing in it yet."""

    def outdated(self) -> Sequence[Any]:
        """Return the versions of the credential that can be read and are not ours, in the store's own terms."""

    def retire(self, outdated: Sequence[Any], kept: Sequence[str]) -> None:
        """Lock away those of these versions that are older than ours, but those of the kept rotations (by id)."""


class Truth(Store, Protocol):
    """The store that decides: whoever holds its lease may rotate, mirrors follow what it says."""

    def claim(self, rotation_id: str, until: datetime) -> None:
        """Take the lease; raise Yielded where another rotation has it, or anything changed since `examine`."""

    def check_claim(self) -> None:
        """Raise Yielded unless the lease is still this rotation's; may go by what was read a moment ago."""

    def finish(self, entry: str) -> None:
        """Write the entry into the ops log and give the lease back; raise Yielded where another rotation has it."""


class Consumer(Protocol):
    """Who reads the credential from a store, and goes on with the old one until told otherwise."""

    @property
    def name(self) -> str:
        """The consumer as messages name it."""

    @property
    def reloads(self) -> bool:
        """Whether there is anything to reload, or only somebody to ask."""

    def examine(self) -> None:
        """Look for all that would make a reload fail."""

    def missing_rights(self) -> list[str]:
        """Return what must be granted before it can be reloaded, as far as its system can tell."""

    def reload(self) -> None:
        """Make it read the credential anew; returns once that is under way. May be repeated."""

    def trouble(self) -> str:
        """Say what keeps it from being well; empty once it is back. Raise ApiError where it cannot be asked."""


@dataclass(frozen=True)
class Plan:
    """What one rotation is to do.

    owner: the UID of the Keeper record this rotation serves; the keys it makes carry it.
    life: how long a key lasts; None where its issuer gives keys no end.
    keep: how many of the newest previous keys stay alive. take_over: also delete keys that
    another record's rotation made. health_seconds: how long consumers may take to be well again.
    """

    owner: str
    life: timedelta | None
    keep: int = 0
    take_over: bool = False
    health_seconds: float = 180.0


@dataclass
class Run:
    """One run of a script: its name, its time, its voice, its log, and whom it trusts beside the public CAs."""

    rotation_id: str
    started: datetime
    deadline: Deadline
    say: Callable[[str], None]
    warn: Callable[[str], None]
    dry_run: bool = False
    ca_bundle: str = ""
    entry: Entry = field(default_factory=Entry)

    def __post_init__(self) -> None:
        self.entry.rotation_id, self.entry.started = self.rotation_id, self.started
