"""Rotate the access key of a Seeq application: Keeper record, Azure Key Vault mirror, old keys gone."""

from __future__ import annotations

from datetime import timedelta

from pam_scripts.core import gateway, rotation
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.roles import Plan, Run
from pam_scripts.issuers import seeq
from pam_scripts.stores import keeper, key_vault

# The PAM User record. Labels are public: records in customers' vaults carry them.
FIELDS = (
    Field("seeq_server_url", "address of the Seeq server, https://host", default=""),
    Field("application_id", "the Seeq ID of the application", required=True),
    Field("key_vault_name", "name of the Azure Key Vault, or its full https address; empty: no mirror"),
    Field("secret_name_prefix", "secrets are PREFIX-APPLICATION_ID-key-id and -key-password", default="seeq-app"),
    Field("key_vault_combined", "'True': also one secret with both, as JSON", default="False"),
    Field("expiry_days", "life of the new key, in days", default="90"),
    Field("keep_previous_keys", "how many of the newest old keys stay alive", default="0"),
    Field("take_over", "'True': also delete keys that another Keeper record's rotation made", default="False"),
    *gateway.RUN_FIELDS,
    Field("access_key_id", "id of the key: a client's user name", output=True),
    Field("access_key_password", "the key's secret: a client's password", type="secret", output=True),
    Field("expires", "when the key ends, ISO 8601 in UTC", output=True),
    Field("rotated_at", "when the key was made, ISO 8601 in UTC", output=True),
    Field("last_rotation", "the ops-log entry", type="multiline", output=True),
)

# The record attached to the script: who makes and deletes the keys.
ADMIN_FIELDS = seeq.ADMIN_FIELDS

IN_KEEPER = keeper.Labels(key_id="access_key_id", secret="access_key_password")  # noqa: S106 - a label
IN_KEY_VAULT = key_vault.Layout(
    id_part="key-id",
    secret_part="key-password",  # noqa: S106 - the end of a name
    both_part="key",
    id_field="access_key_id",
    secret_field="access_key_password",  # noqa: S106 - a word in JSON
    target_tag="seeq-application-id",
)


def script(job: Job, settings: Settings, run: Run) -> None:
    """Read the contract, put the parts together, rotate."""
    application_id = settings.text("application_id", r"[0-9A-Za-z-]{1,64}", "a Seeq ID: letters, digits, hyphens")
    plan = Plan(
        owner=job.user.uid,
        life=timedelta(days=settings.number("expiry_days", 1, 3650)),
        keep=settings.number("keep_previous_keys", 0, 100),
        take_over=settings.flag("take_over"),
    )
    server_url, login = seeq.find_admin(job, settings.text("seeq_server_url"))
    session = Session(run.deadline, run.ca_bundle)
    mirrors = key_vault.mirrors(job, settings, IN_KEY_VAULT, application_id, session)
    record = keeper.RecordStore(keeper.Client(keeper.read_config(), session), job.user.uid, IN_KEEPER, run.rotation_id)
    issuer = seeq.ApplicationKeys(seeq.Server(server_url, login, session, run.say), application_id, run.say)
    rotation.rotate(issuer, record, mirrors, plan, run)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return gateway.main(__doc__ or "", FIELDS, script, keeper.fetch_job)


if __name__ == "__main__":
    raise SystemExit(main())
