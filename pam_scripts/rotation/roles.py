"""The roles of a rotation: an issuer makes a key, stores keep copies of it. No vendor in here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar

from pam_scripts.core import retry
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, PamScriptError, Refused
from pam_scripts.core.limits import NO_LIMIT, Limit
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso
from pam_scripts.rotation import labels
from pam_scripts.rotation.ops_log import Entry

T = TypeVar("T")

NOT_TOLD = datetime.min.replace(tzinfo=timezone.utc)
"""When a key was made whose issuer does not say: before any other."""


@dataclass(frozen=True, repr=False)
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
    def owner(self) -> str:
        """The UID of the Keeper record whose rotation made the key, empty for any other key."""
        return labels.owner_in(self.label)

    @property
    def rotation_id(self) -> str:
        """The id of the rotation that made the key, empty for any other key."""
        return labels.rotation_in(self.label)

    @property
    def shown(self) -> str:
        """The key as messages name it."""
        return f"{self.id} ('{self.label}')" if self.label else self.id

    @property
    def dated(self) -> str:
        """The key with when it was made, where its issuer tells."""
        return self.shown if self.created_at == NOT_TOLD else f"{self.shown}, created {iso(self.created_at)}"


def required_id(item: Mapping[str, Any], name: str) -> str:
    """Return an id as a system lists it; raise KeyError where there is none: nothing is asked, or deleted, without."""
    found = item.get(name)
    if not isinstance(found, str) or not found.strip():
        raise KeyError(name)
    return found


@dataclass(frozen=True, repr=False)
class Credential:
    """What a client logs in with: the key's id and its secret value."""

    key_id: str
    secret: Secret


@dataclass(frozen=True, repr=False)
class Publication:
    """A credential on its way into the stores, with what they note down beside it."""

    credential: Credential
    rotation_id: str
    rotated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, repr=False)
class Snapshot:
    """What one store holds at one moment.

    parts: the store's own places for the credential, and the value in each that has one.
    key_ids: those that stand in it, where it has several places for a credential and they need not agree.
    shown: what messages say of it where the credential has no id.
    restore_point: whatever the store itself needs to put this state back.
    remarks: what else is worth a line, where something is.
    """

    parts: Mapping[str, str]
    key_id: str = ""
    shown: str = ""
    restore_point: Any = None
    remarks: Sequence[str] = ()
    key_ids: Collection[str] = ()

    @property
    def held(self) -> set[str]:
        """The ids of all keys that stand in it."""
        return {self.key_id, *self.key_ids} - {""}

    def holds(self, parts: Mapping[str, str]) -> bool:
        """Say whether all of these parts stand here, and nothing else."""
        return dict(self.parts) == dict(parts)

    def lacks(self, parts: Mapping[str, str]) -> Mapping[str, str]:
        """Return those of these parts that do not stand here; the same id may come again with another value."""
        return {place: value for place, value in parts.items() if self.parts.get(place) != value}

    def holds_any(self, parts: Mapping[str, str]) -> bool:
        """Say whether any of these parts stands here."""
        return any(self.parts.get(place) == value for place, value in parts.items())


@dataclass(frozen=True, repr=False)
class Known:
    """What a mirror may compare its own content with, to tell whether that is this record's.

    record: the values of the credential's fields in the truth, by label. key_ids: the ids of the target's keys.
    """

    record: Mapping[str, str]
    key_ids: Collection[str] = ()


@dataclass(frozen=True, repr=False)
class Sought:
    """An earlier credential whose value is looked for among a mirror's older versions.

    key_id: its id, empty for a value that has none. rotations: the ids of those that have published it, none for what
    was there before any rotation. before: the id of the first rotation after it, where it is known by nothing else.
    """

    key_id: str = ""
    rotations: Collection[str] = ()
    before: str = ""


