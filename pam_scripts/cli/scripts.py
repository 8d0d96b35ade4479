"""The scripts, and which of them a record belongs to."""

from __future__ import annotations

from pam_scripts import (
    publish_secret,
    rotate_aws_access_key,
    rotate_azure_app_secret,
    rotate_azure_resource_key,
    rotate_keycloak_client_secret,
    rotate_rabbitmq_password,
    rotate_seeq_application_key,
    rotate_seeq_user_key,
)
from pam_scripts.assembly.script import Script
from pam_scripts.core.fields import Record, normalised

# publish_secret comes last: what identifies its records is a field of no other script, but says the least.
SCRIPTS: tuple[Script, ...] = (
    rotate_seeq_application_key.SCRIPT,
    rotate_azure_app_secret.SCRIPT,
    rotate_rabbitmq_password.SCRIPT,
    rotate_keycloak_client_secret.SCRIPT,
    rotate_seeq_user_key.SCRIPT,
    rotate_azure_resource_key.SCRIPT,
    rotate_aws_access_key.SCRIPT,
    publish_secret.SCRIPT,
)


def script_of(record: Record, record_type: str) -> Script | None:
    """Return the script that a record belongs to by its fields, None for a record of another purpose.

    A PAM User record needs no more than the field. Of other types, a record is taken for one that was
    forgotten to be converted where it also has the field that a rotation writes.
    """
    is_user = normalised(record_type) == "pamuser"
    for script in SCRIPTS:
        if record.get(*script.identified_by) and (is_user or _has_label(record, script.written)):
            return script
    for script in SCRIPTS:
        if is_user and any(_has_label(record, label) for label in script.suggested_by):
            return script
    return None


def _has_label(record: Record, label: str) -> bool:
    return normalised(label) in record.values
