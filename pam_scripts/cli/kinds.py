"""The scripts, and which of them a record belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pam_scripts import publish_secret
from pam_scripts import rotate_azure_app_secret as azure_app
from pam_scripts import rotate_seeq_application_key as seeq_application
from pam_scripts import rotate_seeq_user_key as seeq_user
from pam_scripts.core.fields import Field, Record, Settings, normalised
from pam_scripts.core.gateway import Job
from pam_scripts.core.roles import Run
from pam_scripts.stores.keeper import Labels
from pam_scripts.stores.key_vault import Layout, Place, Target, places_of, value_places_of


@dataclass(frozen=True)
class Kind:
    """One script, and the parts of it that looking needs.

    stem: the script's name. issuer: who makes its keys; `value` for values, which no system issues and
    which have no id. marks: labels of which one, filled in, says that a record is this script's. hints:
    labels that say so even empty, in a PAM User record.
    """

    stem: str
    issuer: Literal["seeq application", "seeq user", "entra", "value"]
    fields: Sequence[Field]
    admin_fields: Sequence[Field]
    script: Callable[[Job, Settings, Run], None]
    target_of: Callable[[Job, Settings], Target]
    in_keeper: Labels
    in_vault: Layout
    marks: Sequence[str]
    hints: Sequence[str]

    @property
    def has_keys(self) -> bool:
        """Whether there are keys that a system lists, and not only a value."""
        return self.issuer != "value"

    @property
    def written(self) -> str:
        """The label of a field that every rotation of this script writes."""
        return self.in_keeper.key_id or self.in_keeper.rotated_at

    @property
    def naming(self) -> str:
        """The label of the field that the names of secrets in Key Vault come from."""
        return "secret_name_prefix" if self.has_keys else "secret_name"

    def places(self, job: Job, settings: Settings) -> list[Place]:
        """Return where a record asks for mirrors in Key Vault; raise BadInput as the script would."""
        if self.has_keys:
            return places_of(job, settings, self.in_vault, self.target_of(job, settings))
        return value_places_of(job, settings, self.in_vault)


def _record_itself(job: Job, _settings: Settings) -> Target:
    """Return whose value it is: no system knows of it, so that it is the record's own."""
    return Target(job.user.uid)


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
    # The last one: `aws_secret_id` and `key_vault_name` are fields of every script, the marks of this one of no other.
    Kind(
        "publish_secret",
        "value",
        publish_secret.FIELDS,
        publish_secret.ADMIN_FIELDS,
        publish_secret.script,
        _record_itself,
        publish_secret.IN_KEEPER,
        publish_secret.IN_KEY_VAULT,
        marks=("secret_name", "value_format", "value_template"),
        hints=("secret_name", "value_format", "value_template"),
    ),
)


def kind_of(record: Record, record_type: str) -> Kind | None:
    """Return the script that a record belongs to by its fields, None for a record of another purpose.

    A PAM User record needs no more than the field. Of other types, a record is taken for one that was
    forgotten to be converted where it also has the field that a rotation writes.
    """
    is_user = normalised(record_type) == "pamuser"
    for kind in KINDS:
        if record.get(*kind.marks) and (is_user or _has_label(record, kind.written)):
            return kind
    for kind in KINDS:
        if is_user and any(_has_label(record, label) for label in kind.hints):
            return kind
    return None


def _has_label(record: Record, label: str) -> bool:
    return normalised(label) in record.values