@dataclass(frozen=True, repr=False)
class Traits:
    """What is known of an issuer before it is asked.

    system: its name, as messages begin. noun: what it calls its keys: `access key`, `client secret`.
    login_proof: what a login proves, as messages say it: `the new key logs in`; empty where nobody can log in.
    activation_delay: seconds that a new key may take until it logs in everywhere. logins_in_a_row: how many
    logins must succeed in a row before a new key counts as proven. listing_delay: seconds that a list of keys
    may be behind what was done. deletions_at_once: how many deletions of one target's keys may be under way at
    a time. lists_all: whether every key of the target is listed, so that one which is not is dead. reversible:
    whether a new key can be taken back; where it cannot, a rotation only goes forward. replaces: whether a new key
    ends the one before it, under the same id, until `revive`: then nothing is to be deleted. same_id: whether a new key
    has the id of the one before it, which lives on under another id until it is deleted: `revive` makes it what it was,
    and ends the new one. earlier: whether the key is one from before that is brought back: then none is made, and none
    is to be deleted where that fails. tells_former: whether a list tells which of its keys was in use before; where it
    does not, none can be rolled back to. labelled: whether a list shows the label that a key was made with.
    """

    system: str
    noun: str
    login_proof: str = ""
    activation_delay: float = 0.0
    logins_in_a_row: int = 1
    listing_delay: float = 0.0
    deletions_at_once: int = 1
    lists_all: bool = True
    reversible: bool = True
    replaces: bool = False
    same_id: bool = False
    earlier: bool = False
    tells_former: bool = True
    labelled: bool = True

    @property
    def new_noun(self) -> str:
        """What the key is called that a run publishes: `new access key`, or `earlier access key`."""
        return f"{'earlier' if self.earlier else 'new'} {self.noun}"


class Issuer(Protocol):
    """A system that makes and deletes keys. It must list, create and delete; everything else has a default.

    Every call raises ApiError where the system refuses or gives no usable answer, and Refused where its
    state forbids the rotation.
    """

    @property
    def traits(self) -> Traits:
        """What is known of it beforehand."""

    @property
    def target(self) -> str:
        """Whose keys these are, as messages name it."""

    @property
    def known_as(self) -> Sequence[str]:
        """The words for the target that limits may name, its issuer's own id first; known once its keys were listed.

        Empty where no system knows of the target.
        """
        return ()

    @property
    def login_key_id(self) -> str:
        """The id of the key that this script itself is logged in with, empty where it is none."""
        return ""

    def connect(self) -> None:
        """Log in as whoever makes the keys; looks at nothing yet."""
        return None

    def list_keys(self) -> list[Key]:
        """Return every key that is not deleted, expired ones too."""

    def missing_rights(self) -> list[str]:
        """Return what must be granted before a rotation can work, as far as the system can tell."""
        return []

    def decide(self, _keys: Sequence[Key], _held: Sequence[Snapshot], /) -> Decision | None:
        """Say what is to become of the keys that are there, where not the plan does; raise where it cannot be done.

        keys: as they were listed. held: what each store holds, the truth first.
        """
        return None

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """Make a key and return it with its credential; its id must be one that no earlier key had.

        label: stored with the key, and listed again. expires_at: None for no end. After an ApiError the key may exist.
        Where the traits have `earlier`, hand out the earlier one: that may be repeated.
        """

    def log_in(self, credential: Credential) -> None:
        """Log in with a credential, for real; raise ApiError where it is refused."""
        return None

    def delete_key(self, key: Key) -> None:
        """Delete a key in the way that should work; whether it did is judged by listing."""

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """What to try, in this order, where a key is listed all the same."""
        return ()

    def revive(self) -> None:
        """Where the traits have `replaces` or `same_id`: bring the former key back, which ends the new one."""
        return None

    @property
    def ended(self) -> Sequence[Key]:
        """Return the keys that somebody may have used, and that making the new one has ended for good.

        None by any other means than `create_key`. As the new one is withdrawn they do not come back.
        """
        return ()

    def others_alive(self) -> Sequence[str]:
        """Return what else can log in as the target and is deleted by no rotation, where that must end in status 3."""
        return ()

    def act_as(self, credential: Credential) -> None:
        """Use the new key for later calls, where the calls so far used a key that is about to be deleted."""
        return None


