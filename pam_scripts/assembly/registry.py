"""Which mirrors and consumers there are. One more is its own module and one line here.

A build may leave some of them out: in a module's place stands then one that has its LABEL and LEFT_OUT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from pam_scripts.consumers import container_apps, health_pages
from pam_scripts.stores import aws_secrets_manager, key_vault, openbao

if TYPE_CHECKING:
    from pam_scripts.assembly.kinds import ConsumerKind, Kind, MirrorKind

K = TypeVar("K", bound="Kind")

MIRRORS: Sequence[MirrorKind] = (key_vault, aws_secrets_manager, openbao)
CONSUMERS: Sequence[ConsumerKind] = (container_apps, health_pages)


def included(kinds: Sequence[K]) -> list[K]:
    """Return the kinds that this build was made with."""
    return [kind for kind in kinds if not hasattr(kind, "LEFT_OUT")]


def labels_left_out() -> list[str]:
    """Return the labels of the fields that ask for what this build was made without."""
    return [kind.LABEL for kind in (*MIRRORS, *CONSUMERS) if hasattr(kind, "LEFT_OUT")]
