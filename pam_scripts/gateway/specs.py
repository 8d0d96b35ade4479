"""What a record asks of each part of a rotation: read and checked, while nobody was asked yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pam_scripts.core.http import Session
from pam_scripts.core.limits import NO_LIMIT, Limit
from pam_scripts.rotation.roles import Consumer, Issuer, Mirror, Run
from pam_scripts.rotation.shape import Shape, Target


@dataclass(frozen=True, repr=False)
class IssuerSpec:
    """The keys that a record asks to have replaced.

    target: whose they are, as the record says. shape: how the credential is laid out for this record. build: makes the
    issuer. hosts: those that will be asked, and how many connections at a time; 0: one for all rotations of a process,
    to log in. life: how long a new key is to live, None where its issuer gives keys no end. server: the host of the
    system that issues them. login_id: what the script logs in with, where that may be a key of the target that is not
    replaced with it. shares: what tells records apart that rotate keys of the same target, in small letters; empty
    where none may. rivalry: what two such records do to each other that nothing tells apart, as an audit says it.
    group: what those targets have in common that an audit looks at together: server and login. survey: the name of the
    module that looks, empty where there is nobody to ask; by name, so that an attached file does not carry what only
    the audit needs. details: what else that look goes by. limit: whose keys the login may be used for. ca_bundle: of
    the CA that is trusted for the hosts, beside the credential; empty for none. notes: what somebody should know of the
    records.
    """

    target: Target
    shape: Shape
    build: Callable[[Run, Session], Issuer]
    hosts: Mapping[str, int] = field(default_factory=dict)
    life: timedelta | None = None
    server: str = ""
    login_id: str = ""
    shares: str = ""
    rivalry: str = "each refuses the other's keys"
    group: Hashable = None
    survey: str = ""
    details: object = None
    limit: Limit = NO_LIMIT
    ca_bundle: str = ""
    notes: Sequence[str] = ()

    @property
    def limits(self) -> Sequence[Limit]:
        """The limits of the credential in use, as the other specs have them."""
        return (self.limit,)


@dataclass(frozen=True, repr=False)
class MirrorQuery:
    """How an audit asks for the state of a mirror without reading a value.

    survey, group: as IssuerSpec's, the latter address and login. secrets: the names of the mirror's secrets; naming:
    the label of the record's field that those come from. account: what several groups have in common that are asked
    for in one go, None where there is but the group.
    """

    survey: str
    group: Hashable
    secrets: Sequence[str]
    naming: str
    account: Hashable = None

    @property
    def batch_key(self) -> Hashable:
        """Queries with the same key are answered by one call of `survey`."""
        return self.survey, self.account or self.group


@dataclass(frozen=True, repr=False)
class MirrorSpec:
    """A mirror that a record asks for.

    name: as messages name it. build: makes it. hosts, ca_bundle: as IssuerSpec's. look: None where an audit cannot.
    limits: what the credential may be used for there. previous: the same mirror under the second name, where it keeps
    the value before under one; `build` makes both.
    """

    name: str
    build: Callable[[Session], Mirror]
    hosts: Mapping[str, int]
    ca_bundle: str = ""
    query: MirrorQuery | None = None
    limits: Sequence[Limit] = ()
    previous: MirrorSpec | None = None


@dataclass(frozen=True, repr=False)
class ConsumerQuery:
    """How an audit asks for the state of a consumer without restarting it.

    survey, group: as IssuerSpec's, the latter where it is, and the login. name: its own there.
    """

    survey: str
    group: Hashable
    name: str


@dataclass(frozen=True, repr=False)
class ConsumerSpec:
    """A consumer that a record asks to have reloaded: what makes it; the rest as IssuerSpec's and MirrorSpec's."""

    build: Callable[[Session], Consumer]
    hosts: Mapping[str, int] = field(default_factory=dict)
    ca_bundle: str = ""
    limits: Sequence[Limit] = ()
    query: ConsumerQuery | None = None
