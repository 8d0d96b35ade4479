"""What a module must offer to be listed in the registry, or to be a script's issuer. For the type checker alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pam_scripts.core.fields import Fields
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import ConsumerSpec, IssuerSpec, MirrorSpec
from pam_scripts.rotation.shape import Shape, Target


class Kind(Protocol):
    """What every module offers that is listed here. LABEL: the label of the record's field that asks for it.

    ADMIN_FIELDS: the fields of the record that holds its login.
    """

    LABEL: str
    ADMIN_FIELDS: Fields


class MirrorKind(Kind, Protocol):
    """What a module offers that keeps copies of a credential."""

    def fields(self, shape: Shape, /) -> Fields:
        """Return the PAM User record's fields that ask for it."""

    def read(self, job: Job, shape: Shape, target: Target, /) -> Sequence[MirrorSpec]:
        """Return the mirrors that a record asks for; raise BadInput for one that could not be."""


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
    OUTPUTS: Fields

    def read(self, job: Job, /) -> IssuerSpec:
        """Return what a record asks for; raise BadInput where that could not be."""
