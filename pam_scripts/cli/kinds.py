"""The scripts, and which of them a record belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pam_scripts import rotate_azure_app_secret as azure_app
from pam_scripts import rotate_seeq_application_key as seeq_application
from pam_scripts import rotate_seeq_user_key as seeq_user
from pam_scripts.core.fields import Field, Record, Settings, normalised
from pam_scripts.core.gateway import Job
from pam_scripts.core.roles import Run
from pam_scripts.stores.keeper import Labels
from pam_scripts.stores.key_vault import Layout, Target


@dataclass(frozen=True)
class Kind:
    """One script, and the parts of it that looking needs.

    stem: the script's name. issuer: who makes its keys. marks: labels of which one, filled in, says that a
    record is this script's. hints: labels that say so even empty, in a PAM User record.
    """

    stem: str
    issuer: Literal["seeq application", "seeq user", "entra"]
    fields: Sequence[Field]
    admin_fields: Sequence[Field]
    script: Callable[[Job, Settings, Run], None]
    target_of: Callable[[Job, Settings], Target]
    in_keeper: Labels
    in_vault: Layout
    marks: Sequence[str]
    hints: Sequence[str]


KINDS = (
    Kind(
        "rotate_seeq_application_key",
        "seeq application",
        seeq_application.FIELDS,
        seeq_application.ADMIN_FIELDS,
        seeq_application.script,
        seeq_application.target_of,
        seeq_application.IN_KEEPER,
        seeq_application.IN_KEY_VAULT,
        marks=("application_id",),
        hints=("application_id",),
    ),
    Kind(
        "rotate_azure_app_secret",
        "entra",
        azure_app.FIELDS,
        azure_app.ADMIN_FIELDS,
        azure_app.script,
        azure_app.target_of,
        azure_app.IN_KEEPER,
        azure_app.IN_KEY_VAULT,
        marks=("application_object_id",),
        hints=("application_object_id",),
    ),
    Kind(
        "rotate_seeq_user_key",
        "seeq user",
        seeq_user.FIELDS,
        seeq_user.ADMIN_FIELDS,
        seeq_user.script,
        seeq_user.target_of,
        seeq_user.IN_KEEPER,
        seeq_user.IN_KEY_VAULT,
        marks=("username", "user_id"),
        hints=("username", "user_id", "key_label", "access_key_id"),
    ),
)


def kind_of(record: Record, record_type: str) -> Kind | None:
    """Return the script that a record belongs to by its fields, None for a record of another purpose.

    A PAM User record needs no more than the field. Of other types, a record is taken for one that was
    forgotten to be converted where it also has the field that a rotation writes.
    """
    is_user = normalised(record_type) == "pamuser"
    for kind in KINDS:
        if record.get(*kind.marks) and (is_user or _has_label(record, kind.in_keeper.key_id)):
            return kind
    for kind in KINDS:
        if is_user and any(_has_label(record, label) for label in kind.hints):
            return kind
    return None


def _has_label(record: Record, label: str) -> bool:
    return normalised(label) in record.values
