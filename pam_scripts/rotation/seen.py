"""What an audit sees of targets and mirrors: ids, names, times and tags, never a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pam_scripts.core.times import read_moment
from pam_scripts.rotation.roles import Key
from pam_scripts.rotation.shape import EXPIRY_TAG, ROTATION_TAG

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Trouble:
    """Something that a survey found wrong. code: of the audit's rule for it. what: exactly. way_out: what to do."""

    code: str
    what: str
    way_out: str


@dataclass(frozen=True, repr=False)
class SeenTarget:
    """A target as its issuer shows it.

    id: its own id there, whatever the record calls it. known_as: the words for it that limits may name. keys: those
    that are not deleted, expired ones too, as far as they are the record's to replace; last_used by key id, where
    tells_use: its issuer says so. trouble: why its keys cannot work. beside: the ids of others there that the same
    record rotates in turn.
    """

    id: str
    name: str
    keys: Sequence[Key] = ()
    known_as: Sequence[str] = ()
    last_used: Mapping[str, datetime] = field(default_factory=dict)
    tells_use: bool = False
    trouble: Sequence[Trouble] = ()
    beside: Sequence[str] = ()


@dataclass(frozen=True, repr=False)
class SurveyResult:
    """What a survey found out about one record's target.

    target: None where the issuer could not be asked. troubles: what is wrong with the login, or with the asking.
    """

    target: SeenTarget | None = None
    troubles: Sequence[Trouble] = ()


def look_at_each(
    specs: Sequence[T], look: Callable[[T], SurveyResult], say: Callable[[str], None], *, system: str, noun: str
) -> list[SurveyResult]:
    """Look at the targets of specs one after the other; return what is seen of each, in their order.

    say: told how far it is. system, noun: whose targets these are, and what they are called, for that.
    """
    found = []
    for number, spec in enumerate(specs, 1):
        found.append(look(spec))
        say(f"{system}: {number} of {len(specs)} {noun}")
    return found


@dataclass(frozen=True, repr=False)
class SeenSecret:
    """One secret's newest version as its store lists it. expires_at: when the store itself says that it ends."""

    enabled: bool
    tags: Mapping[str, str]
    expires_at: datetime | None

    @property
    def rotation_id(self) -> str:
        """The id of the rotation that set it, empty where another hand did."""
        return self.tags.get(ROTATION_TAG, "")

    @property
    def ends(self) -> list[datetime]:
        """When its credential is said to end, by its tag and by its own date, as far as each is there."""
        return [moment for moment in (read_moment(self.tags.get(EXPIRY_TAG, "")), self.expires_at) if moment]


@dataclass(frozen=True, repr=False)
class SeenMirror:
    """The secrets of one mirror by name, and the names of deleted ones, all in small letters.

    trouble: why it could not be asked. page: the address at which a person sees it, where only the answers tell that.
    """

    secrets: Mapping[str, SeenSecret] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    trouble: Trouble | None = None
    page: str = ""


@dataclass(frozen=True, repr=False)
class SeenConsumer:
    """One consumer. references: the addresses of the secrets that its platform reads for it. trouble: why it is ill."""

    references: Sequence[str] = ()
    trouble: str = ""


@dataclass(frozen=True, repr=False)
class SeenConsumers:
    """The consumers of one place by name, in small letters. trouble: why it could not be asked."""

    consumers: Mapping[str, SeenConsumer] = field(default_factory=dict)
    trouble: Trouble | None = None