class Store(Protocol):
    """Where copies of the credential are kept."""

    @property
    def name(self) -> str:
        """The store as messages name it."""

    @property
    def places(self) -> Sequence[str]:
        """Where in the store the credential stands, one line each."""

    def examine(self) -> Snapshot:
        """Return what the store holds; raise BadInput, Refused or ApiError for all that would make a write fail."""

    def read(self) -> Snapshot:
        """Return what the store holds."""

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return what stands in the store once it holds this credential."""

    def write(self, publication: Publication) -> None:
        """Write those parts that the store does not hold yet. After an ApiError only `read` tells which it holds."""

    def put_back(self, before: Snapshot, publication: Publication | None, listed: Collection[str] | None, /) -> None:
        """Restore what the store held before this publication; leave alone what others wrote since.

        before: what `examine` returned. publication: None where nothing was published. listed: the ids of the keys that
        the issuer lists by now, None where it cannot be asked.
        """


class Mirror(Store, Protocol):
    """A store that holds a copy of what the source of truth holds."""

    def connect(self) -> None:
        """Log in to the store; looks at nothing in it yet."""
        return None

    def adopt(self, known: Known) -> Sequence[str]:
        """Raise Refused where `examine` has seen what is not ours to write; return a line on all that is taken over."""
        return ()

    def outdated(self) -> Sequence[Any]:
        """Return the versions of the credential that can be read and are not ours, in the store's own terms."""
        return ()

    def retire(self, outdated: Sequence[Any], kept: Sequence[Key]) -> None:
        """Disable those of these versions that are older than ours, except those that hold a key which stays alive."""
        return None

    def older(self, _sought: Sought, /) -> Callable[[], Secret]:
        """Return what reads the value of an earlier credential; raise Refused where nothing here has it.

        What is returned may lift a lock for the moment of reading, so that it is for the holder of the lease alone.
        """
        raise Refused(f"{self.name}: keeps no older versions")


class SourceOfTruth(Store, Protocol):
    """The store that mirrors are copies of, and whose lease says which rotation may run."""

    def made_for(self, key_id: str) -> str:
        """Return the id of the target that a key was made for, as the log of what was examined says; empty for none."""
        return ""

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The ops log as it was when it was examined, as `read_entries` has it."""
        return ()

    @property
    def ended(self) -> Collection[str]:
        """The ids of earlier rotations that are over, as the ops log had them when it was examined."""
        return {entry["rotation_id"] for entry in self.entries} - {""}

    def take_lease(self, rotation_id: str, until: datetime) -> None:
        """Take the lease; raise Yielded where another rotation has it, or anything changed since `examine`."""

    def check_lease(self) -> None:
        """Raise Yielded unless the lease is still this rotation's; may go by what was read a moment ago."""

    def confirmed_by_finish(self, _publication: Publication, /) -> bool:
        """Say whether `finish` will itself see that the credential still stands here, or else put it there again.

        It can where the credential was seen here a moment ago, and a save is refused if anybody saved since.
        """
        return False

    def finish(self, entry: str) -> None:
        """Write the entry into the ops log and give the lease back; raise Yielded where another rotation has it."""


class Consumer(Protocol):
    """A service that reads the credential from a store, and uses the old one until it is reloaded."""

    @property
    def name(self) -> str:
        """The consumer as messages name it."""

    @property
    def reloads(self) -> bool:
        """Whether `reload` does anything; False where only its health can be watched."""
        return True

    def examine(self) -> None:
        """Raise Refused or ApiError for all that would make a reload fail."""

    def missing_rights(self) -> list[str]:
        """Return what must be granted before it can be reloaded, as far as its system can tell."""
        return []

    def reload(self) -> None:
        """Make it read the credential anew; returns once that is under way. May be repeated."""

    def trouble(self) -> str:
        """Return why it is not healthy, empty once it is; raise ApiError where it cannot be asked."""


@dataclass(frozen=True, repr=False)
class Plan:
    """What one rotation is to do.

    owner: the UID of the Keeper record this rotation serves; the keys it makes carry it.
    life: how long a key lasts; None where its issuer gives keys no end.
    keep: how many of the newest previous keys stay alive. take_over: also delete keys that
    another record's rotation made. health_seconds: how long consumers may take to be healthy again. in_turn: whether
    each consumer must be so before the next is reloaded, since the first ones are to know the new value before the
    others use it.
    """

    owner: str
    life: timedelta | None
    keep: int = 0
    take_over: bool = False
    health_seconds: float = 180.0
    in_turn: bool = False


@dataclass(repr=False)
class Run:
    """One run of a script: its id, its deadline, where its lines go, and its log entry."""

    rotation_id: str
    started: datetime
    deadline: Deadline
    say: Callable[[str], None]
    warn: Callable[[str], None]
    dry_run: bool = False
    entry: Entry = field(default_factory=Entry)

    def __post_init__(self) -> None:
        self.entry.rotation_id, self.entry.date = self.rotation_id, self.started


