"""What a module must offer to be listed in the registry, or to be a script's issuer. For the type checker alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from pam_scripts.core.fields import Fields
from pam_scripts.core.http import Session
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import ConsumerQuery, ConsumerSpec, IssuerSpec, MirrorQuery, MirrorSpec
from pam_scripts.rotation.seen import SeenConsumers, SeenMirror, SurveyResult
from pam_scripts.rotation.shape import Shape, Target


class Kind(Protocol):
    """What every module offers that is listed in the registry.

    LABEL: the label of the record's field that asks for it, a plain string, since the bundler reads it without running
    the module. ADMIN_FIELDS: the fields of the record that holds its login, annotated as `Fields`.
    CONFIGURATION_FIELDS: those that are read from the PAM Configuration: its login where no attached record has one,
    and its limits.
    """

    LABEL: str
    ADMIN_FIELDS: Fields
    CONFIGURATION_FIELDS: Fields


class MirrorKind(Kind, Protocol):
    """What a module offers that keeps copies of a credential."""

    def fields(self, shape: Shape, /) -> Fields:
        """Return the PAM User record's fields that ask for it."""

    def read(self, job: Job, shape: Shape, target: Target, /) -> Sequence[MirrorSpec]:
        """Return the mirrors that a record asks for; raise BadInput for one that could not be.

        target.id is the word for the target in names, target.tag_value what a secret is tagged with: under the name
        shape.owner_tag, beside ROTATION_TAG and EXPIRY_TAG. A secret with another's tag is refused in `examine`.
        """


class ConsumerKind(Kind, Protocol):
    """What a module offers that has somebody read a credential anew; as MirrorKind.

    FIELDS: the PAM User record's fields that ask for it.
    """

    FIELDS: Fields

    def read(self, job: Job, shape: Shape, /) -> Sequence[ConsumerSpec]:
        """Return the consumers that a record asks for; raise BadInput for one that could not be."""


class IssuerKind(Protocol):
    """What a module offers that makes keys; as MirrorKind.

    SHAPE: how its credential is laid out. FIELDS: the PAM User record's fields that say whose keys, and which.
    OUTPUTS: those that hold the credential.
    """

    SHAPE: Shape
    FIELDS: Fields
    ADMIN_FIELDS: Fields
    CONFIGURATION_FIELDS: Fields
    OUTPUTS: Fields

    def read(self, job: Job, /) -> IssuerSpec:
        """Return what a record asks for; raise BadInput where that could not be."""


Say: TypeAlias = Callable[[str], None]
"""Takes a line that says how far a look has come."""


class IssuerSurvey(Protocol):
    """What the module offers that an IssuerSpec names as its survey.

    What a look finds wrong is a `Trouble` with the code of one of the audit's rules.
    """

    def survey(self, specs: Sequence[IssuerSpec], session: Session, say: Say, /) -> list[SurveyResult]:
        """Look at the targets of specs of one group; return what is seen of each, in their order."""

    def link(self, spec: IssuerSpec, /) -> str:
        """Return the address at which a person sees the target, made of checked values alone; empty for none."""


class MirrorSurvey(Protocol):
    """What the module offers that a MirrorQuery names as its survey; as IssuerSurvey."""

    def survey(self, queries: Sequence[MirrorQuery], session: Session, say: Say, /) -> list[SeenMirror]:
        """Look at what mirrors are that are asked for together, no two of one group; return each, in their order."""

    def link(self, query: MirrorQuery, /) -> str:
        """Return the address at which a person sees the first of its secrets, as IssuerSurvey's."""


class ConsumerSurvey(Protocol):
    """What the module offers that a ConsumerQuery names as its survey; as IssuerSurvey."""

    def survey(self, queries: Sequence[ConsumerQuery], session: Session, say: Say, /) -> SeenConsumers:
        """Look at the consumers of one group."""