@dataclass(frozen=True, repr=False)
class Rotation:
    """What does not change while one key is replaced: who takes part, what is to be done, the run, and the limit.

    limit: whose keys the login may be used for.
    """

    issuer: Issuer
    truth: SourceOfTruth
    mirrors: Sequence[Mirror]
    plan: Plan
    run: Run
    consumers: Sequence[Consumer] = ()
    limit: Limit = NO_LIMIT

    @property
    def traits(self) -> Traits:
        """What is known of the issuer beforehand."""
        return self.issuer.traits

    @property
    def stores(self) -> list[Store]:
        """All stores, the truth first."""
        return [self.truth, *self.mirrors]

    @property
    def label(self) -> str:
        """The label of the key that this rotation makes."""
        return labels.label(self.plan.owner, self.run.rotation_id)

    @property
    def key_made(self) -> str:
        """What a person knows the key by that this rotation has made, and whose id was not told."""
        if self.traits.labelled:
            return f"labelled '{self.label}'"
        return f"of {self.issuer.target}, made since {iso(self.run.started)},"

    @property
    def shown_target(self) -> str:
        """Whose key it is, and where, as the ops log names it."""
        return f"{self.issuer.target} in {self.traits.system}" if self.traits.system else self.issuer.target

    @property
    def worth_another_try(self) -> Callable[[ApiError], bool]:
        """Which errors of a store are worth another try: all of them, where there is no way back."""
        return retry.transient if self.traits.reversible else retry.any_error

    def retrying(self, call: Callable[[], T], on: Callable[[ApiError], bool] = retry.transient) -> T:
        """Make a call within the run's time, as `retry.retrying` does."""
        return retry.retrying(self.run.deadline, call, on)

    def retrying_longer(
        self, call: Callable[[], T], on: Callable[[ApiError], bool] = retry.transient, spare: float = 0.0
    ) -> T:
        """Make a call as `retrying`; where there is no way back, keep trying until only `spare` seconds are left."""
        return retry.retrying(self.run.deadline, call, on, None if self.traits.reversible else spare)


@dataclass(frozen=True, repr=False)
class Decision:
    """What is to become of the keys that were there before: some are kept, the others deleted.

    earlier: the one that is brought back in place of making one.
    """

    kept: Sequence[Key] = ()
    to_delete: Sequence[Key] = ()
    earlier: Key | None = None

    @property
    def kept_ids(self) -> set[str]:
        """The ids of the keys to keep."""
        return {key.id for key in self.kept}

    @property
    def ids_to_delete(self) -> set[str]:
        """The ids of the keys to delete."""
        return {key.id for key in self.to_delete}


@dataclass(repr=False)
class Progress:
    """What has happened so far: the one place that undoing reads.

    before: what each store held, the truth first. known: what mirrors may be told of that. keys: those that the
    issuer listed before creation. decision: what becomes of them. creation_unclear: whether a creation whose answer
    was lost may have made a key that is not listed yet. key, publication: the new key, and what is published of it.
    outdated: the versions in each mirror that are to be disabled. touched: stores that were written to. published:
    stores seen to hold the new key. reloaded: consumers that may have read it. listed: the keys as they were listed
    just before the deletion. confirmed_at_finish: whether the save that ends the rotation also confirms that the
    truth still holds the new key.

    Only where there is no way back: unseen: mirrors that could not be looked at yet. stored_late: stores that did not
    hold the new key when consumers were reloaded. failures: what consumers failed with.
    """

    before: Sequence[Snapshot] = ()
    known: Known = field(default_factory=lambda: Known({}))
    keys: Sequence[Key] = ()
    decision: Decision = field(default_factory=Decision)
    creation_unclear: bool = False
    key: Key | None = None
    publication: Publication | None = None
    outdated: Sequence[Sequence[Any]] = ()
    touched: list[Store] = field(default_factory=list)
    published: list[Store] = field(default_factory=list)
    reloaded: list[Consumer] = field(default_factory=list)
    listed: Sequence[Key] = ()
    unseen: list[Mirror] = field(default_factory=list)
    stored_late: Sequence[Store] = ()
    failures: list[PamScriptError] = field(default_factory=list)
    confirmed_at_finish: bool = False

    @property
    def new(self) -> tuple[Key, Publication]:
        """The new key and its publication, for the steps after creation."""
        assert self.key  # noqa: S101 - the order: nothing that asks for it comes before `create`
        assert self.publication  # noqa: S101 - the same
        return self.key, self.publication


def resumed(target: str, noun: str, held: str) -> str:
    """Return the warning of an issuer that goes on where a rotation was interrupted. held: what the record holds."""
    return (
        f"{target}: an interrupted rotation left one {noun} in the record and the other in a mirror: {held}, which the "
        "record holds, is set everywhere, and no other is made; rotate once more for a new one"
    )
